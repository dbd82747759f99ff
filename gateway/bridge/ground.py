"""What the bridge stands on: its view of the store, of the pipeline, and its figures."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.core.broker import MqttConfig
from gateway.core.clock import Now
from gateway.core.facts import Fact, OutboxDropped, OutboxPut
from gateway.core.outbox import Mix, Newest, Recent, Refusals, Suspects
from gateway.core.topics import Upstream


class Held(Protocol):
    """Rows neither acknowledged nor dead: how many, bytes of payload, oldest time (Unix ms).

    `acked`: when the newest acknowledgement was made durable."""

    @property
    def depth(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def oldest(self) -> int | None: ...
    @property
    def acked(self) -> int | None: ...


class Outbox(Protocol):
    """The bridge's view of the store. All methods raise StoreError."""

    async def outbox_after(
        self, after: int, limit: int, *, until: int | None = None
    ) -> Sequence[OutboxPut]:
        """Rows with after < id <= until that are neither done nor dead, by id."""

    async def outbox_stats(self) -> Held: ...


@dataclass(frozen=True, slots=True)
class Accepted:
    """The command is durable (it may be a repetition of an earlier one); its number."""

    n: int


@dataclass(frozen=True, slots=True)
class Declined:
    """The command cannot be taken, and why: an unknown device, for instance."""

    text: str


class Commands(Protocol):
    """Where commands from the broker go. What returns Accepted is durable."""

    async def put(
        self,
        *,
        device: str,
        op: str | int,
        args: Any,
        ttl_ms: int | None,
        flags: int,
        origin: dict[str, str],
        dedupe: str,
    ) -> Accepted | Declined:
        """Take a command in. Raises StoreError if it must be tried again later."""

    async def configure(self, *, device: str, document: Any) -> Accepted | Declined:
        """Set a device's configuration; the same document again must change nothing."""


@dataclass(slots=True)
class Stats:
    """Figures for /metrics. `refused`: negative answers by reason code.

    outdated: retained rows that a newer one overtook; dropped: given up because the outbox was
    full (`drop_oldest`), rejected: never put for the same reason (`reject_new`).
    held_bytes, depth, oldest (Unix ms), full_in (seconds; None: not growing): the outbox.
    """

    connected: bool = False
    in_flight: int = 0
    connections: int = 0
    sent: int = 0
    acked: int = 0
    refused: dict[int, int] = field(default_factory=dict)
    dead: int = 0
    expired: int = 0
    outdated: int = 0
    dropped: int = 0
    rejected: int = 0
    commands: int = 0
    depth: int = 0
    held_bytes: int = 0
    oldest: int | None = None
    full_in: float | None = None


@dataclass(slots=True, kw_only=True)
class Ground:
    """What outlives one connection. `number` gives out outbox row numbers, `post` a fact that
    rides with the next commit, `statuses` the retained rows to publish afresh (their numbers do
    not matter). `reopen`: open what was acknowledged since (Unix ms), and call `Bridge.reopened`
    when that is durable; `alert`: tell that the outbox is full or ok.

    dropped: rows up to this number are given up, their commit may still be under way.
    reopening: what the broker lost is about to be open again; rows wait for it, to go in order.
    """

    config: MqttConfig
    upstream: Upstream
    epoch: str
    outbox: Outbox
    commands: Commands
    post: Callable[[Fact], None]
    number: Callable[[], int]
    statuses: Callable[[], Iterable[OutboxPut]]
    reopen: Callable[[int], None]
    alert: Callable[[str], None]
    clock: Callable[[], Now]
    stats: Stats = field(default_factory=Stats)
    mix: Mix = field(init=False)
    refusals: Refusals = field(init=False)
    suspects: Suspects = field(default_factory=Suspects)
    recent: Recent = field(default_factory=Recent)
    newest: Newest = field(default_factory=Newest)
    dropped: int = 0
    reopening: bool = False

    def __post_init__(self) -> None:
        self.mix = Mix(self.config.backlog_share)
        self.refusals = Refusals(self.config.dead_letter_after)

    def drop(self, *, until: int) -> None:
        """Give up the oldest rows."""
        self.dropped = until
        self.post(OutboxDropped(until))

    def reopened(self) -> None:
        """What was settled may be open again."""
        self.recent = Recent()
        self.dropped = 0
        self.reopening = False

    @property
    def seconds(self) -> float:
        """The monotonic clock."""
        return self.clock().mono / 1e9
