"""Facts: everything that one commit can make durable.

The pipeline gathers facts into a group, the store commits the group as one transaction, in the
order of `ORDER`. A fact carries its own number (ids are given out in memory, by the one pipeline
that exists), so a group can be tried again unchanged. Times are Unix milliseconds unless a name
ends in `_ns`; `device`, `stream`, `series`, `schema` are the numbers of rows.
"""

from typing import NamedTuple


class DeviceAdded(NamedTuple):
    id: int
    name: str
    token_hash: str | None
    speaks_for_others: bool
    created: int


class DeviceAccess(NamedTuple):
    """A token was rotated, or a device disabled or enabled."""

    token_hash: str | None
    disabled: bool
    id: int


class DeviceRemoved(NamedTuple):
    """The device may no longer connect; its readings stay."""

    id: int


class DevicePresence(NamedTuple):
    state: str
    since: int
    until: int | None
    last_seen: int
    id: int


class DeviceConfig(NamedTuple):
    """The configuration document that the device ought to have (JSON text)."""

    version: int
    document: str
    id: int


class StreamOpened(NamedTuple):
    """A new sequence space: `epoch` is 16 hex digits."""

    id: int
    device: int
    epoch: str
    committed: int
    touched: int


class StreamMoved(NamedTuple):
    committed: int
    touched: int
    id: int


class StreamForgotten(NamedTuple):
    id: int


class BootSeen(NamedTuple):
    """The best known mapping of a boot's monotonic clock: `unix = raw + offset_ns`.

    `offset_ns` is None while the boot is known by name only.
    """

    device: int
    boot: str
    offset_ns: int | None
    error_ns: int | None
    seen: int


class SchemaLearned(NamedTuple):
    """`fields` is JSON: `[{"metric", "unit", "type", "scale", "offset"}, …]`."""

    id: int
    stream: int
    sid: int
    fingerprint: bytes
    resolution: int
    fields: str


class SeriesLearned(NamedTuple):
    """A new series, or a known one whose unit changed."""

    id: int
    device: int
    metric: str
    unit: str
    kind: int


class SeriesLatest(NamedTuple):
    """The newest reading of a series, written when a window closes."""

    last_t_ns: int | None
    last_value: float | int | str
    last_clock: int
    id: int


class JournalRow(NamedTuple):
    """One commit group: its messages joined as a CBOR sequence beside a small header.

    `t_min_ns`, `t_max_ns` span the readings whose time is known (None if there are none).
    """

    id: int
    received: int
    t_min_ns: int | None
    t_max_ns: int | None
    readings: int
    header: bytes
    crc: int
    body: bytes


class Loss(NamedTuple):
    """Sequence numbers `first` … `last` are lost for good (a GAP, or a gap found at HELLO)."""

    id: int
    device: int
    epoch: str
    first: int
    last: int
    reason: int
    readings: int | None
    t: int


class Rejection(NamedTuple):
    id: int
    device: int
    epoch: str
    seq: int
    code: int
    reason: str
    t: int
    body: bytes


class Dropped(NamedTuple):
    """Stored things that were given up; facts of one UTC day, cause and kind add up.

    day: days since 1970. cause: age, size, outbox_full, damage. what: readings, summaries,
    messages. t_min, t_max: the span of what was dropped, as far as it is known.
    """

    day: int
    cause: str
    what: str
    n: int
    t_min: int | None
    t_max: int | None


class RevisionDone(NamedTuple):
    window: str
    t0: int
    series: int


class RevisionDue(NamedTuple):
    """A late reading fell into this closed window: it must be summarised again from disk."""

    window: str
    t0: int
    series: int


class SummaryMade(NamedTuple):
    series: int
    window: str
    t0: int
    t1: int
    n: int
    mean: float | None
    min: float | None
    max: float | None
    std: float | None
    p50: float | None
    p95: float | None
    first: float | str | bool
    last: float | str | bool
    changes: int | None
    rev: int


