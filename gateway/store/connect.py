"""Opening SQLite the way that this store needs it, and its errors in our words."""

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from gateway.errors import StoreBusy, StoreCorrupt, StoreError, StoreFull, StoreUnavailable
from gateway.store.foreign import set_aside
from gateway.store.migrations import check

log = logging.getLogger(__name__)

Durability = Literal["full", "relaxed"]

SYNCHRONOUS = {"full": 2, "relaxed": 1}
CACHE_KIB = 2048
"""Of pages, for each connection; what more would hold is in the system's cache anyway."""
SPILL_PAGES = 8000
"""So many pages of a transaction are written together; SQLite takes a multiple of 256 for "off"."""
PAGE_BYTES = 1024
"""A commit writes whole pages to the WAL, and most commits change a few hundred bytes."""
CHECKPOINT_PAGES = 4000
LEAST_CHECKPOINT_PAGES = 50
CHECKPOINT_SHARE = 100
"""The part of a disk that one checkpoint may take: a hundredth, a fifth of the ballast."""
JOURNAL_SIZE_LIMIT = 16 * 2**20
BUSY_TIMEOUT_MS = 5000
RESET_BUG_FIXED = (3, 51, 3)
RESET_BUG_BACKPORTS: dict[tuple[int, ...], int] = {(3, 44): 6, (3, 50): 7}

_UNAVAILABLE = {
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
}


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise the errors of SQLite that are not bugs as StoreErrors that say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        found = _translate(error, path)
        if found is None:
            raise
        raise found from error


def _translate(error: sqlite3.Error, path: Path) -> StoreError | None:
    name = getattr(error, "sqlite_errorname", "")
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"no room for {path}: free some space on its disk; nothing was stored")
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return StoreCorrupt(f"{path} is damaged ({error}): keep it, and restore a backup")
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StoreBusy(f"{path} is locked by another program: end it, then try again")
    if code in _UNAVAILABLE:
        return StoreUnavailable(
            f"{path} cannot be read or written ({error}, {name}): "
            "check the disk, and that the directory belongs to the gateway's user"
        )
    return None


def spare_foreign_wal(path: Path) -> None:
    """Set a WAL of another database aside, before SQLite reads it as ours."""
    if (aside := set_aside(path)) is not None:
        log.error("the WAL was another database's; it is kept as %s", aside)


def is_doubtful(error: BaseException) -> bool:
    """Whether the connection must not be trusted after this error: what is on disk is not sure."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _UNAVAILABLE


def open_writer(path: Path, durability: Durability) -> sqlite3.Connection:
    """The one connection that writes and checkpoints; the file is made if there is none.

    Raises StoreUnavailable if a setting did not take effect (on some network file systems),
    StoreError if the file is newer than this program, or something else; then it stays untouched.
    """
    spare_foreign_wal(path)
    conn = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000)
    try:
        check(conn)
        _prepare(conn, path, durability)
    except BaseException:
        conn.close()
        raise
    return conn


def _prepare(conn: sqlite3.Connection, path: Path, durability: Durability) -> None:
    conn.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # no effect on a file that exists
    _set(conn, "auto_vacuum", "INCREMENTAL", 2)  # no effect once the journal mode is WAL
    _set(conn, "journal_mode", "WAL", "wal")
    _set(conn, "synchronous", str(SYNCHRONOUS[durability]), SYNCHRONOUS[durability])
    pages = _checkpoint_pages(conn, path)
    _set(conn, "wal_autocheckpoint", str(pages), pages)
    _set(conn, "journal_size_limit", str(JOURNAL_SIZE_LIMIT), JOURNAL_SIZE_LIMIT)
    _set(conn, "foreign_keys", "OFF", 0)
    _set(conn, "cache_size", f"-{CACHE_KIB}", -CACHE_KIB)
    conn.execute(f"PRAGMA cache_spill = {SPILL_PAGES}")


def _checkpoint_pages(conn: sqlite3.Connection, path: Path) -> int:
    """A checkpoint lets the file grow by what it writes: on a small disk it comes more often."""
    (size,) = conn.execute("PRAGMA page_size").fetchone()
    disk = os.statvfs(path.parent)
    share = disk.f_blocks * disk.f_frsize // CHECKPOINT_SHARE
    return min(CHECKPOINT_PAGES, max(LEAST_CHECKPOINT_PAGES, share // int(size)))


def _set(conn: sqlite3.Connection, pragma: str, value: str, expected: str | int) -> None:
    """Change a setting only if it is another one: to set auto_vacuum writes a page."""
    (found,) = conn.execute(f"PRAGMA {pragma}").fetchone()
    if found != expected:
        conn.execute(f"PRAGMA {pragma} = {value}")
        (found,) = conn.execute(f"PRAGMA {pragma}").fetchone()
    if found != expected:
        raise StoreUnavailable(
            f"SQLite refused {pragma} = {value} (it is {found}): data_dir must be on a local disk"
        )


def reopen_writer(path: Path, durability: Durability) -> sqlite3.Connection:
    """As `open_writer`, but a file that is gone (its disk was taken out) is not made anew."""
    if not path.exists():
        raise StoreUnavailable(f"{path} is gone: put its disk back; nothing was stored")
    conn = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000)
    try:
        _prepare(conn, path, durability)
    except BaseException:
        conn.close()
        raise
    return conn


def settle(conn: sqlite3.Connection) -> None:
    """Write what the WAL holds to the database file, and sync that.

    Raises StoreUnavailable while a reader forbids it.
    """
    (busy, *_) = conn.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
    if busy:
        raise StoreUnavailable("a commit cannot be confirmed while older readers are at work")


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that can only read, and never checkpoints; any thread may close it."""
    conn = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        timeout=BUSY_TIMEOUT_MS / 1000,
        check_same_thread=False,
    )
    conn.execute("PRAGMA wal_autocheckpoint = 0")
    conn.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    return conn


class WriterLock:
    """An advisory lock on a file beside the database: one writer process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def take(self) -> None:
        """Raises StoreBusy if another process, or another store in this one, holds it."""
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"cannot open {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(file)
            raise StoreBusy(
                f"another gateway already uses this data_dir (it holds {self.path}): stop it first"
            ) from error
        self._file = file

    def give_up(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def reset_bug_warning(found: tuple[int, ...] = sqlite3.sqlite_version_info) -> str | None:
    """What to tell people whose SQLite can corrupt a WAL when two connections checkpoint."""
    backport = RESET_BUG_BACKPORTS.get(found[:2])
    if found >= RESET_BUG_FIXED or (backport is not None and found[2] >= backport):
        return None
    version = ".".join(map(str, found))
    return (
        f"SQLite {version} can damage a database when two connections write or checkpoint it at "
        "the same instant (fixed in 3.51.3). The gateway writes through one connection only; let "
        "no other program write gateway.db, and do not replicate it with Litestream"
    )
