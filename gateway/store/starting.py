"""The start, whatever state the files are in: a damaged database is set aside, a new one goes on.

Beside the database lie, renewed at start: `NAME.schema`, where everything in it is (`skeleton`),
and `NAME.catalogue`, a small database of the devices and all that they need (`takeover`).
"""

import logging
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from gateway.crashpoints import reached
from gateway.errors import StoreCorrupt
from gateway.store import files, skeleton, wal
from gateway.store.connect import (
    Durability,
    open_reader,
    open_writer,
    spare_foreign_wal,
    translated,
)
from gateway.store.damaged import columns, is_damage, open_damaged
from gateway.store.migrations import migrate, version
from gateway.store.opening import load
from gateway.store.rows import Opened
from gateway.store.salvage import State
from gateway.store.takeover import take_over

log = logging.getLogger(__name__)

CHECK_S = 2.0
_STEPS = 10_000
_SUMS = {
    "journal": "SELECT id, header, body, crc FROM journal",
    "chunk": "SELECT id, body, x'', crc FROM chunk",
    "event": "SELECT id, body, x'', crc FROM event",
    "outbox": "SELECT id, body, x'', crc FROM outbox",
}


def start(path: Path, durability: Durability) -> tuple[sqlite3.Connection, Opened]:
    """The writer's connection and what is known. The caller holds the writer's lock.

    Raises StoreError if the file cannot be used for another reason than damage.
    """
    with files.reported(path):
        files.finish(path)
        spare_foreign_wal(path)
        found = _damage(path, durability)
        if found is None:
            try:
                return _opened(path, durability)
            except (StoreCorrupt, sqlite3.DatabaseError) as error:
                if isinstance(error, sqlite3.Error) and not is_damage(error):
                    raise
                found = str(error)
        aside = replace_damaged(path)
        log.error(
            "%s is damaged (%s): it was set aside as %s; a new one goes on with the devices, "
            "and readings follow from the old one",
            *(path, found, aside.name),
        )
        return _opened(path, durability)


def suspect(path: Path) -> None:
    """Have the next start set the database aside."""
    files.beside(path, files.SUSPECT).touch()


def _opened(path: Path, durability: Durability) -> tuple[sqlite3.Connection, Opened]:
    conn = open_writer(path, durability)
    reached("open.connected")
    try:
        migrate(conn)
        reached("open.migrated")
        return conn, load(conn)
    except BaseException:
        conn.close()
        raise


# -- is it damaged? -------------------------------------------------------------------------


def _damage(path: Path, durability: Durability) -> str | None:
    """What is wrong with the files, as far as a short look shows."""
    if files.beside(path, files.SUSPECT).exists():
        return "damage was met while it was in use"
    if not path.exists() or not path.stat().st_size:
        return _missing(path)
    try:
        _roll_back(path)
        with closing(open_reader(path)) as conn:
            return _unsound(conn, path, durability)
    except UnicodeDecodeError:  # SQLite's message quotes the damage, and Python cannot read it
        return "the schema cannot be read"
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return str(error)


def _roll_back(path: Path) -> None:
    """Let SQLite deal with a rollback journal, left from before the file had a WAL or by others.

    A connection that only reads would be refused.
    """
    if files.beside(path, "-journal").exists():
        with closing(sqlite3.connect(path)) as conn:
            conn.execute("SELECT count(*) FROM sqlite_schema")


def _missing(path: Path) -> str | None:
    if path.exists() and files.beside(path, files.CATALOGUE).exists():
        return "the file is empty"
    if files.beside(path, "-wal").exists() and files.beside(path, "-wal").stat().st_size:
        return "there is a WAL, but no database"
    return None


