"""What comes back of readings: chunks and journal rows whose checksum is right."""

import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.core import chunks
from gateway.core.entry import Entry
from gateway.core.readings import Batch, Clock
from gateway.errors import StoreCorrupt
from gateway.store.damaged import Hole, Row, columns, walk
from gateway.store.journal import UNKNOWN_TIME, decode, pack, unpack
from gateway.store.salvage.progress import Piece, Salvage, State, gathered
from gateway.store.takeover import insert, select, shared

_CHUNK = ["series", "t_min_ns", "t_max_ns", "readings", "row", "crc", "body"]
_SPANS = """INSERT INTO span (block, t_min_ns, t_max_ns, unknown_time)
    SELECT id >> 8, min(t_min_ns), max(t_max_ns), max(unknown_time) FROM journal
    WHERE id >= ?1 << 8 AND id < (?1 + 1) << 8 GROUP BY id >> 8
    ON CONFLICT (block) DO UPDATE SET (t_min_ns, t_max_ns, unknown_time) =
    (excluded.t_min_ns, excluded.t_max_ns, excluded.unknown_time)"""


# -- chunks ---------------------------------------------------------------------------------


def chunked(salvage: Salvage, state: State) -> Iterator[Piece]:
    """Chunks, each in a piece of its own and under a new number."""
    if not columns(salvage.source, "chunk"):
        return
    for row in walk(salvage.source, select("chunk", ["id", *_CHUNK]), state.at):
        if isinstance(row, Hole):
            state = state.tell("chunk", 0, 1)
            yield Piece(state, facts=[salvage.dropped("readings", 0)])
        else:
            piece = _chunk(salvage, replace(state, at=row[0] + 1), row[1:])
            state = piece.state
            yield piece


def _chunk(salvage: Salvage, state: State, row: Row) -> Piece:
    series, t_min, _, readings, _, crc, body = row
    try:
        runs = _runs(crc, body)
        _look_up(salvage.known, series)
    except (ValueError, TypeError, KeyError):
        n = readings if isinstance(readings, int) else 0
        lost = salvage.dropped("readings", n, t_ns=t_min)
        return Piece(state.tell("chunk", 0, 1), facts=[lost])
    piece = Piece(state, insert("chunk", _CHUNK), [row])
    piece.tell("chunk", 1, 0)
    piece.tell("readings", readings, 0)
    for run in runs:
        _due(salvage, piece, series, run.t, run.clock)
    return piece


def _runs(crc: int, body: bytes) -> list[chunks.Run]:
    if zlib.crc32(body) != crc:
        raise ValueError("its checksum does not match")
    return chunks.decode(body)


def _look_up(known: sqlite3.Connection, series: int) -> None:
    """Raises KeyError unless the series and its device are known."""
    sql = "SELECT 1 FROM series JOIN device ON device.id = device WHERE series.id = ?"
    if known.execute(sql, (series,)).fetchone() is None:
        raise KeyError(series)


def _due(salvage: Salvage, piece: Piece, series: int, t: NDArray[np.int64], clock: Clock) -> None:
    if clock is not Clock.UNKNOWN and len(t):
        piece.dues.update(salvage.dues(series, t))


# -- the journal ----------------------------------------------------------------------------


def journalled(salvage: Salvage, state: State) -> Iterator[Piece]:
    """Journal rows, without messages that nothing can decode."""
    names = shared(salvage.known, salvage.source, "journal")
    if not names:
        return

    def take(piece: Piece, row: Row) -> None:
        _row(salvage, piece, dict(zip(names, row, strict=True)))
        piece.passed(row[0])
        piece.size += len(row[-1] or b"")

    found = walk(salvage.source, select("journal", names), state.at)
    yield from gathered(
        state, found, take=take, lose=partial(_lose, salvage), sql=insert("journal", names)
    )


def _lose(salvage: Salvage, piece: Piece, hole: Hole) -> None:
    n = 1 if hole.next is None else hole.next - hole.first
    piece.facts.append(salvage.dropped("messages", n))
    piece.tell("journal", 0, n)


def _row(salvage: Salvage, piece: Piece, row: dict[str, Any]) -> None:
    try:
        entries = unpack(row["header"], row["body"], row["crc"])
    except (StoreCorrupt, TypeError):
        piece.facts.append(salvage.dropped("messages", 1))
        piece.tell("journal", 0, 1)
        return
    read = [(entry, _read(salvage, piece, entry)) for entry in entries]
    good = [(entry, batch) for entry, batch in read if batch is not None]
    if good:
        row |= _columns([entry for entry, _ in good], [batch for _, batch in good])
        piece.rows.append(tuple(row.values()))
        piece.tell("journal", 1, 0)
        piece.tell("readings", row["readings"], 0)


def _read(salvage: Salvage, piece: Piece, entry: Entry) -> Batch | None:
    """The readings of a message, None if it cannot be decoded; what they make due is noted."""
    catalogue = salvage.catalogue
    try:
        catalogue.device(entry.stream)
        batch = decode(entry, catalogue)
        found = [(catalogue.series(column.key), column.t) for column in batch.columns]
    except (StoreCorrupt, KeyError):
        piece.facts.append(salvage.dropped("readings", entry.readings))
        piece.tell("messages", 0, 1)
        return None
    for series, t in found:
        _due(salvage, piece, series, t, batch.clock)
    return batch


def _columns(entries: list[Entry], batches: list[Batch]) -> dict[str, Any]:
    """The columns of a journal row, which its checksum does not cover, from its messages."""
    header, body, crc = pack(entries)
    spans = [batch.span() for batch in batches if batch.clock is not Clock.UNKNOWN]
    known = [span for span in spans if span is not None]
    return {
        "t_min_ns": min((low for low, _ in known), default=None),
        "t_max_ns": max((high for _, high in known), default=None),
        "readings": sum(entry.readings for entry in entries),
        "unknown_time": int(bool(header[0] & UNKNOWN_TIME)),
        "crc": crc,
        "header": header,
        "body": body,
    }


def renew_spans(conn: sqlite3.Connection, rows: list[Row]) -> None:
    """Journal rows came back: the blocks that they are in span their time too."""
    conn.executemany(_SPANS, sorted({(row[0] >> 8,) for row in rows}))
