"""What reads of the store give back; facts serve as rows wherever they hold enough."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gateway.core.chunks import Run
from gateway.core.entry import Entry
from gateway.core.facts import (
    AlertStands,
    BootSeen,
    Loss,
    RevisionDue,
    SchemaLearned,
    SignedIn,
    StreamOpened,
    SummaryMade,
    TokenSet,
    UserSet,
)
from gateway.core.readings import Batch, Clock, Kind


class Replayed(NamedTuple):
    """One journal row, decoded: `batches` pairs each message with its readings, as committed."""

    row: int
    batches: Sequence[tuple[Entry, Batch]]


class Found(NamedTuple):
    """Readings of one series out of one message or chunk."""

    series: int
    run: Run


class DeviceRow(NamedTuple):
    id: int
    name: str
    token_hash: str | None
    speaks_for_others: bool
    created: int
    disabled: bool
    removed: bool
    state: str
    since: int
    until: int | None
    last_seen: int
    config_version: int | None
    config: str | None


class SeriesRow(NamedTuple):
    """`last_*` is the newest reading as of the last `SeriesLatest`; last_clock None: never."""

    id: int
    device: int
    metric: str
    unit: str
    kind: Kind
    last_t_ns: int | None
    last_value: float | int | str | bool | None
    last_clock: Clock | None


class CommandRow(NamedTuple):
    """`CommandPut` with what became of it; `op`, `args`, `origin` and `result` are JSON."""

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
    result: str | None
    updated: int


class SummaryRow(NamedTuple):
    """A stored summary with the names that people know it by."""

    summary: SummaryMade
    device: str
    metric: str
    unit: str
    kind: Kind


class SummaryPage(NamedTuple):
    """Summaries by (t0, series, window); `cursor` continues after them, None at the end."""

    rows: Sequence[SummaryRow]
    cursor: str | None


class OutboxStats(NamedTuple):
    """Rows neither acknowledged nor dead: how many, bytes of payload, and when the oldest was put
    (Unix ms; None if there is none). `dead`: rows that were given up. `acked`: the time of the
    newest acknowledgement that is still known."""

    depth: int
    bytes: int
    oldest: int | None
    dead: int
    acked: int | None


class Tally(NamedTuple):
    """Of one device: loss records, readings known to be lost in them, rejected messages."""

    losses: int
    lost_readings: int
    rejected: int


@dataclass(frozen=True, slots=True)
class Opened:
    """What the registry needs at start.

    highest: per table the highest row number ever used, also by a database that this one follows:
        device, stream, schema, series, journal, loss, rejected, event, outbox, command,
        alert.
    devices: removed ones too. streams, schemas: without those of forgotten streams.
    summaries: the newest of each series and window. losses: the newest 20 of each device, oldest
        first. tallies, downlinks (highest downlink seq ever given out): by device, if not zero.
    commands: those that may still move (queued, sent, handled, accepted), by n.
    sign_ins: expired ones too.
    clean: the store was closed in good order, or is new.
    """

    devices: Sequence[DeviceRow]
    streams: Sequence[StreamOpened]
    boots: Sequence[BootSeen]
    schemas: Sequence[SchemaLearned]
    series: Sequence[SeriesRow]
    meta: Mapping[str, str]
    highest: Mapping[str, int]
    dues: Sequence[RevisionDue]
    summaries: Sequence[SummaryMade]
    commands: Sequence[CommandRow]
    downlinks: Mapping[int, int]
    alerts: Sequence[AlertStands]
    losses: Mapping[int, Sequence[Loss]]
    tallies: Mapping[int, Tally]
    users: Sequence[UserSet]
    tokens: Sequence[TokenSet]
    sign_ins: Sequence[SignedIn]
    clean: bool