def _unsound(conn: sqlite3.Connection, path: Path, durability: Durability) -> str | None:
    if not version(conn):
        return None
    clean = conn.execute("SELECT value FROM meta WHERE key = 'clean'").fetchone()
    if clean == ("1",):
        return None
    if durability == "full" and wal.broken(files.beside(path, "-wal")):
        return "commits in its WAL cannot be read"
    end = time.monotonic() + CHECK_S
    problem, whole = full_check(conn, lambda: time.monotonic() > end)
    if not whole:
        log.info("the database is checked further while the gateway runs")
    return problem


def full_check(conn: sqlite3.Connection, enough: Callable[[], bool]) -> tuple[str | None, bool]:
    """The first problem of pages or checksums, and whether all were looked at."""
    problem, whole = quick_check(conn, enough)
    if problem is not None or not whole:
        return problem, whole
    for table, sql in _SUMS.items():
        for number, data, more, crc in conn.execute(sql) if "body" in columns(conn, table) else ():
            if zlib.crc32(more, zlib.crc32(data)) != crc:
                return f"the checksum of {table} row {number} does not match", True
            if enough():
                return None, False
    return None, True


def quick_check(conn: sqlite3.Connection, enough: Callable[[], bool]) -> tuple[str | None, bool]:
    """The first problem that `PRAGMA quick_check` finds, and whether it saw the whole file.

    It ends early once `enough` says so.
    """
    conn.set_progress_handler(enough, _STEPS)
    try:
        (found,) = conn.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return None, False
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return str(error), True
    finally:
        conn.set_progress_handler(None, 0)
    return (None if found == "ok" else " ".join(found.split())), True


# -- a new database -------------------------------------------------------------------------


def replace_damaged(path: Path) -> Path:
    """Build a new database from what can be read, and set the damaged one aside; say where."""
    aside = files.free_name(path, "damaged")
    new = files.beside(path, files.NEW)
    catalogue = files.beside(path, files.CATALOGUE)
    with readable(path, patched=files.beside(path, files.PATCHED)) as source:
        name = aside.name if source == path else source.name
        build(new, [source, catalogue], State(aside.name, name))
    files.replace(path, aside)
    return aside


@contextmanager
def readable(path: Path, *, patched: Path) -> Iterator[Path]:
    """The file to read a damaged database from: itself, or a patched copy.

    A copy is made if the schema cannot be read but the pages that hold it were kept.
    """
    schema = files.beside(path, files.SCHEMA)
    if not path.exists() or _known(path) or not schema.exists():
        yield path
        return
    files.copy(path, patched)
    skeleton.lay(schema, patched)
    if not _known(patched):
        files.remove(patched)
        yield path
        return
    yield patched


def _known(path: Path) -> bool:
    with closing(open_damaged(path)) as conn:
        return bool(columns(conn, "journal"))


def build(new: Path, sources: list[Path], state: State) -> None:
    """A new database at `new` with what devices need, and the note that the rest is to follow."""
    files.remove(new)
    with translated(new), closing(open_writer(new, "full")) as conn:
        migrate(conn)
        conn.execute("BEGIN IMMEDIATE")
        reached("build.begun")
        for source in sources:
            if source.exists():
                with closing(open_damaged(source)) as old:
                    take_over(conn, old)
        if state.file:
            begun = state.begun(conn)
            conn.execute("INSERT INTO meta VALUES ('salvage', ?)", (begun.to_json(),))
        reached("build.copied")
        conn.execute("COMMIT")
    reached("build.committed")


def keep_catalogue(path: Path) -> None:
    """Renew the copy of what devices need; the database is open and sound."""
    part = files.beside(path, files.CATALOGUE + ".part")
    build(part, [path], State("", ""))
    files.sync(part)
    reached("keep.built")
    part.replace(files.beside(path, files.CATALOGUE))
    reached("keep.renamed")
    files.sync(path.parent)


def keep_schema(conn: sqlite3.Connection, path: Path) -> None:
    """Renew the copy of the schema's pages, if they stand in the file and not in its WAL only."""
    busy, pages, done = conn.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    if not busy and pages == done:
        with files.reported(path):
            skeleton.save(path, files.beside(path, files.SCHEMA))
