"""Retention: what is too old, or too much, goes from the oldest end in small batches.

What goes is counted in `dropped`, in the same transaction.
"""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from gateway.core.facts import Dropped
from gateway.core.readings import NS_PER_MS
from gateway.crashpoints import reached
from gateway.store.queries import windows
from gateway.store.statements import write

DAY_MS = 86_400_000
CHUNKS_AT_ONCE = 64
ROWS_AT_ONCE = 1000
PAGES_AT_ONCE = 2048
SPARE_PAGES = 4096

_NEWEST = "SELECT max(t0) FROM summary WHERE window = ?"
# The newest row stays, so that no number is given out again.
_OLDEST = """SELECT id, t0 FROM summary WHERE window = ? AND t0 < ?
    AND id < (SELECT max(id) FROM summary) ORDER BY t0, series LIMIT ?"""


class Bounds(NamedTuple):
    """How long (days, 0: for ever) and how much (bytes, 0: no bound) is kept."""

    readings_days: int
    summaries_days: int
    most_bytes: int


def retain(conn: sqlite3.Connection, bounds: Bounds, now_ms: int | None) -> int:
    """Delete one batch; give the number of rows deleted. `now_ms` None: nothing may expire by age.

    The caller begins and ends the transaction, and calls again while it is not 0.
    """
    reached("retain.begun")
    for drop in _by_age(conn, bounds, now_ms) if now_ms is not None else ():
        if drop:
            return drop
    if bounds.most_bytes and size(conn) > bounds.most_bytes:
        today = 0 if now_ms is None else now_ms // DAY_MS
        return _chunks(conn, "size", today, before=None) or _summaries(
            conn, "size", today, before=_newest(conn) - DAY_MS
        )
    return 0


def _newest(conn: sqlite3.Connection) -> int:
    """When the newest window that has a summary began; those of its last day always stay."""
    found = [conn.execute(_NEWEST, (name,)).fetchone()[0] for name in windows(conn)]
    return max(found, default=0)


def _by_age(conn: sqlite3.Connection, bounds: Bounds, now_ms: int) -> Iterator[int]:
    today = now_ms // DAY_MS
    if bounds.readings_days:
        before = now_ms - bounds.readings_days * DAY_MS
        yield _chunks(conn, "age", today, before=before * NS_PER_MS)
        yield _ledgers(conn, before)
    if bounds.summaries_days:
        before = now_ms - bounds.summaries_days * DAY_MS
        yield _summaries(conn, "age", today, before=before)


def _chunks(conn: sqlite3.Connection, cause: str, today: int, *, before: int | None) -> int:
    sql = """SELECT id, readings, t_min_ns, t_max_ns FROM chunk
        WHERE t_max_ns < coalesce(?, 9223372036854775807) ORDER BY t_max_ns LIMIT ?"""
    rows = conn.execute(sql, (before, CHUNKS_AT_ONCE)).fetchall()
    if not rows and before is None:
        sql = "SELECT id, readings, NULL, NULL FROM chunk WHERE t_max_ns IS NULL LIMIT ?"
        rows = conn.execute(sql, (CHUNKS_AT_ONCE,)).fetchall()
    conn.executemany("DELETE FROM chunk WHERE id = ?", [row[:1] for row in rows])
    if rows:
        n = sum(readings for _, readings, _, _ in rows)
        low = min((t // NS_PER_MS for *_, t, _ in rows if t is not None), default=None)
        high = max((t // NS_PER_MS for *_, t in rows if t is not None), default=None)
        reached("retain.deleted")
        write(conn, [Dropped(today, cause, "readings", n, low, high)])
        reached("retain.counted")
    return len(rows)


def _summaries(conn: sqlite3.Connection, cause: str, today: int, *, before: int) -> int:
    """The oldest summaries of one window's length."""
    for name in windows(conn):
        rows = conn.execute(_OLDEST, (name, before, ROWS_AT_ONCE)).fetchall()
        if rows:
            conn.executemany("DELETE FROM summary WHERE id = ?", [row[:1] for row in rows])
            span = rows[0][1], rows[-1][1]
            write(conn, [Dropped(today, cause, "summaries", len(rows), *span)])
            return len(rows)
    return 0


def _ledgers(conn: sqlite3.Connection, before_ms: int) -> int:
    """Old rejected messages and commands that ended; the newest row of each table stays."""
    rejected = conn.execute(
        """DELETE FROM rejected WHERE id IN (SELECT id FROM rejected WHERE t < ?
        AND id < (SELECT max(id) FROM rejected) ORDER BY id LIMIT ?)""",
        (before_ms, ROWS_AT_ONCE),
    ).rowcount
    commands = conn.execute(
        """DELETE FROM command WHERE n IN (SELECT n FROM command WHERE updated < ?
        AND state NOT IN ('queued', 'sent', 'handled', 'accepted')
        AND n < (SELECT max(n) FROM command)
        AND coalesce(seq, 0) < (SELECT coalesce(max(seq), 1) FROM command AS other
            WHERE other.device = command.device) ORDER BY n LIMIT ?)""",
        (before_ms, ROWS_AT_ONCE),
    ).rowcount
    return rejected + commands


def size(conn: sqlite3.Connection) -> int:
    """Bytes of the database file that hold something."""
    (pages,) = conn.execute("PRAGMA page_count").fetchone()
    (free,) = conn.execute("PRAGMA freelist_count").fetchone()
    (page,) = conn.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * page)


def give_back(conn: sqlite3.Connection, most_bytes: int) -> int:
    """Give some free pages back to the file system if there are many; how many."""
    (pages,) = conn.execute("PRAGMA page_count").fetchone()
    (free,) = conn.execute("PRAGMA freelist_count").fetchone()
    (page,) = conn.execute("PRAGMA page_size").fetchone()
    spare = 0 if most_bytes and pages * page > most_bytes else max(SPARE_PAGES, pages // 20)
    if free <= spare:
        return 0
    reached("vacuum.begun")
    conn.execute(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})").fetchall()
    reached("vacuum.done")
    return int(min(PAGES_AT_ONCE, free))
