"""The store on SQLite: one connection on one thread writes, a few read-only ones read."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, Generic, ParamSpec, TypeVar

from gateway.core.facts import EventLogged, Fact, Loss, OutboxPut, Rejection
from gateway.core.readings import Batch
from gateway.crashpoints import reached
from gateway.errors import StoreCorrupt, StoreUnavailable
from gateway.store import compaction, queries, reading, retention
from gateway.store.connect import (
    Durability,
    WriterLock,
    is_doubtful,
    open_reader,
    reopen_writer,
    settle,
    translated,
)
from gateway.store.outcome import Attempt
from gateway.store.prune import prune
from gateway.store.rows import CommandRow, Found, Opened, OutboxStats, Replayed, SummaryPage
from gateway.store.starting import start, suspect
from gateway.store.statements import write
from gateway.store.threads import Threads

P = ParamSpec("P")
T = TypeVar("T")

READERS = 2
LOCK_NAME = "gateway.lock"
PAGE_S = 0.01
PAGE_ITEMS = 1024
REST = 3
"""Of the time that compaction reads, it rests so many times as long."""


class SqliteStore:
    """`Store` in the file `path`; the writer's lock is `gateway.lock` beside it.

    Reads work without `open`, beside another process that writes.
    durability: "full" syncs every commit; "relaxed" may lose the newest commits in a power cut.
    """

    def __init__(self, path: Path | str, *, durability: Durability = "full") -> None:
        self.path = Path(path)
        self._durability = durability
        self._lock = WriterLock(self.path.parent / LOCK_NAME)
        self._writing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-writer")
        self._reading = Threads(READERS, "store-reader")
        self._snapshots = asyncio.Semaphore(READERS)
        self._own = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._idle: list[sqlite3.Connection] = []
        self._writer: sqlite3.Connection | None = None
        self._doubtful = False
        self._failed: Attempt | None = None
        self._closed = False
        self.damaged = asyncio.Event()
        """Set when damage is met: the next start sets the file aside."""

    # -- the writer's thread ----------------------------------------------------------------

    async def open(self) -> Opened:
        return await self._write(self._open)

    async def commit(self, facts: Sequence[Fact]) -> None:
        self._refuse_if(closed=self._closed)
        await self._write(self._store, facts)
        reached("commit.committed")

    async def prune(self, now_ms: int, *, replay_ms: int) -> int:
        self._refuse_if(closed=self._closed)
        deleted = await self._write(self._commit, lambda conn: _prune(conn, now_ms, replay_ms))
        reached("prune.committed")
        return deleted

    async def compact(self, now_ms: int, *, urgent: bool = False) -> int:
        self._refuse_if(closed=self._closed)
        step = await self._read(compaction.choose, now_ms, urgent=urgent)
        if step is None:
            return 0
        new = await self._compacted(step)
        reached("compact.read")
        await self._write(self._commit, lambda conn: compaction.apply(conn, step, new))
        reached("compact.committed")
        return step.rows

    async def _compacted(self, step: compaction.Step) -> list[compaction.NewChunk]:
        """Read the step's rows and make its chunks, in slices with rests between them."""

        def work(conn: sqlite3.Connection) -> Iterator[compaction.NewChunk | None]:
            gathered: compaction.Gathered = {}
            yield from (None for _ in compaction.gather(conn, step, gathered))
            yield from compaction.filled(conn, step, gathered)

        return [chunk async for chunk in self._stream(work, rest=REST * PAGE_S) if chunk]

    async def retain(self, bounds: retention.Bounds, now_ms: int | None) -> int:
        self._refuse_if(closed=self._closed)
        gone = await self._write(self._commit, lambda conn: retention.retain(conn, bounds, now_ms))
        if gone:
            reached("retain.committed")
            return gone
        return await self._write(
            self._commit, lambda conn: retention.give_back(conn, bounds.most_bytes)
        )

    async def change(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Let `change` write in a transaction of its own."""
        return await self.on_writer(lambda _: self._commit(change))

    async def on_writer(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the writer's connection, between two commits."""
        self._refuse_if(closed=self._closed or self._writer is None)
        return await self._write(lambda: work(self._writer))  # type: ignore[arg-type]

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._reading.end)
        for reader in self._readers:
            reader.close()
        try:
            await self._write(self._close)
        finally:
            await asyncio.to_thread(self._writing.shutdown)
            self._lock.give_up()

    async def _write(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        with self._watched():
            return await loop.run_in_executor(self._writing, lambda: work(*args, **kwargs))

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Errors in our words; the store that writes notes when its file is damaged."""
        try:
            with translated(self.path):
                yield
        except StoreCorrupt:
            if self._writer is not None:
                suspect(self.path)
                self.damaged.set()
            raise

    def _refuse_if(self, *, closed: bool) -> None:
        if closed:
            raise StoreUnavailable(f"{self.path} is closed")

    def _open(self) -> Opened:
        self._lock.take()
        reached("open.locked")
        try:
            self._writer, opened = start(self.path, self._durability)
            reached("open.loaded")
            self._commit(lambda conn: _set_clean(conn, "0"))
            reached("open.marked")
        except BaseException:
            self._close(clean=False)
            self._lock.give_up()
            raise
        return opened

    def _store(self, facts: Sequence[Fact]) -> None:
        """Commit facts, unless an earlier try that seemed to fail has stored them."""
        failed, self._failed = self._failed, Attempt(facts)
        if failed is not None and failed.facts == facts:
            self._failed = failed
        attempt = self._failed
        if attempt is failed and attempt.is_stored(self._trusted()):
            settle(self._trusted())
        else:
            self._commit(lambda conn: _write(conn, attempt.rows))
        self._failed = None

    def _commit(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """One transaction. After an error, even one in COMMIT, it may be tried again."""
        conn = self._trusted()
        try:
            conn.execute("BEGIN IMMEDIATE")
            result = change(conn)
            conn.execute("COMMIT")
        except BaseException as error:
            self._doubtful = is_doubtful(error)
            if conn.in_transaction:
                conn.execute("ROLLBACK")
            raise
        return result

    def _trusted(self) -> sqlite3.Connection:
        """The connection that writes: a new one after an error of the disk."""
        old = self._writer
        if old is None:
            raise StoreUnavailable(f"{self.path} is not open for writing")
        if not self._doubtful:
            return old
        self._writer = reopen_writer(self.path, self._durability)
        self._doubtful = False
        old.close()
        return self._writer

    def _close(self, *, clean: bool = True) -> None:
        """Closing the last connection checkpoints, and removes the WAL."""
        if self._writer is None:
            return
        reached("close.begun")
        try:
            if clean:
                self._commit(lambda conn: _set_clean(conn, "1"))
                reached("close.marked")
        finally:
            conn, self._writer = self._writer, None
            conn.close()
        reached("close.closed")

    # -- the readers' threads ---------------------------------------------------------------

    async def _read(
        self,
        query: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return await self._on_reader(lambda: query(self._reader(), *args, **kwargs))

    async def _on_reader(self, work: Callable[[], T]) -> T:
        self._refuse_if(closed=self._closed)
        try:
            return await self._reading.do(work)
        except Exception:
            with self._watched():
                raise

    def _reader(self) -> sqlite3.Connection:
        """This thread's own connection."""
        conn: sqlite3.Connection | None = getattr(self._own, "conn", None)
        if conn is None:
            conn = self._own.conn = self._new_reader()
        return conn

    def _new_reader(self) -> sqlite3.Connection:
        conn = open_reader(self.path)
        self._readers.append(conn)
        return conn

    async def _stream(
        self, source: Callable[[sqlite3.Connection], Iterator[T]], *, rest: float = 0.0
    ) -> AsyncIterator[T]:
        """What a generator finds in one snapshot, in pages that are short to make."""
        async with self._snapshots:
            conn = self._idle.pop() if self._idle else await self._on_reader(self._new_reader)
            try:
                snapshot = _Snapshot(conn, source)
                for item in await self._on_reader(snapshot.page):
                    yield item
                while not snapshot.over:
                    await asyncio.sleep(rest)
                    for item in await self._on_reader(snapshot.page):
                        yield item
            finally:
                if conn.in_transaction:
                    conn.execute("ROLLBACK")
                self._idle.append(conn)

    async def events_after(
        self, after: int, limit: int, until: int | None = None
    ) -> list[EventLogged]:
        return await self._read(queries.events_after, after, limit, until)

    async def event_bounds(self) -> tuple[int, int]:
        return await self._read(queries.event_bounds)

    async def event_since(self, t_ms: int, /) -> int:
        return await self._read(queries.event_since, t_ms)

    def journal_rows(self, first: int = 0) -> AsyncIterator[Replayed]:
        return self._stream(lambda conn: reading.replayed(conn, first))

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
        return self._stream(lambda conn: reading.found(conn, query))

    def unplaced(self, device: int, boot: bytes) -> AsyncIterator[Batch]:
        return self._stream(lambda conn: reading.unplaced(conn, device, boot))

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


def _write(conn: sqlite3.Connection, facts: Sequence[Fact]) -> None:
    reached("commit.begun")
    write(conn, facts)
    reached("commit.written")


def _prune(conn: sqlite3.Connection, now_ms: int, replay_ms: int) -> int:
    reached("prune.begun")
    deleted = prune(conn, now_ms, replay_ms)
    reached("prune.deleted")
    return deleted


def _set_clean(conn: sqlite3.Connection, value: str) -> None:
    conn.execute("UPDATE meta SET value = ? WHERE key = 'clean'", (value,))


class _Snapshot(Generic[T]):
    """What a generator finds in one snapshot, taken at the first page; `over` after the last."""

    def __init__(
        self, conn: sqlite3.Connection, source: Callable[[sqlite3.Connection], Iterator[T]]
    ) -> None:
        self._conn = conn
        self._source = source
        self._items: Iterator[T] | None = None
        self.over = False

    def page(self) -> list[T]:
        """The next items, as many as come in a short time."""
        if self._items is None:
            self._conn.execute("BEGIN")
            self._items = iter(self._source(self._conn))
        page: list[T] = []
        end = time.monotonic() + PAGE_S
        for item in self._items:
            page.append(item)
            if len(page) == PAGE_ITEMS or time.monotonic() > end:
                return page
        self.over = True
        return page
