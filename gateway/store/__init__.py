"""The storage interface: what the rest of the gateway may ask of a disk.

`Store` is the contract; `tests/store/contract.py` checks an implementation of it. All methods
raise StoreError: StoreFull (no room; nothing was committed, trying again is safe), StoreBusy
(another process writes), StoreUnavailable (cannot be opened, read or written), StoreCorrupt.
Row numbers (`series`, `device` …) are those of the facts. Times are Unix ms unless named `_ns`.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Protocol

from gateway.core.facts import EventLogged, Fact, Loss, OutboxPut, Rejection
from gateway.core.readings import Batch
from gateway.store.retention import Bounds
from gateway.store.rows import (
    CommandRow,
    DeviceRow,
    Found,
    Opened,
    OutboxStats,
    Replayed,
    SeriesRow,
    SummaryPage,
    SummaryRow,
    Tally,
)

__all__ = [
    "CommandRow",
    "DeviceRow",
    "Found",
    "Opened",
    "OutboxStats",
    "Replayed",
    "SeriesRow",
    "Store",
    "SummaryPage",
    "SummaryRow",
    "Tally",
]


class Store(Protocol):
    """One writer, many readers. What a commit returned for is on the disk."""

    async def open(self) -> Opened:
        """Take the writer's lock, bring the schema up to date and load what is known.

        Raises StoreBusy if another process holds the lock, StoreError if the schema is newer.
        """

    async def commit(self, facts: Sequence[Fact]) -> None:
        """Make all facts durable in one transaction, or none of them.

        The order of kinds is fixed (`statements.ORDER`), within a kind the list's order holds.
        After a StoreError the very same facts may be committed again. A row number that is used
        twice is a bug and raises sqlite3.IntegrityError or its like.
        """

    async def close(self) -> None:
        """Finish what was begun, record a clean stop, give up the lock. Harmless if repeated.

        A StoreError says that the clean stop could not be recorded; the store is closed all the
        same.
        """

    async def events_after(
        self, after: int, limit: int, until: int | None = None
    ) -> list[EventLogged]:
        """Events with after < id <= until, by id, at most `limit`."""

    async def event_bounds(self) -> tuple[int, int]:
        """The oldest and the newest id of the event log; (0, 0) if it is empty."""

    async def event_since(self, t_ms: int, /) -> int:
        """The id after which all events of `t_ms` and later come: the last one before that time.

        0 if there is none before. Where the gateway's clock once stepped back it is approximate.
        """

    def journal_rows(self, first: int = 0) -> AsyncIterator[Replayed]:
        """Journal rows with id >= first, by id, decoded; read in pages of bounded size."""

    def readings(
        self,
        *,
        since_ns: int,
        until_ns: int,
        device: str | None = None,
        metric: str | None = None,
        series: Collection[int] | None = None,
    ) -> AsyncIterator[Found]:
        """Readings with since_ns <= t < until_ns that match, as they are at one moment.

        Each is given once; empty pieces are left out. Of one series and equal times, what arrived
        earlier comes earlier. Readings of unknown time are found once their boot's clock is
        known, and then come as `Clock.MAPPED`. Memory is bounded.
        """

    def unplaced(self, device: int, boot: bytes) -> AsyncIterator[Batch]:
        """The readings of that boot whose time is still unknown."""

    async def summaries(
        self,
        *,
        device: str | None = None,
        metric: str | None = None,
        window: str | None = None,
        since_ms: int | None = None,
        until_ms: int | None = None,
        cursor: str | None = None,
        limit: int = 5000,
    ) -> SummaryPage:
        """Stored summaries with since_ms <= t0 < until_ms, by t0.

        Raises ValueError if `cursor` is not one that this method gave out.
        """

    async def losses(
        self, device: int, *, before: int | None = None, limit: int = 1000
    ) -> list[Loss]:
        """Declared and found losses of a device, newest first; `before`: ids below only."""

    async def rejections(
        self, device: int, *, before: int | None = None, limit: int = 100
    ) -> list[Rejection]:
        """Rejected messages of a device, newest first; `before`: ids below only."""

    async def outbox_after(
        self, after: int, limit: int, *, until: int | None = None
    ) -> list[OutboxPut]:
        """Outbox rows with after < id <= until that are neither done nor dead, by id."""

    async def outbox_oldest(self, limit: int) -> list[OutboxPut]:
        """The oldest outbox rows that are neither done nor dead, by id."""

    async def outbox_stats(self) -> OutboxStats:
        """What waits for the broker."""

    async def command(self, n: int) -> CommandRow | None:
        """A command by its number."""

    async def command_by_dedupe(self, device: int, dedupe: str) -> CommandRow | None:
        """The newest command of a device that was put with this dedupe key."""

    async def prune(self, now_ms: int, *, replay_ms: int) -> int:
        """Delete one small batch of what is beyond its bound; give the number of rows deleted.

        Call again while it is not 0. Bounds: of the event log the newest 20,000 rows stay, and
        those of the last 24 h up to 200,000; of the acknowledged outbox rows those of the last
        `replay_ms`, up to 64 MiB. The newest row of a table always stays. Must not be called
        while the gateway's clock is not known to be right.
        """

    async def compact(self, now_ms: int, *, urgent: bool = False) -> int:
        """Move some of the oldest readings into chunks; give the number of journal rows replaced.

        0 if it is not worth while yet; `urgent` moves what there is. Call again while it is not
        0. What may be read, and in which order a series is read, does not change.
        """

    async def retain(self, bounds: Bounds, now_ms: int | None) -> int:
        """Delete one small batch of what is too old or too much, and count it in `dropped`.

        Gives the number of rows or pages that went: call again while it is not 0. `now_ms` None:
        the clock is not known to be right, and nothing expires by age.
        """
