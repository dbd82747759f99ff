"""Readings that are compacted: the chunks of a series, as far as they are asked for.

Every generator runs over one snapshot of one connection, and holds one chunk at a time.
"""

import sqlite3
import zlib
from collections.abc import Iterator

from gateway.core import chunks
from gateway.core.between import Between
from gateway.core.chunks import Run
from gateway.core.readings import INT64_MAX, Clock
from gateway.core.runs import DAY, within
from gateway.errors import StoreCorrupt
from gateway.store.rows import Found

_TIMED = "FROM chunk WHERE series = ? AND t_min_ns >= ? AND t_min_ns < ? AND t_max_ns >= ?"
_SPANS = f"SELECT id, t_min_ns, t_max_ns {_TIMED} ORDER BY t_min_ns, id"
_CHUNKS = "SELECT id, crc, body FROM chunk WHERE"
# By way of a list of numbers, so that no sorter has to hold the bodies.
_OVERLAPPING = f"{_CHUNKS} id IN (SELECT id {_TIMED}) ORDER BY id"
_UNTIMED = "FROM chunk WHERE series = ? AND t_min_ns IS NULL"
_TIMELESS = f"{_CHUNKS} id IN (SELECT id {_UNTIMED}) ORDER BY id"


def in_chunks(conn: sqlite3.Connection, series: int, *, since: int, until: int) -> Iterator[Found]:
    """Readings of one series in its chunks, since <= t < until (ns), in order of arrival.

    A chunk lies within one day, so those that may match stand together in the index.
    """
    between = Between(since, until)
    for chunk in conn.execute(_OVERLAPPING, _span(series, since, until)):
        for run in _opened(chunk, between):
            if len(run.t):
                yield Found(series, run)
    for run in timeless(conn, series):
        if run.clock is not Clock.UNKNOWN:
            yield from (Found(series, some) for some in within(run, between))


def _span(series: int, since: int, until: int) -> tuple[int, int, int, int]:
    return series, max(since // DAY * DAY, -INT64_MAX), until, since


def open_chunk(conn: sqlite3.Connection, number: int) -> list[Run]:
    """The runs of chunk `number`. Raises StoreCorrupt, which names the chunk."""
    return _opened(conn.execute(f"{_CHUNKS} id = ?", (number,)).fetchone())


def _opened(chunk: tuple[int, int, bytes], between: Between | None = None) -> list[Run]:
    number, crc, body = chunk
    try:
        return checked(crc, body, between)
    except ValueError as error:
        raise StoreCorrupt(f"chunk {number} is damaged: {error}") from error


def checked(crc: int, body: bytes, between: Between | None = None) -> list[Run]:
    """The runs of a chunk's body, or what lies between two times of each.

    Raises ValueError if it is damaged.
    """
    if zlib.crc32(body) != crc:
        raise ValueError("its checksum does not match")
    return chunks.decode(body, between)


def timeless(conn: sqlite3.Connection, series: int) -> Iterator[Run]:
    """Runs that were compacted while their boot's clock was unknown; mapped if it is known now."""
    for chunk in conn.execute(_TIMELESS, (series,)):
        for run in _opened(chunk):
            yield placed(conn, series, run)


def placed(conn: sqlite3.Connection, series: int, run: Run) -> Run:
    """The run with its time, if that was unknown and its boot's clock is known by now."""
    if run.clock is not Clock.UNKNOWN:
        return run
    sql = """SELECT offset_ns FROM series JOIN boot ON boot.device = series.device
        WHERE series.id = ? AND boot.boot = ?"""
    row = conn.execute(sql, (series, run.boot.hex())).fetchone()
    if row is None or row[0] is None:
        return run
    return run._replace(t=run.t + row[0], clock=Clock.MAPPED)


def overlapping(
    conn: sqlite3.Connection, series: int, *, since: int, until: int
) -> Iterator[tuple[int, list[int]]]:
    """Groups of chunks that overlap, by time: the greatest time of each, and its chunks by id."""
    end, group = -INT64_MAX, list[int]()
    for number, t_min, t_max in conn.execute(_SPANS, _span(series, since, until)).fetchall():
        if group and t_min > end:
            yield end, sorted(group)
            group = []
        group.append(number)
        end = max(end, t_max)
    if group:
        yield end, sorted(group)
