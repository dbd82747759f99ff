"""The store on SQLite: one connection on one thread writes, a few read-only ones read."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from gateway.core.facts import EventLogged, Fact, Loss, OutboxPut, Rejection
from gateway.core.readings import Batch
from gateway.errors import StoreCorrupt, StoreUnavailable
from gateway.store import queries
from gateway.store.connect import (
    Durability,
    WriterLock,
    open_reader,
    translated,
)
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
from gateway.store.starting import start, suspect
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
        self._closed = False
        self.damaged = asyncio.Event()
        """Set when damage is met: the next start sets the file aside."""

    # -- the writer's thread ----------------------------------------------------------------

    async def open(self) -> Opened:
        return await self._write(self._open)

    async def commit(self, facts: Sequence[Fact]) -> None:
        self._refuse_if(closed=self._closed)
        await self._write(self._commit, lambda conn: write(conn, facts))

    async def prune(self, now_ms: int, *, replay_ms: int) -> int:
        self._refuse_if(closed=self._closed)
        return await self._write(self._commit, lambda conn: prune(conn, now_ms, replay_ms))

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
        try:
            self._writer, opened = start(self.path, self._durability)
            self._commit(lambda conn: _set_clean(conn, "0"))
        except BaseException:
            self._close(clean=False)
            self._lock.give_up()
            raise
        return opened

    def _commit(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """One transaction. After an error, even one in COMMIT, the connection can be used again."""
        conn = self._writer
        if conn is None:
            raise StoreUnavailable(f"{self.path} is not open for writing")
        conn.execute("BEGIN IMMEDIATE")
        try:
            result = change(conn)
            conn.execute("COMMIT")
        except BaseException:
            if conn.in_transaction:
                conn.execute("ROLLBACK")
            raise
        return result

    def _close(self, *, clean: bool = True) -> None:
        """Closing the last connection checkpoints, and removes the WAL."""
        conn = self._writer
        if conn is None:
            return
        try:
            if clean:
                self._commit(lambda conn: _set_clean(conn, "1"))
        finally:
            self._writer = None
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
        with self._watched():
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
