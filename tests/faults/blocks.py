"""Blocks of events and messages, read and written by what docs/storage.md says of them."""

import json
import sqlite3
import zlib
from collections.abc import Callable
from typing import Any

Rows = list[list[Any]]

_TOLD = "CREATE TEMP TABLE told (id INTEGER, t, kind, device, metric, window, payload)"
_SENT = """CREATE TEMP TABLE sent (id INTEGER, t, topic, payload, retain, ends, window_ms, backfill,
    expires, replaces, properties)"""


def rows_of(crc: int, body: bytes) -> Rows:
    """The rows of a block, whose checksum must be right."""
    if zlib.crc32(body) != crc:
        raise ValueError("the checksum of a block does not match")
    found: Rows = json.loads(zlib.decompress(body, -15))
    return found


def unfold(conn: sqlite3.Connection) -> None:
    """Make temporary tables of all events (`told`) and all messages (`sent`)."""
    for made, source, width in ((_TOLD, "event", 7), (_SENT, "outbox", 11)):
        conn.execute(made)
        name = made.split()[3]
        marks = ", ".join("?" * width)
        for block in conn.execute(f"SELECT crc, body FROM {source} ORDER BY id").fetchall():
            conn.executemany(f"INSERT INTO {name} VALUES ({marks})", rows_of(*block))


def newest_summary(conn: sqlite3.Connection) -> int:
    """The number of the newest event that is a summary; 0: there is none."""
    for block in conn.execute("SELECT crc, body FROM event ORDER BY id DESC"):
        for number, _, kind, *_ in reversed(rows_of(*block)):
            if kind == "summary":
                return int(number)
    return 0


def edit(conn: sqlite3.Connection, table: str, change: Callable[[Rows], Rows]) -> None:
    """Write all blocks of a table again, as one, with other rows."""
    rows: Rows = []
    for block in conn.execute(f"SELECT crc, body FROM {table} ORDER BY id").fetchall():
        rows += rows_of(*block)
    conn.execute(f"DELETE FROM {table}")
    put(conn, table, change(rows))


def put(conn: sqlite3.Connection, table: str, rows: Rows) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(json.dumps(rows).encode()) + packer.flush()
    last = rows[-1]
    block = (last[0], rows[0][0], last[1], zlib.crc32(body), body)
    conn.execute(f"INSERT INTO {table} (id, first, t, crc, body) VALUES (?, ?, ?, ?, ?)", block)
