"""Reading what can be read of a damaged database, row by row."""

import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

NEAR = 256
LAST = 2**63 - 1

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

Row = tuple[Any, ...]


class Hole(NamedTuple):
    """Row numbers first <= id < next that cannot be read; next None: nor anything after them."""

    first: int
    next: int | None


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file is damaged, not that something else is wrong."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


def open_damaged(path: Path) -> sqlite3.Connection:
    """A connection that only reads; text that is no UTF-8 is read all the same."""
    conn = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )
    conn.text_factory = partial(str, encoding="utf-8", errors="replace")
    return conn


def columns(conn: sqlite3.Connection, table: str) -> list[str]:
    """The names of a table's columns, none if it is not there or cannot be read."""
    try:
        return [row[1] for row in conn.execute(f"PRAGMA table_info({table})")]
    except UnicodeDecodeError:  # SQLite's message quotes the damage, and Python cannot read it
        return []
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return []


def walk(conn: sqlite3.Connection, sql: str, first: int = 0) -> Iterator[Row | Hole]:
    """Rows in the order of their number (the first column), and the holes between them.

    `sql` selects the rows from number `?` on, in order.
    """
    at = first
    while True:
        try:
            for row in conn.execute(sql, (at,)):
                yield row
                at = row[0] + 1
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            hole = Hole(at, _beyond(conn, sql, at))
        else:
            return
        yield hole
        if hole.next is None:
            return
        at = hole.next


def _beyond(conn: sqlite3.Connection, sql: str, low: int) -> int | None:
    """The least number after `low`, which is unreadable, from which on rows can be read again."""
    step, tries = 1, 0
    while not _readable(conn, sql, low + step):
        low += step
        tries += 1
        step = 1 if tries < NEAR else step * 2
        if low + step > LAST:
            return None
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        if _readable(conn, sql, middle):
            high = middle
        else:
            low = middle
    return high


def _readable(conn: sqlite3.Connection, sql: str, at: int) -> bool:
    try:
        conn.execute(sql, (at,)).fetchone()
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return False
    return True


def both_ends(conn: sqlite3.Connection, table: str, key: str, names: list[str]) -> Iterator[Row]:
    """Rows of a small table without row numbers: those before the damage, and those after it.

    key: its columns, such as "device, boot".
    """
    seen: set[Row] = set()
    for order in ("", " DESC"):
        by = ", ".join(part + order for part in key.split(", "))
        try:
            for row in conn.execute(f"SELECT {', '.join(names)} FROM {table} ORDER BY {by}"):  # noqa: S608 - names of our schema
                if row not in seen:
                    seen.add(row)
                    yield row
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
        else:
            return
