"""The one connection that writes, and what becomes of it after an error."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from gateway.core.facts import Fact, JournalRow
from gateway.crashpoints import reached
from gateway.errors import StoreUnavailable
from gateway.store.connect import Durability, WriterLock, is_doubtful, reopen_writer, settle
from gateway.store.outcome import Attempt
from gateway.store.rows import Opened
from gateway.store.starting import start
from gateway.store.statements import write

T = TypeVar("T")

LOCK_NAME = "gateway.lock"
LADEN_BYTES = 2**20


class Writer:
    """Holds the writer's lock as long as it is open. All methods are for one thread.

    conn: None while it is not open.
    """

    def __init__(self, path: Path, durability: Durability) -> None:
        self.conn: sqlite3.Connection | None = None
        self.lock = WriterLock(path.parent / LOCK_NAME)
        self._path = path
        self._durability = durability
        self._doubtful = False
        self._failed: Attempt | None = None
        self._laden = 0

    def open(self) -> Opened:
        self.lock.take()
        reached("open.locked")
        try:
            self.conn, opened = start(self._path, self._durability)
            reached("open.loaded")
            self.commit(lambda conn: _set_clean(conn, "0"))
            reached("open.marked")
        except BaseException:
            self.close(clean=False)
            raise
        return opened

    def store(self, facts: Sequence[Fact]) -> None:
        """Commit facts, unless an earlier try that seemed to fail has stored them."""
        failed, self._failed = self._failed, Attempt(facts)
        if failed is not None and failed.facts == facts:
            self._failed = failed
        attempt = self._failed
        if attempt is failed and attempt.is_stored(self._trusted()):
            settle(self._trusted())
        else:
            self.commit(lambda conn: _write(conn, attempt.rows))
        self._failed = None
        self._laden += sum(len(fact.body) for fact in facts if isinstance(fact, JournalRow))

    def commit(self, change: Callable[[sqlite3.Connection], T]) -> T:
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

    @property
    def laden(self) -> bool:
        """Whether the WAL holds so many messages that a checkpoint is worth it."""
        return self._laden >= LADEN_BYTES

    def checkpoint(self) -> None:
        """Bring the WAL into the file, so that SQLite need not do it in the midst of a commit.

        As there, an error is left to the commits that follow.
        """
        self._laden = 0
        if self.conn is not None:
            with suppress(sqlite3.Error):
                self.conn.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` outside of a transaction."""
        return work(self._opened())

    def _trusted(self) -> sqlite3.Connection:
        """The connection that writes: a new one after an error of the disk."""
        old = self._opened()
        if not self._doubtful:
            return old
        self.conn = reopen_writer(self._path, self._durability)
        self._doubtful = False
        old.close()
        return self.conn

    def _opened(self) -> sqlite3.Connection:
        if self.conn is None:
            raise StoreUnavailable(f"{self._path} is not open for writing")
        return self.conn

    def close(self, *, clean: bool = True) -> None:
        """Closing the last connection checkpoints, and removes the WAL."""
        try:
            if self.conn is not None:
                self._close(clean=clean)
        finally:
            self.lock.give_up()

    def _close(self, *, clean: bool) -> None:
        reached("close.begun")
        try:
            if clean:
                self.commit(lambda conn: _set_clean(conn, "1"))
                reached("close.marked")
        finally:
            conn, self.conn = self._opened(), None
            conn.close()
        reached("close.closed")


def _write(conn: sqlite3.Connection, facts: Sequence[Fact]) -> None:
    reached("commit.begun")
    write(conn, facts)
    reached("commit.written")


def _set_clean(conn: sqlite3.Connection, value: str) -> None:
    conn.execute("UPDATE meta SET value = ? WHERE key = 'clean'", (value,))
