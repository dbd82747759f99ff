"""The store on SQLite: one connection on one thread writes, a few read-only ones read."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from gateway.core.facts import EventLogged, Fact, Loss, OutboxPut, Rejection
from gateway.core.readings import Batch
from gateway.crashpoints import reached
from gateway.errors import StoreCorrupt, StoreUnavailable
from gateway.store import compaction, queries, reading, retention
from gateway.store.connect import Durability, translated
from gateway.store.prune import prune
from gateway.store.readers import PAGE_S, Readers
from gateway.store.rows import CommandRow, Found, Opened, OutboxStats, Replayed, SummaryPage
from gateway.store.starting import suspect
from gateway.store.threads import Threads
from gateway.store.writer import Writer

P = ParamSpec("P")
T = TypeVar("T")

REST = 3
"""Of the time that compaction reads, it rests so many times as long."""

PATIENCE_S = 0.002
"""A commit that takes no longer is waited for in place: nothing that comes meanwhile could be
stored sooner, and what the loop would do costs more when it is done in small pieces."""


class SqliteStore:
    """`Store` in the file `path`; the writer's lock is `gateway.lock` beside it.

    Reads work without `open`, beside another process that writes.
    durability: "full" syncs every commit; "relaxed" may lose the newest commits in a power cut.
    """

    def __init__(self, path: Path | str, *, durability: Durability = "full") -> None:
        self.path = Path(path)
        self._thread = Threads(1, "store-writer")
        self._writer = Writer(self.path, durability)
        self._readers = Readers(self.path, self._watched)
        self._closed = False
        self.damaged = asyncio.Event()
        """Set when damage is met: the next start sets the file aside."""

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Errors in our words; the store that writes notes when its file is damaged."""
        if self._closed:
            raise StoreUnavailable(f"{self.path} is closed")
        try:
            with translated(self.path):
                yield
        except StoreCorrupt:
            if self._writer.conn is not None:
                suspect(self.path)
                self.damaged.set()
            raise

    # -- the writer's thread ----------------------------------------------------------------

    async def open(self) -> Opened:
        return await self._write(self._writer.open)

    async def close(self) -> None:
        if self._closed:
            return
        with self._watched():
            self._closed = True
            await self._readers.close()
            try:
                await self._thread.do(self._writer.close)
            finally:
                await asyncio.to_thread(self._thread.end)

    async def commit(self, facts: Sequence[Fact]) -> None:
        with self._watched():
            done = self._thread.do(partial(self._writer.store, facts), patience=PATIENCE_S)
            quick = done.done()
            await done
        reached("commit.committed")
        if quick and self._writer.laden:  # a slow disk has no time for small checkpoints
            self._thread.do(self._writer.checkpoint)

    async def prune(self, now_ms: int, *, replay_ms: int) -> int:
        deleted = await self.change(lambda conn: _prune(conn, now_ms, replay_ms))
        reached("prune.committed")
        return deleted

    async def compact(self, now_ms: int, *, urgent: bool = False) -> int:
        step = await self._read(compaction.choose, now_ms, urgent=urgent)
        if step is None:
            return 0
        new = await self._compacted(step)
        reached("compact.read")
        await self.change(lambda conn: compaction.apply(conn, step, new))
        reached("compact.committed")
        return step.rows

    async def _compacted(self, step: compaction.Step) -> list[compaction.NewChunk]:
        """Read the step's rows and make its chunks, in slices with rests between them.

        Nobody changes the rows meanwhile, so no snapshot has to last: it would grow the WAL.
        """

        def work(conn: sqlite3.Connection) -> Iterator[compaction.NewChunk | None]:
            gathered: compaction.Gathered = {}
            yield from (None for _ in compaction.gather(conn, step, gathered))
            yield from compaction.filled(conn, step, gathered)

        slices = self._readers.stream(work, rest=REST * PAGE_S, lasting=False)
        return [chunk async for chunk in slices if chunk]

    async def retain(self, bounds: retention.Bounds, now_ms: int | None) -> int:
        gone = await self.change(lambda conn: retention.retain(conn, bounds, now_ms))
        if gone:
            reached("retain.committed")
            return gone
        return await self.change(lambda conn: retention.give_back(conn, bounds.most_bytes))

    async def change(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Let `change` write in a transaction of its own."""
        return await self._write(self._writer.commit, change)

    async def on_writer(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the writer's connection, between two commits."""
        return await self._write(self._writer.run, work)

    async def _write(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._watched():
            return await self._thread.do(partial(work, *args, **kwargs))

    # -- the readers' threads ---------------------------------------------------------------

    async def _read(
        self,
        query: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return await self._readers.run(lambda conn: query(conn, *args, **kwargs))

    async def events_after(
        self, after: int, limit: int, until: int | None = None
    ) -> list[EventLogged]:
        return await self._read(queries.events_after, after, limit, until)

    async def event_bounds(self) -> tuple[int, int]:
        return await self._read(queries.event_bounds)

    async def event_since(self, t_ms: int, /) -> int:
        return await self._read(queries.event_since, t_ms)

    def journal_rows(self, first: int = 0) -> AsyncIterator[Replayed]:
        return self._readers.stream(lambda conn: reading.replayed(conn, first))

    def readings(
        self,
        *,
        since_ns: int,
        until_ns: int,
        device: str | None = None,
        metric: str | None = None,
        series: Collection[int] | None = None,
    ) -> AsyncIterator[Found]:
        query = reading.Query(since_ns, until_ns, device, metric, series)
        return self._readers.stream(lambda conn: reading.found(conn, query))

    def unplaced(self, device: int, boot: bytes) -> AsyncIterator[Batch]:
        return self._readers.stream(lambda conn: reading.unplaced(conn, device, boot))

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
        query = queries.SummaryQuery(device, metric, window, since_ms, until_ms, cursor, limit)
        return await self._read(queries.summaries, query)

    async def losses(
        self, device: int, *, before: int | None = None, limit: int = 1000
    ) -> list[Loss]:
        return await self._read(queries.losses, device, before, limit)

    async def rejections(
        self, device: int, *, before: int | None = None, limit: int = 100
    ) -> list[Rejection]:
        return await self._read(queries.rejections, device, before, limit)

    async def outbox_after(
        self, after: int, limit: int, *, until: int | None = None
    ) -> list[OutboxPut]:
        return await self._read(queries.outbox_after, after, limit, until)

    async def outbox_oldest(self, limit: int) -> list[OutboxPut]:
        return await self._read(queries.outbox_after, 0, limit, None)

    async def outbox_stats(self) -> OutboxStats:
        return await self._read(queries.outbox_stats)

    async def command(self, n: int) -> CommandRow | None:
        return await self._read(queries.command, n)

    async def command_by_dedupe(self, device: int, dedupe: str) -> CommandRow | None:
        return await self._read(queries.command_by_dedupe, device, dedupe)


def _prune(conn: sqlite3.Connection, now_ms: int, replay_ms: int) -> int:
    reached("prune.begun")
    deleted = prune(conn, now_ms, replay_ms)
    reached("prune.deleted")
    return deleted