class EventLogged(NamedTuple):
    """A row of the event log; `payload` is the JSON that subscribers see."""

    id: int
    t: int
    kind: str
    device: str
    metric: str | None
    window: str | None
    payload: str


class OutboxPut(NamedTuple):
    """A message for the broker. `topic` is complete; `window_ms` > 0 marks a summary.

    A summary is sent to `topic + "/backfill"` if `backfill` is set or its window ended more
    than max(2 windows, 60 s) before it is sent. `replaces`: an older unsent row of the same
    topic is superseded (live state). `properties` is JSON: content_type (unless the payload is
    JSON), response correlation.
    """

    id: int
    t: int
    topic: str
    payload: bytes
    retain: bool
    ends: int | None
    window_ms: int
    backfill: bool
    expires: int | None
    replaces: bool
    properties: str


class OutboxDone(NamedTuple):
    """The broker has the message, or nobody needs it any more."""

    done: int
    id: int


class OutboxRefused(NamedTuple):
    """The broker refused the row: try again, or `dead` = give up and keep it aside."""

    code: int
    dead: bool
    id: int


class OutboxReopened(NamedTuple):
    """The broker lost what it acknowledged from `since` to `until`: it is sent again as backfill.

    Live state, and what has expired by `until`, is not.
    """

    since: int
    until: int


class OutboxDropped(NamedTuple):
    """The outbox is full: the open rows up to this number are deleted, and counted as dropped."""

    until: int


class CommandPut(NamedTuple):
    """`args` and `origin` are JSON. `seq` is the device's downlink number once it was sent.

    `op` is JSON too (a text or a number); `origin` holds response topic and correlation data.
    """

    n: int
    device: int
    seq: int | None
    op: str
    args: str | None
    flags: int
    expires: int | None
    state: str
    origin: str | None
    dedupe: str | None
    created: int


class CommandMoved(NamedTuple):
    seq: int | None
    state: str
    result: str | None
    updated: int
    n: int


class UserSet(NamedTuple):
    """A new user, or a new password; `password` is its salted hash in PHC form."""

    name: str
    password: str
    created: int


class UserRemoved(NamedTuple):
    name: str


class TokenSet(NamedTuple):
    """An access token of a script: only its hash is kept."""

    name: str
    hash: str
    created: int


class TokenRevoked(NamedTuple):
    name: str


class SignedIn(NamedTuple):
    """A browser may look until `expires`; `hash` is that of the secret in its cookie."""

    hash: str
    user: str
    created: int
    expires: int


class SignedOut(NamedTuple):
    """A sign-in was ended, or its time is over."""

    hash: str


class AlertStands(NamedTuple):
    """How an alert stands: one row for each rule, device and metric ("": of none in particular).

    id: its number since it opened last, None if it never did. state: open, acknowledged, closed.
    since: when it opened. out_since_ns: since when values are beyond the limit, while it is not
    open yet. t_ns: the newest reading judged as of then. payload: the event told last (JSON).
    """

    id: int | None
    state: str
    since: int
    out_since_ns: int | None
    t_ns: int | None
    payload: str
    rule: str
    device: str
    metric: str


class MetaSet(NamedTuple):
    key: str
    value: str


Fact = (
    DeviceAdded | DeviceAccess | DeviceRemoved | DevicePresence | DeviceConfig
    | StreamOpened | StreamMoved | StreamForgotten | BootSeen | SchemaLearned
    | SeriesLearned | SeriesLatest | JournalRow | Loss | Rejection | Dropped
    | RevisionDone | RevisionDue | SummaryMade | EventLogged
    | OutboxPut | OutboxDone | OutboxRefused | OutboxReopened | OutboxDropped
    | CommandPut | CommandMoved | AlertStands
    | UserSet | UserRemoved | TokenSet | TokenRevoked | SignedIn | SignedOut | MetaSet
)  # fmt: skip
