"""Compaction: the oldest settled journal rows become chunks of their series.

A step has three parts. `gather` and `filled` read, and may be taken in small slices while the
gateway commits, each in a transaction of its own; `apply` is one short transaction that puts the
new chunks in and takes the journal rows out. Nobody else deletes journal rows, or changes chunks
meanwhile, so what was read is what is deleted.
"""

import sqlite3
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gateway.core import chunks
from gateway.core.chunks import Run
from gateway.core.readings import Clock
from gateway.core.runs import DAY, by_time, portions
from gateway.crashpoints import reached
from gateway.errors import StoreError
from gateway.store.catalogue import Catalogue
from gateway.store.chunks import open_chunk
from gateway.store.reading import rows_by_parts, rows_read, run_of

HOUR_MS = 3_600_000
WORTH_WHILE = 20_000
WORTH_PER_SERIES = 600
STEP_PER_SERIES = 1024
STEP_LEAST, STEP_MOST = 100_000, 1_000_000
STEP_ROWS = 50_000
FEW = 1024
"""A day's newest chunk with fewer readings than this is written again together with new ones."""

Gathered = dict[tuple[int, bytes], list[Run]]
"""Runs by series, and by boot where the time is unknown."""


class Step(NamedTuple):
    """The journal rows up to number `last` are to go."""

    last: int
    rows: int
    readings: int


class NewChunk(NamedTuple):
    """A chunk to be written; `replaces` names one that it holds the readings of."""

    series: int
    t_min_ns: int | None
    t_max_ns: int | None
    readings: int
    row: int
    crc: int
    body: bytes
    replaces: int | None


def choose(conn: sqlite3.Connection, now_ms: int, *, urgent: bool = False) -> Step | None:
    """The next step, or None if it is not worth while yet: too few readings, and all are young.

    Rows that the next start folds again stay, and so does the newest one, whose number counts on.
    """
    sql = """SELECT id, readings, received FROM journal WHERE id < (SELECT max(id) FROM journal)
        AND id <= (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'settled_row')
        ORDER BY id LIMIT ?"""
    (series,) = conn.execute("SELECT count(*) FROM series").fetchone()
    most = min(max(STEP_LEAST, STEP_PER_SERIES * series), STEP_MOST)
    step, oldest = Step(0, 0, 0), now_ms
    for row, readings, received in conn.execute(sql, (STEP_ROWS,)):
        step = Step(row, step.rows + 1, step.readings + readings)
        oldest = min(oldest, received)
        if step.readings >= most:
            break
    worth = step.readings >= max(WORTH_WHILE, WORTH_PER_SERIES * series) or (
        step.rows == STEP_ROWS or oldest <= now_ms - HOUR_MS
    )
    return step if step.rows and (worth or urgent) else None


def gather(conn: sqlite3.Connection, step: Step, into: Gathered) -> Iterator[None]:
    """Put the readings of the step's rows `into` lists by series; yields after every few."""
    catalogue = Catalogue(conn)
    for batch in rows_read(rows_by_parts(conn, step.last), catalogue):
        boot = batch.boot if batch.clock is Clock.UNKNOWN else b""
        for column in batch.columns:
            place = catalogue.series(column.key), boot
            into.setdefault(place, []).append(run_of(column, batch))
        yield


def filled(conn: sqlite3.Connection, step: Step, gathered: Gathered) -> Iterator[NewChunk]:
    """The chunks that hold what was gathered."""
    for (series, boot), runs in sorted(gathered.items()):
        if boot:
            yield from _timeless(series, runs, step.last)
        else:
            yield from _timed(conn, series, by_time(runs), row=step.last)


def _timeless(series: int, runs: Sequence[Run], row: int) -> Iterator[NewChunk]:
    for some in portions(by_time(runs)):
        yield _chunk(series, some, row)._replace(t_min_ns=None, t_max_ns=None)


def _timed(
    conn: sqlite3.Connection, series: int, runs: Sequence[Run], *, row: int
) -> Iterator[NewChunk]:
    """New readings by day, each day's together with its last chunk if that is a small one."""
    days: defaultdict[int, list[Run]] = defaultdict(list)
    for some in portions(runs):
        days[int(some[0].t[0]) // DAY].extend(some)
    for day, some in days.items():
        replaces = _small(conn, series, day)
        if replaces is not None:
            some = by_time([*open_chunk(conn, replaces), *some])  # noqa: PLW2901
        for portion in portions(some):
            yield _chunk(series, portion, row)._replace(replaces=replaces)
            replaces = None


def _small(conn: sqlite3.Connection, series: int, day: int) -> int | None:
    """The newest chunk of a series and day, if it holds few readings."""
    sql = """SELECT id, readings FROM chunk WHERE series = ? AND t_min_ns >= ? AND t_min_ns < ?
        ORDER BY id DESC LIMIT 1"""
    row = conn.execute(sql, (series, day * DAY, (day + 1) * DAY)).fetchone()
    return row[0] if row is not None and row[1] < FEW else None


def _chunk(series: int, runs: Sequence[Run], row: int) -> NewChunk:
    body = chunks.encode(runs)
    t = np.concatenate([run.t for run in runs])
    return NewChunk(series, int(t.min()), int(t.max()), len(t), row, zlib.crc32(body), body, None)


def apply(conn: sqlite3.Connection, step: Step, new: Sequence[NewChunk]) -> None:
    """Put the chunks in and the journal rows out; the caller begins and ends the transaction.

    Raises StoreError if the journal is not what was read; the caller rolls back.
    """
    reached("compact.begun")
    old = [(chunk.replaces,) for chunk in new if chunk.replaces is not None]
    conn.executemany("DELETE FROM chunk WHERE id = ?", old)
    sql = """INSERT INTO chunk (series, t_min_ns, t_max_ns, readings, row, crc, body)
        VALUES (?, ?, ?, ?, ?, ?, ?)"""
    conn.executemany(sql, [chunk[:-1] for chunk in new])
    reached("compact.inserted")
    gone = conn.execute("DELETE FROM journal WHERE id <= ?", (step.last,)).rowcount
    if gone != step.rows:
        raise StoreError(f"{gone} journal rows where {step.rows} were compacted")
    conn.execute("DELETE FROM span WHERE (block + 1) << 8 <= ?", (step.last + 1,))
    reached("compact.deleted")
