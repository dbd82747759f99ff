"""Blocks: rows that are written once and read in order, those of one commit together.

The event log and the outbox are kept so. A block's row has the number of its last row (`id`) and
of its first, the time of its last, and a body: a JSON array of the rows, deflated (RFC 1951), with
its CRC-32. What a commit tells about twenty series is much alike: together it takes a page where
one by one it would take seven.
"""

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from gateway.core import facts as f
from gateway.errors import StoreCorrupt

MOST_ROWS = 128
MOST_BYTES = 2**18
LEVEL = 6


class Block(NamedTuple):
    """A row of a table of blocks; t: Unix ms."""

    id: int
    first: int
    t: int
    crc: int
    body: bytes


def blocks(rows: Sequence[f.EventLogged | f.OutboxPut]) -> Iterator[Block]:
    """Numbered rows, each with its time in second place, as blocks of a bounded size."""
    begin, size = 0, 0
    ordered = sorted(rows)
    for end, row in enumerate(ordered):
        if end - begin == MOST_ROWS or (size and size + len(row.payload) > MOST_BYTES):
            yield _block(ordered[begin:end])
            begin, size = end, 0
        size += len(row.payload)
    if ordered:
        yield _block(ordered[begin:])


def _block(rows: Sequence[f.EventLogged | f.OutboxPut]) -> Block:
    raw = msgspec.json.encode([_plain(row) for row in rows])
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -15)
    body = packer.compress(raw) + packer.flush()
    return Block(rows[-1].id, rows[0].id, rows[-1].t, zlib.crc32(body), body)


def _plain(row: f.EventLogged | f.OutboxPut) -> Sequence[Any]:
    """JSON has no bytes: a message's payload is written as the text of the same code points."""
    if isinstance(row, f.EventLogged):
        return row
    return row._replace(payload=row.payload.decode("latin-1"))  # type: ignore[arg-type]


def unpack(crc: int, body: bytes) -> list[list[Any]]:
    """The rows of a block. Raises StoreCorrupt if the checksum does not match."""
    if zlib.crc32(body) != crc:
        raise StoreCorrupt("the checksum of a block does not match: keep the database")
    found: list[list[Any]] = msgspec.json.decode(zlib.decompress(body, -15))
    return found


def message(row: Sequence[Any]) -> f.OutboxPut:
    """A row of a block of the outbox."""
    put = f.OutboxPut(*row)
    return put._replace(payload=put.payload.encode("latin-1"))  # type: ignore[attr-defined]


def rows_after(
    conn: sqlite3.Connection, table: str, after: int, last: int
) -> Iterator[Sequence[Any]]:
    """The rows with after < number <= last, in order."""
    sql = f"SELECT crc, body FROM {table} WHERE id > ? ORDER BY id"  # noqa: S608 - our tables
    for block in conn.execute(sql, (after,)):
        for row in unpack(*block):
            if row[0] > last:
                return
            if row[0] > after:
                yield row


def events(
    conn: sqlite3.Connection, after: int = 0, last: int = 2**63 - 1
) -> Iterator[f.EventLogged]:
    return (f.EventLogged(*row) for row in rows_after(conn, "event", after, last))


def messages(
    conn: sqlite3.Connection, after: int = 0, last: int = 2**63 - 1
) -> Iterator[f.OutboxPut]:
    """All messages that are kept, whether they are still to be sent or not."""
    return map(message, rows_after(conn, "outbox", after, last))


def _put(conn: sqlite3.Connection, rows: Sequence[Any], *, table: str) -> None:
    """Raises sqlite3.IntegrityError if a number was given out before."""
    taken = f"SELECT first FROM {table} WHERE id >= ? ORDER BY id LIMIT 1"  # noqa: S608 - our tables
    insert = f"INSERT INTO {table} (id, first, t, crc, body) VALUES (?, ?, ?, ?, ?)"  # noqa: S608
    for block in blocks(rows):
        following = conn.execute(taken, (block.first,)).fetchone()
        if following is not None and following[0] <= block.id:
            raise sqlite3.IntegrityError(
                f"UNIQUE: {table} has numbers of {block.first} to {block.id} already"
            )
        conn.execute(insert, block)


put_events = partial(_put, table="event")
put_messages = partial(_put, table="outbox")
