"""Connections that only read, on a few threads."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Generic, TypeVar

from gateway.store.connect import open_reader
from gateway.store.threads import Threads

T = TypeVar("T")

READERS = 2
PAGE_S = 0.01
PAGE_ITEMS = 1024

Source = Callable[[sqlite3.Connection], Iterator[T]]
"""A generator that reads."""


class Readers:
    """Each thread has a connection for short queries; long ones have connections of their own.

    watched: entered for all work; it refuses what comes too late, and sees the errors.
    """

    def __init__(self, path: Path, watched: Callable[[], AbstractContextManager[None]]) -> None:
        self.open: list[sqlite3.Connection] = []
        self._path = path
        self._watched = watched
        self._threads = Threads(READERS, "store-reader")
        self._own = threading.local()
        self._turns = asyncio.Semaphore(READERS)
        self._idle: list[sqlite3.Connection] = []

    async def close(self) -> None:
        """Let what runs come to its end."""
        await asyncio.to_thread(self._threads.end)
        for conn in self.open:
            conn.close()

    async def run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """The result of a short query."""
        return await self._on_thread(lambda: query(self._mine()))

    async def _on_thread(self, work: Callable[[], T]) -> T:
        with self._watched():
            return await self._threads.do(work)

    def _mine(self) -> sqlite3.Connection:
        """This thread's own connection."""
        conn: sqlite3.Connection | None = getattr(self._own, "conn", None)
        if conn is None:
            conn = self._own.conn = self._new()
        return conn

    def _new(self) -> sqlite3.Connection:
        conn = open_reader(self._path)
        self.open.append(conn)
        return conn

    async def stream(
        self, source: Source[T], *, rest: float = 0.0, lasting: bool = True
    ) -> AsyncIterator[T]:
        """What a generator finds, in pages that are short to make.

        rest: seconds between two pages. lasting: all pages see one snapshot, and until the last of
        them checkpoints leave what is committed meanwhile in the WAL; otherwise each page sees its
        own, and the generator may leave no statement unfinished when it yields.
        """
        async with self._turns:
            conn = self._idle.pop() if self._idle else await self._on_thread(self._new)
            try:
                pages = _Pages(conn, source, lasting=lasting)
                for item in await self._on_thread(pages.next):
                    yield item
                while not pages.over:
                    await asyncio.sleep(rest)
                    for item in await self._on_thread(pages.next):
                        yield item
            finally:
                if conn.in_transaction:
                    conn.execute("ROLLBACK")
                self._idle.append(conn)


class _Pages(Generic[T]):
    """What a generator finds, page by page; `over` after the last."""

    def __init__(self, conn: sqlite3.Connection, source: Source[T], *, lasting: bool) -> None:
        self._conn = conn
        self._source = source
        self._lasting = lasting
        self._items: Iterator[T] | None = None
        self.over = False

    def next(self) -> list[T]:
        """The next items, as many as come in a short time."""
        if not self._conn.in_transaction:
            self._conn.execute("BEGIN")
        page = self._page()
        if not self._lasting:
            self._conn.execute("ROLLBACK")
        return page

    def _page(self) -> list[T]:
        if self._items is None:
            self._items = iter(self._source(self._conn))
        page: list[T] = []
        end = time.monotonic() + PAGE_S
        for item in self._items:
            page.append(item)
            if len(page) == PAGE_ITEMS or time.monotonic() > end:
                return page
        self.over = True
        return page
