"""The store on SQLite: one connection on one thread writes, a few read-only ones read."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from gateway.core.facts import EventLogged, Fact, Loss, OutboxPut, Rejection
from gateway.core.readings import Batch
from gateway.errors import StoreUnavailable
from gateway.store import queries
from gateway.store.connect import (
    Durability,
    WriterLock,
    is_doubtful,
    open_reader,
    open_writer,
    reopen_writer,
    settle,
    translated,
)
from gateway.store.migrations import migrate
from gateway.store.opening import load
from gateway.store.outcome import Attempt
from gateway.store.prune import prune
from gateway.store.reading import (
    Page,
    Query,
    choose_series,
    journal_page,
    readings_page,
    unplaced_page,
)
from gateway.store.rows import CommandRow, Found, Opened, OutboxStats, Replayed, SummaryPage
from gateway.store.statements import write

P = ParamSpec("P")
T = TypeVar("T")

READERS = 2
LOCK_NAME = "gateway.lock"


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
        self._reading = ThreadPoolExecutor(max_workers=READERS, thread_name_prefix="store-reader")
        self._own = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._writer: sqlite3.Connection | None = None
        self._doubtful = False
        self._failed: Attempt | None = None
        self._closed = False

    # -- the writer's thread ----------------------------------------------------------------

    async def open(self) -> Opened:
        return await self._write(self._open)

    async def commit(self, facts: Sequence[Fact]) -> None:
        self._refuse_if(closed=self._closed)
        await self._write(self._store, facts)

    async def prune(self, now_ms: int, *, replay_ms: int) -> int:
        self._refuse_if(closed=self._closed)
        return await self._write(self._commit, lambda conn: prune(conn, now_ms, replay_ms))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._reading.shutdown)
        for reader in self._readers:
            reader.close()
        try:
            await self._write(self._close)
        finally:
            await asyncio.to_thread(self._writing.shutdown)
            self._lock.give_up()

    async def _write(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        with translated(self.path):
            return await loop.run_in_executor(self._writing, lambda: work(*args, **kwargs))

    def _refuse_if(self, *, closed: bool) -> None:
        if closed:
            raise StoreUnavailable(f"{self.path} is closed")

    def _open(self) -> Opened:
        self._lock.take()
        try:
            self._writer = open_writer(self.path, self._durability)
            migrate(self._writer)
            opened = load(self._writer)
            self._commit(lambda conn: _set_clean(conn, "0"))
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
            self._commit(lambda conn: write(conn, attempt.rows))
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
        try:
            if clean:
                self._commit(lambda conn: _set_clean(conn, "1"))
        finally:
            conn, self._writer = self._writer, None
            conn.close()

    # -- the readers' threads ---------------------------------------------------------------

    async def _read(
        self,
        query: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        self._refuse_if(closed=self._closed)
        loop = asyncio.get_running_loop()
        with translated(self.path):
            return await loop.run_in_executor(
                self._reading, lambda: query(self._reader(), *args, **kwargs)
            )

    def _reader(self) -> sqlite3.Connection:
        """This thread's own connection."""
        conn: sqlite3.Connection | None = getattr(self._own, "conn", None)
        if conn is None:
            conn = self._own.conn = open_reader(self.path)
            self._readers.append(conn)
        return conn

    async def events_after(
        self, after: int, limit: int, until: int | None = None
    ) -> list[EventLogged]:
        return await self._read(queries.events_after, after, limit, until)

    async def event_bounds(self) -> tuple[int, int]:
        return await self._read(queries.event_bounds)

    async def event_since(self, t_ms: int, /) -> int:
        return await self._read(queries.event_since, t_ms)

    async def journal_rows(self, first: int = 0) -> AsyncIterator[Replayed]:
        page = Page((), first)
        while page.next is not None:
            page = await self._read(journal_page, page.next)
            for row in page.items:
                yield row

    async def readings(
        self,
        *,
        since_ns: int,
        until_ns: int,
        device: str | None = None,
        metric: str | None = None,
        series: Collection[int] | None = None,
    ) -> AsyncIterator[Found]:
        wanted = await self._read(choose_series, device=device, metric=metric, numbers=series)
        query = Query(since_ns, until_ns, wanted)
        page = Page((), 0 if wanted is None or wanted else None)
        while page.next is not None:
            page = await self._read(readings_page, page.next, query)
            for found in page.items:
                yield found

    async def unplaced(self, device: int, boot: bytes) -> AsyncIterator[tuple[int, Batch]]:
        page = Page((), 0)
        while page.next is not None:
            page = await self._read(unplaced_page, page.next, device, boot)
            for item in page.items:
                yield item

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


def _set_clean(conn: sqlite3.Connection, value: str) -> None:
    conn.execute("UPDATE meta SET value = ? WHERE key = 'clean'", (value,))
