"""Readings, decoded from the journal a page at a time.

`readings_page` asks each source of readings in turn; the journal is the one there is. A source is
a function of (connection, position, query) that gives a page and the position after it.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from gateway.core.columns import Layout
from gateway.core.entry import Entry
from gateway.core.readings import INT64_MAX, Batch, Clock, Column, Kind, SeriesKey
from gateway.errors import StoreCorrupt
from gateway.store.catalogue import Catalogue
from gateway.store.journal import decode, timebase, unpack
from gateway.store.rows import Found, Replayed

T = TypeVar("T")

PAGE_READINGS = 50_000
PAGE_ROWS = 256
BLOCK_BITS = 8


class Query(NamedTuple):
    """Readings with since <= t < until (ns). `series`: number by key, None for all."""

    since: int
    until: int
    series: dict[SeriesKey, int] | None


class Page(NamedTuple):
    """Some items, and where to go on; None at the end."""

    items: Sequence[Any]
    next: int | None


def entries(row: int, header: bytes, body: bytes, crc: int) -> list[Entry]:
    """The entries of journal row `row`. Raises StoreCorrupt, which names the row."""
    try:
        return unpack(header, body, crc)
    except StoreCorrupt as error:
        raise StoreCorrupt(f"journal row {row}: {error}") from error


def journal_page(conn: sqlite3.Connection, first: int) -> Page:
    """Decoded rows (`Replayed`) from number `first` on."""
    catalogue = Catalogue(conn)

    def replay(row: int, header: bytes, body: bytes, crc: int) -> list[Replayed]:
        found = [(entry, decode(entry, catalogue)) for entry in entries(row, header, body, crc)]
        return [Replayed(row, found)]

    sql = "SELECT id, readings, header, body, crc FROM journal WHERE id >= ? ORDER BY id LIMIT ?"
    return _page(conn.execute(sql, (first, PAGE_ROWS)), replay, end=None)


def readings_page(conn: sqlite3.Connection, first: int, query: Query) -> Page:
    """Readings (`Found`) that match, from journal row `first` on, in order of arrival."""
    catalogue = Catalogue(conn)

    def find(row: int, header: bytes, body: bytes, crc: int) -> list[Found]:
        found = entries(row, header, body, crc)
        return list(_matches(row, found, catalogue, query))

    return _scan(conn, first, query, find)


def unplaced_page(conn: sqlite3.Connection, first: int, device: int, boot: bytes) -> Page:
    """(row, Batch) of each message of that boot whose time is unknown, from row `first` on."""
    catalogue = Catalogue(conn)
    streams = {
        number for (number,) in conn.execute("SELECT id FROM stream WHERE device = ?", (device,))
    }

    def find(row: int, header: bytes, body: bytes, crc: int) -> list[tuple[int, Batch]]:
        found = (
            decode(entry, catalogue)
            for entry in entries(row, header, body, crc)
            if entry.readings and entry.boot == boot and entry.stream in streams
        )
        return [(row, batch) for batch in found if batch.clock is Clock.UNKNOWN]

    return _scan(conn, first, Query(since=INT64_MAX, until=-INT64_MAX, series=None), find)


def _scan(
    conn: sqlite3.Connection,
    first: int,
    query: Query,
    find: Callable[[int, bytes, bytes, int], list[T]],
) -> Page:
    """Look through the rows whose times overlap or are unknown."""
    stretch = _stretch(conn, first, query)
    sql = """SELECT id, readings, header, body, crc FROM journal WHERE id >= ? AND id < ?
        AND ((t_max_ns >= ? AND t_min_ns < ?) OR unknown_time) ORDER BY id LIMIT ?"""
    values = (*stretch, query.since, query.until, PAGE_ROWS)
    return _page(conn.execute(sql, values), find, end=_go_on(conn, stretch[1]))


def _stretch(conn: sqlite3.Connection, first: int, query: Query) -> tuple[int, int]:
    """The next row numbers worth a look: the rest of a block that may match, or the open end."""
    sql = """SELECT block FROM span WHERE block >= ?
        AND ((t_max_ns >= ? AND t_min_ns < ?) OR unknown_time) ORDER BY block LIMIT 1"""
    found = conn.execute(sql, (first >> BLOCK_BITS, query.since, query.until)).fetchone()
    if found is not None:
        block = found[0]
        return max(first, block << BLOCK_BITS), (block + 1) << BLOCK_BITS
    (last,) = conn.execute("SELECT coalesce(max(block), -1) FROM span").fetchone()
    return max(first, (last + 1) << BLOCK_BITS), INT64_MAX


def _go_on(conn: sqlite3.Connection, end: int) -> int | None:
    """Where to continue after a stretch was read to its end."""
    (newest,) = conn.execute("SELECT coalesce(max(id), 0) FROM journal").fetchone()
    return end if end <= newest else None


def _page(
    cursor: sqlite3.Cursor, read: Callable[[int, bytes, bytes, int], list[T]], *, end: int | None
) -> Page:
    """Rows until there are enough readings, or no more rows: then go on at `end`."""
    items: list[T] = []
    held = 0
    for count, (row, readings, header, body, crc) in enumerate(cursor, 1):
        items += read(row, header, body, crc)
        held += readings
        if held >= PAGE_READINGS or count == PAGE_ROWS:
            return Page(items, row + 1)
    return Page(items, end)


def _matches(
    row: int, found: Sequence[Entry], catalogue: Catalogue, query: Query
) -> Iterator[Found]:
    for entry in found:
        if not (entry.readings and _may_match(entry, catalogue, query)):
            continue
        batch = decode(entry, catalogue)
        for column in batch.columns:
            piece = _piece(row, column, batch, catalogue, query)
            if piece is not None and len(piece.t):
                yield piece


def _may_match(entry: Entry, catalogue: Catalogue, query: Query) -> bool:
    """Cheap reasons not to decode a message: no known time, or other series (not for SENML)."""
    if timebase(entry, catalogue).clock is Clock.UNKNOWN:
        return False
    if query.series is None or not entry.schema:
        return True
    device, layout = catalogue.device(entry.stream), catalogue.layout(entry.schema)
    return any(key in query.series for key in _keys(device, layout))


def _keys(device: str, layout: Layout) -> Iterator[SeriesKey]:
    return (SeriesKey(device, field.metric, field.kind) for field in layout.fields)


def _piece(
    row: int, column: Column, batch: Batch, catalogue: Catalogue, query: Query
) -> Found | None:
    if query.series is None:
        series: int | None = catalogue.series(column.key)
    else:
        series = query.series.get(column.key)
    if series is None:
        return None
    keep = (column.t >= query.since) & (column.t < query.until)
    if keep.all():
        return Found(series, batch.clock, column.t, column.v, row)
    return Found(series, batch.clock, column.t[keep], column.v[keep], row)


def choose_series(
    conn: sqlite3.Connection,
    *,
    device: str | None,
    metric: str | None,
    numbers: Collection[int] | None,
) -> dict[SeriesKey, int] | None:
    """The series that a filter names; None if it filters nothing."""
    if device is None and metric is None and numbers is None:
        return None
    sql = """SELECT name, metric, kind, series.id FROM series
        JOIN device ON device.id = series.device
        WHERE name = coalesce(?, name) AND metric = coalesce(?, metric)"""
    found = {
        SeriesKey(name, metric, Kind(kind)): number
        for name, metric, kind, number in conn.execute(sql, (device, metric))
    }
    if numbers is None:
        return found
    wanted = frozenset(numbers)
    return {key: number for key, number in found.items() if number in wanted}
