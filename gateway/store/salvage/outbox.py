"""What comes back of the outbox."""

import sqlite3
from collections.abc import Callable, Iterator
from functools import partial

from gateway.core.facts import OutboxPut
from gateway.errors import StoreCorrupt
from gateway.store import blocks
from gateway.store.damaged import Hole, Row, both_ends, columns, walk
from gateway.store.salvage.progress import Piece, Salvage, State, gathered
from gateway.store.salvage.tables import lose
from gateway.store.schema_3 import stored_put
from gateway.store.takeover import select


def outbox(salvage: Salvage, state: State) -> Iterator[Piece]:
    """What was not acknowledged, as far as that can be read: rather twice than never.

    Live states are left out: they are sent anew anyhow.
    """
    source = salvage.source
    names, read = _form(source)
    if not names:
        return
    gone = _settled(source) | _dead(source)

    def take(piece: Piece, row: Row) -> None:
        try:
            messages = read(row)
        except (StoreCorrupt, ValueError, TypeError):
            piece.tell("outbox", 0, 1)
            return
        put = [one for one in messages if not (one.replaces or one.id in gone)]
        piece.facts += put
        piece.tell("outbox", len(put), 0)
        piece.passed(row[0])

    found = walk(source, select("outbox", names), state.at)
    yield from gathered(state, found, take=take, lose=partial(lose, table="outbox"))


def _form(source: sqlite3.Connection) -> tuple[list[str], Callable[[Row], list[OutboxPut]]]:
    """The columns to read, and how they are read: before the third schema a row was one."""
    names = columns(source, "outbox")
    if "body" in names:
        return ["id", "crc", "body"], lambda row: [
            blocks.message(one) for one in blocks.unpack(*row[1:])
        ]
    fields = list(OutboxPut._fields)
    return fields if names else [], lambda row: [stored_put(row)]


def _settled(source: sqlite3.Connection) -> set[int]:
    """The numbers of what was acknowledged."""
    if "done" in columns(source, "outbox"):
        sql = "SELECT id FROM outbox WHERE id >= ? AND done IS NOT NULL ORDER BY id"
        return _numbers(source, sql)
    if not columns(source, "outbox_done"):
        return set()
    runs = both_ends(source, "outbox_done", "id", ["first", "last"])
    return {number for first, last in runs for number in range(first, last + 1)}


def _dead(source: sqlite3.Connection) -> set[int]:
    """The numbers of what was given up."""
    table = "outbox_refused" if columns(source, "outbox_refused") else "outbox"
    return _numbers(source, f"SELECT id FROM {table} WHERE id >= ? AND dead = 1 ORDER BY id")  # noqa: S608


def _numbers(source: sqlite3.Connection, sql: str) -> set[int]:
    return {row[0] for row in walk(source, sql) if not isinstance(row, Hole)}
