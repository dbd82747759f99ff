"""Which messages a damaged journal lost: numbers that are missing where rows cannot be read."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from gateway.errors import StoreCorrupt
from gateway.store.damaged import Hole, columns, walk
from gateway.store.journal import unpack
from gateway.store.takeover import select

_STREAM = "SELECT device, epoch FROM stream WHERE id = ?"
_TOLD = """SELECT seq, seq FROM rejected WHERE device = ?1 AND epoch = ?2
    UNION ALL SELECT first, last FROM loss WHERE device = ?1 AND epoch = ?2 ORDER BY 1"""


class Gap(NamedTuple):
    """Messages first … last of a device's epoch (hex) that are lost."""

    device: int
    epoch: str
    first: int
    last: int


def gaps(
    source: sqlite3.Connection, known: sqlite3.Connection, positions: Mapping[str, int]
) -> Iterator[Gap]:
    """What the damaged database `source` had of each stream and cannot give any more.

    `positions`: the committed seq of each stream. `known`: the database that goes on, which says
    what was rejected or lost before.
    """
    for stream, first, last in _missing(source, positions):
        row = known.execute(_STREAM, (stream,)).fetchone()
        if row is not None:
            for low, high in _without(first, last, known.execute(_TOLD, row)):
                yield Gap(row[0], row[1], low, high)


def _missing(
    source: sqlite3.Connection, positions: Mapping[str, int]
) -> Iterator[tuple[int, int, int]]:
    holes = 0
    seen: dict[int, tuple[int, int]] = {}
    for found in _entries(source):
        if found is None:
            holes += 1
            continue
        stream, seq, last = found
        before, newest = seen.get(stream, (holes, seq - 1))
        if before < holes and seq > newest + 1:
            yield stream, newest + 1, seq - 1
        seen[stream] = holes, max(last, newest)
    for stream, (before, newest) in seen.items():
        committed = positions.get(str(stream), 0)
        if before < holes and committed > newest:
            yield stream, newest + 1, committed


def _entries(source: sqlite3.Connection) -> Iterator[tuple[int, int, int] | None]:
    """(stream, seq, last) of each message that can be read, None for each hole."""
    if not columns(source, "journal"):
        return
    for row in walk(source, select("journal", ["id", "header", "body", "crc"])):
        if isinstance(row, Hole):
            yield None
            continue
        try:
            entries = unpack(*row[1:])
        except (StoreCorrupt, TypeError):
            yield None
            continue
        yield from ((entry.stream, entry.seq, entry.last) for entry in entries)


def _without(first: int, last: int, told: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The parts of first … last that none of the sorted ranges covers."""
    at = first
    for low, high in told:
        if at < low <= last:
            yield at, low - 1
        at = max(at, high + 1)
    if at <= last:
        yield at, last
