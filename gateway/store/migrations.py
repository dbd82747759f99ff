"""The schema, in numbered steps. A step is recorded in the transaction that applies it.

A released step is never edited; a change of the schema is a new step at the end.
"""

import secrets
import sqlite3
import string
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gateway.crashpoints import reached
from gateway.errors import StoreError
from gateway.store.schema_1 import INDEXES, TABLES, VIEWS
from gateway.store.schema_2 import SECOND
from gateway.store.schema_3 import THIRD

APPLICATION_ID = 0x53475731  # "SGW1": `file` and people can tell whose database this is


class Migration(NamedTuple):
    """changes: SQL, and what SQL cannot say."""

    number: int
    name: str
    changes: Sequence[str | Callable[[sqlite3.Connection], None]]


MIGRATIONS: tuple[Migration, ...] = (
    Migration(1, "first schema", (*TABLES, *INDEXES, *VIEWS.values())),
    Migration(2, "chunks, summaries by time, and users", SECOND),
    Migration(3, "events and messages in blocks, summaries appended", THIRD),
)
NEWEST = MIGRATIONS[-1].number


def version(conn: sqlite3.Connection) -> int:
    """Number of the newest step applied; 0 for an empty file.

    Raises StoreError if the file holds tables of something else.
    """
    tables = {name for (name,) in conn.execute("SELECT name FROM sqlite_master")}
    if "migration" in tables:
        (number,) = conn.execute("SELECT coalesce(max(number), 0) FROM migration").fetchone()
        return int(number)
    if tables:
        raise StoreError("this SQLite file is not a gateway's store; choose another data_dir")
    return 0


def check(conn: sqlite3.Connection, *, newest: int = NEWEST) -> int:
    """The file's version. Raises StoreError if this program must not touch the file."""
    found = version(conn)
    if found > newest:
        raise StoreError(
            f"the store has schema version {found}, but this gateway knows only up to {newest}: "
            "install the newer gateway again, or point data_dir at another directory"
        )
    return found


def migrate(conn: sqlite3.Connection, steps: Sequence[Migration] = MIGRATIONS) -> None:
    """Apply all steps that the file lacks. Raises StoreError as `check` does."""
    found = check(conn, newest=steps[-1].number)
    for step in steps:
        if step.number > found:
            _apply(conn, step)


def _apply(conn: sqlite3.Connection, step: Migration) -> None:
    conn.execute("BEGIN IMMEDIATE")
    reached("migrate.begun")
    try:
        for change in step.changes:
            if isinstance(change, str):
                conn.execute(change)
            else:
                change(conn)
        reached("migrate.changed")
        if step.number == 1:
            _begin(conn)
        conn.execute(
            "INSERT INTO migration (number, name, applied) VALUES (?, ?, ?)",
            (step.number, step.name, time.time_ns() // 1_000_000),
        )
        conn.execute(
            "INSERT INTO meta VALUES ('schema_version', ?1) "
            "ON CONFLICT (key) DO UPDATE SET value = ?1",
            (str(step.number),),
        )
        reached("migrate.recorded")
        conn.execute("COMMIT")
    except BaseException:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        raise
    reached("migrate.committed")


def _begin(conn: sqlite3.Connection) -> None:
    """Give a new store its names. They stay with it for ever, or until it is restored."""
    conn.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    names = (("store_id", secrets.token_hex(8)), ("log_epoch", new_epoch()), ("clean", "1"))
    conn.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", names)


def new_epoch() -> str:
    """A name for an event log: eight characters of [a-z0-9]."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))
