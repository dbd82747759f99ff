"""What a new database takes over at once from a damaged one: all that devices need to go on.

Row numbers stay the same, so that readings can follow later just as they are. New rows get
numbers far above those of the old database (`floors`).
"""

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from gateway.errors import StoreCorrupt
from gateway.store.damaged import LAST, Hole, both_ends, columns, is_damage, walk
from gateway.store.journal import unpack
from gateway.store.opening import NUMBERED

MARGIN = 2**20
"""More rows than a table gets while something about it goes unnoticed."""

_TABLES = ("device", "stream", "schema", "series")
_ACCOUNTS = ("user", "access_token")
"""Taken from one source only: an older one would bring back who was removed since."""
_META = ("watermark_ns", "fold_from", "settled_row", "clock_ms")
_POSITION = "UPDATE stream SET committed = ?1 WHERE id = ?2 AND committed < ?1"
_FLOORS = """INSERT INTO meta VALUES ('floors', ?1)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value"""


def take_over(conn: sqlite3.Connection, source: sqlite3.Connection) -> None:
    """Copy what `conn` lacks of devices, streams, boots, schemas, series, alerts, who may look.

    The caller begins and ends the transaction. Of several sources the best comes first.
    """
    for table in _TABLES:
        _copy(conn, source, table)
    _copy_small(conn, source, "boot", key="device, boot")
    for table in _ACCOUNTS:
        if not conn.execute(f"SELECT 1 FROM {table}").fetchone():  # noqa: S608
            _copy_small(conn, source, table, key="name")
    _copy_small(conn, source, "alert", key="rule, device, metric")
    meta = _meta(source)
    known = [(key, meta[key]) for key in _META if key in meta]
    conn.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", known)
    conn.executemany(_POSITION, [(last, stream) for stream, last in _positions(source).items()])
    _raise_floors(conn, source, json.loads(meta.get("floors", "{}")))


def _meta(source: sqlite3.Connection) -> dict[str, str]:
    if not _has(source, "meta"):
        return {}
    rows = both_ends(source, "meta", "key", ["key", "value"])
    return {str(key): str(value) for key, value in rows}


def shared(conn: sqlite3.Connection, source: sqlite3.Connection, table: str) -> list[str]:
    """The columns that both have: the source may be older."""
    theirs = columns(source, table)
    return [name for name in columns(conn, table) if name in theirs]


def insert(table: str, names: list[str]) -> str:
    """A statement that adds a row unless its number is taken."""
    marks = ", ".join("?" * len(names))
    return f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608


def select(table: str, names: list[str]) -> str:
    """A statement for `walk`; the first of the names is the row number."""
    return f"SELECT {', '.join(names)} FROM {table} WHERE {names[0]} >= ? ORDER BY {names[0]}"  # noqa: S608


def _has(source: sqlite3.Connection, table: str) -> bool:
    return bool(columns(source, table))


def _copy(conn: sqlite3.Connection, source: sqlite3.Connection, table: str) -> None:
    names = shared(conn, source, table)
    if names:
        rows = (row for row in walk(source, select(table, names)) if not isinstance(row, Hole))
        conn.executemany(insert(table, names), rows)


def _copy_small(
    conn: sqlite3.Connection, source: sqlite3.Connection, table: str, *, key: str
) -> None:
    names = shared(conn, source, table)
    if names:
        conn.executemany(insert(table, names), both_ends(source, table, key, names))


def _positions(source: sqlite3.Connection) -> dict[int, int]:
    """How far the messages that can be read bring each stream."""
    found: dict[int, int] = {}
    for _, header, body, crc in _journal(source):
        try:
            entries = unpack(header, body, crc)
        except StoreCorrupt:
            continue
        for entry in entries:
            found[entry.stream] = max(entry.last, found.get(entry.stream, 0))
    return found


def _journal(source: sqlite3.Connection) -> Iterator[tuple[Any, ...]]:
    if _has(source, "journal"):
        rows = walk(source, select("journal", ["id", "header", "body", "crc"]))
        yield from (row for row in rows if not isinstance(row, Hole))


def _raise_floors(
    conn: sqlite3.Connection, source: sqlite3.Connection, theirs: dict[str, int]
) -> None:
    (text,) = conn.execute("SELECT value FROM meta WHERE key = 'floors'").fetchone() or ("{}",)
    ours: dict[str, int] = json.loads(text)
    for table in NUMBERED:
        floor = max(_highest(source, table) + MARGIN, theirs.get(table, 0), ours.get(table, 0))
        ours[table] = min(floor, LAST >> 11)
    conn.execute(_FLOORS, (json.dumps(ours),))


def _highest(source: sqlite3.Connection, table: str) -> int:
    """The highest number that can be read."""
    key = "n" if table == "command" else "id"
    if not _has(source, table):
        return 0
    try:
        (number,) = source.execute(f"SELECT max({key}) FROM {table}").fetchone()  # noqa: S608
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        rows = walk(source, select(table, [key]))
        return max((int(row[0]) for row in rows if not isinstance(row, Hole)), default=0)
    return int(number or 0)
