"""Readings as they are stored: in chunks once they are compacted, in the journal before.

Every function is a generator over one snapshot of one connection, and holds little in memory. Of
one series, chunks come before the journal, and both in order of arrival.
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from itertools import chain
from typing import NamedTuple

import msgspec

from gateway.core.between import Between
from gateway.core.chunks import Run
from gateway.core.columns import Layout
from gateway.core.entry import Entry
from gateway.core.readings import INT64_MAX, Batch, Clock, Column, Kind, SeriesKey
from gateway.core.runs import within
from gateway.errors import StoreCorrupt
from gateway.store.catalogue import Catalogue
from gateway.store.chunks import in_chunks, timeless
from gateway.store.journal import Wanted, anything, decode, unpack
from gateway.store.rows import Found, Replayed
from gateway.store.together import batches

BLOCK_BITS = 8
PART_ROWS, PART_BYTES = 64, 256 * 1024
"""How much of the journal is held in memory where it is read part by part."""
_ROWS = "SELECT id, header, body, crc FROM journal"
_OVERLAPS = "((t_min_ns < :until AND t_max_ns >= :since) OR unknown_time)"
_NOT_SUMMED_UP = f"""{_ROWS} WHERE {_OVERLAPS}
    AND id >= (SELECT coalesce(max(block) + 1, 0) FROM span) << {BLOCK_BITS} ORDER BY id"""  # noqa: S608 - fixed text

_ALL = "FROM series"
_CHOSEN = "FROM json_each(:chosen) CROSS JOIN series ON series.id = json_each.value"

Row = tuple[int, bytes, bytes, int]


class Query(NamedTuple):
    """Readings with since <= t < until (ns) of the series that all of the rest name."""

    since: int
    until: int
    device: str | None = None
    metric: str | None = None
    numbers: Collection[int] | None = None

    @property
    def between(self) -> Between:
        return Between(self.since, self.until)


def found(conn: sqlite3.Connection, query: Query) -> Iterator[Found]:
    """Readings of known time that match."""
    for number in _numbers(conn, query):
        yield from in_chunks(conn, number, since=query.since, until=query.until)
    yield from in_journal(conn, query)


def _numbers(conn: sqlite3.Connection, query: Query) -> Collection[int]:
    if query.numbers is not None and query.device is None and query.metric is None:
        return sorted(set(query.numbers))
    return _choose(conn, query).values()


def _named(conn: sqlite3.Connection, query: Query) -> dict[SeriesKey, int] | None:
    """The series that a query names; None if it names none, and all match."""
    every = query.device is None and query.metric is None and query.numbers is None
    return None if every else _choose(conn, query)


def _choose(conn: sqlite3.Connection, query: Query) -> dict[SeriesKey, int]:
    return choose_series(conn, device=query.device, metric=query.metric, numbers=query.numbers)


# -- the journal ----------------------------------------------------------------------------


def in_journal(conn: sqlite3.Connection, query: Query) -> Iterator[Found]:
    """Readings of known time in the journal that match, in order of arrival."""
    rows = _rows(conn, query.since, query.until)
    if (first := next(rows, None)) is None:
        return
    catalogue, named = Catalogue(conn), _named(conn, query)
    wanted = _wanted(catalogue, named)
    for batch in rows_read(chain([first], rows), catalogue, wanted=wanted):
        if batch.clock is not Clock.UNKNOWN:
            for column in batch.columns:
                number = catalogue.series(column.key) if named is None else named.get(column.key)
                if number is not None:
                    for run in within(run_of(column, batch), query.between):
                        yield Found(number, run)


def rows_read(
    rows: Iterable[Row], catalogue: Catalogue, *, wanted: Wanted = anything
) -> Iterator[Batch]:
    """The readings of journal rows, in order of arrival."""
    return batches((one for row in rows for one in entries(*row, wanted=wanted)), catalogue)


def _wanted(catalogue: Catalogue, named: dict[SeriesKey, int] | None) -> Wanted:
    """Which messages may hold a series that is asked for; SENML may hold any."""
    if named is None:
        return anything
    devices = {key.device for key in named}

    @cache
    def wanted(stream: int, schema: int) -> bool:
        if not schema:
            return True
        device = catalogue.device(stream)
        return device in devices and any(
            key in named for key in _keys(device, catalogue.layout(schema))
        )

    return wanted


def _rows(conn: sqlite3.Connection, since: int, until: int) -> Iterator[Row]:
    """Rows whose times overlap or are unknown."""
    return chain.from_iterable(_by_blocks(conn, since, until))


def _by_blocks(conn: sqlite3.Connection, since: int, until: int) -> Iterator[Iterable[Row]]:
    """The same, block by block as far as blocks are summed up."""
    values = {"since": since, "until": until}
    sql = f"SELECT block FROM span WHERE {_OVERLAPS} ORDER BY block"  # noqa: S608 - fixed text
    blocks = conn.execute(sql, values)
    for (block,) in blocks.fetchall():
        ends = {"first": block << BLOCK_BITS, "end": (block + 1) << BLOCK_BITS}
        sql = f"{_ROWS} WHERE id >= :first AND id < :end AND {_OVERLAPS} ORDER BY id"
        yield conn.execute(sql, values | ends)
    yield conn.execute(_NOT_SUMMED_UP, values)


def journalled(conn: sqlite3.Connection, catalogue: Catalogue) -> Iterator[tuple[SeriesKey, Run]]:
    """Everything in the journal, in order of arrival, unknown times too."""
    for batch in rows_read(rows_between(conn, 0, INT64_MAX), catalogue):
        for column in batch.columns:
            yield column.key, run_of(column, batch)


def rows_between(conn: sqlite3.Connection, first: int, last: int) -> Iterator[Row]:
    """Journal rows with first <= id <= last."""
    return conn.execute(f"{_ROWS} WHERE id >= ? AND id <= ? ORDER BY id", (first, last))


def rows_by_parts(conn: sqlite3.Connection, last: int) -> Iterator[Row]:
    """Journal rows with id <= last; no statement is unfinished while one is looked at."""
    sql = f"{_ROWS} WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"
    found = conn.execute(sql, (0, last, 1)).fetchall()
    while found:
        yield from found
        limit = max(1, min(PART_ROWS, PART_BYTES // max(len(body) for _, _, body, _ in found)))
        found = conn.execute(sql, (found[-1][0], last, limit)).fetchall()


def entries(
    row: int, header: bytes, body: bytes, crc: int, *, wanted: Wanted = anything
) -> list[Entry]:
    """The entries of journal row `row`. Raises StoreCorrupt, which names the row."""
    try:
        return unpack(header, body, crc, wanted)
    except StoreCorrupt as error:
        raise StoreCorrupt(f"journal row {row}: {error}") from error


def replayed(conn: sqlite3.Connection, first: int) -> Iterator[Replayed]:
    """Decoded rows from number `first` on."""
    catalogue = Catalogue(conn)
    for row in rows_between(conn, first, INT64_MAX):
        yield Replayed(row[0], [(entry, decode(entry, catalogue)) for entry in entries(*row)])


def run_of(column: Column, batch: Batch) -> Run:
    """A column of a message as a run."""
    return Run(column.unit, batch.clock, batch.boot, column.t, column.v)


def _keys(device: str, layout: Layout) -> Iterator[SeriesKey]:
    return (SeriesKey(device, field.metric, field.kind) for field in layout.fields)


# -- readings of unknown time ---------------------------------------------------------------


def unplaced(conn: sqlite3.Connection, device: int, boot: bytes) -> Iterator[Batch]:
    """Readings of that boot whose time is still unknown: chunk by chunk, message by message."""
    catalogue = Catalogue(conn)
    for key, number in choose_series(conn, device=_name(conn, device)).items():
        for run in timeless(conn, number):
            if run.boot == boot and run.clock is Clock.UNKNOWN:
                yield Batch([Column(key, run.unit, run.t, run.v)], Clock.UNKNOWN, boot)
    numbers = {n for (n,) in conn.execute("SELECT id FROM stream WHERE device = ?", (device,))}
    some = (
        entry
        for row in _rows(conn, INT64_MAX, -INT64_MAX)
        for entry in entries(*row)
        if entry.boot == boot and entry.stream in numbers
    )
    yield from (batch for batch in batches(some, catalogue) if batch.clock is Clock.UNKNOWN)


def _name(conn: sqlite3.Connection, device: int) -> str | None:
    row = conn.execute("SELECT name FROM device WHERE id = ?", (device,)).fetchone()
    return "" if row is None else row[0]


def choose_series(
    conn: sqlite3.Connection,
    *,
    device: str | None = None,
    metric: str | None = None,
    numbers: Collection[int] | None = None,
) -> dict[SeriesKey, int]:
    """The series that a filter names, in the order of their names."""
    chosen = None if numbers is None else msgspec.json.encode(sorted(numbers)).decode()
    sql = f"""SELECT name, metric, kind, series.id {_CHOSEN if chosen else _ALL}
        JOIN device ON device.id = series.device
        WHERE name = coalesce(:device, name) AND metric = coalesce(:metric, metric)
        ORDER BY name, metric, kind"""
    values = {"device": device, "metric": metric, "chosen": chosen}
    return {
        SeriesKey(name, metric, Kind(kind)): number
        for name, metric, kind, number in conn.execute(sql, values)
    }
