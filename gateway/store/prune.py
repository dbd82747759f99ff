"""Deleting what is beyond its bound, a small batch at a time."""

import sqlite3

from gateway.store.queries import event_bounds, event_since

BATCH = 500
EVENTS_KEPT = 20_000
EVENTS_MOST = 200_000
EVENTS_KEPT_MS = 24 * 3600 * 1000
SETTLED_MOST_BYTES = 64 * 2**20

_DELETE_RUN = """DELETE FROM outbox WHERE id BETWEEN ? AND ? AND dead = 0
    AND id NOT IN (SELECT id FROM outbox_open)"""


def prune(conn: sqlite3.Connection, now_ms: int, replay_ms: int) -> int:
    """Delete at most BATCH rows of the event log, and as many of the outbox; say how many.

    The caller begins and ends the transaction. The newest row of a table is never deleted, so
    that no number is given out again.
    """
    return _prune_events(conn, now_ms) + _prune_outbox(conn, now_ms - replay_ms)


def _prune_events(conn: sqlite3.Connection, now_ms: int) -> int:
    _, newest = event_bounds(conn)
    old = min(newest - EVENTS_KEPT, event_since(conn, now_ms - EVENTS_KEPT_MS))
    last = max(newest - EVENTS_MOST, old)
    sql = "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE id <= ? ORDER BY id LIMIT ?)"
    return conn.execute(sql, (last, BATCH)).rowcount


def _prune_outbox(conn: sqlite3.Connection, before_ms: int) -> int:
    """Settled rows from the oldest end: those that were settled before `before_ms`, and those
    beyond the bytes that may be kept."""
    (newest,) = conn.execute("SELECT coalesce(max(id), 0) FROM outbox").fetchone()
    return _prune_done(conn, before_ms, newest) + _prune_dead(conn, before_ms, newest)


def _prune_done(conn: sqlite3.Connection, before_ms: int, newest: int) -> int:
    """Whole runs of acknowledged rows; one that was opened again since keeps those."""
    (held,) = conn.execute("SELECT coalesce(sum(bytes), 0) FROM outbox_done").fetchone()
    deleted = 0
    oldest = conn.execute("SELECT id, first, last, done, bytes FROM outbox_done ORDER BY id")
    for run, first, last, done, size in oldest.fetchmany(BATCH):
        if deleted >= BATCH or not (done < before_ms or held > SETTLED_MOST_BYTES):
            break
        if last < newest:
            deleted += conn.execute(_DELETE_RUN, (first, last)).rowcount
            conn.execute("DELETE FROM outbox_done WHERE id = ?", (run,))
            held -= size
    return deleted


def _prune_dead(conn: sqlite3.Connection, before_ms: int, newest: int) -> int:
    (held,) = conn.execute("SELECT coalesce(sum(size), 0) FROM outbox WHERE dead = 1").fetchone()
    numbers: list[tuple[int]] = []
    oldest = "SELECT id, t, size FROM outbox WHERE dead = 1 ORDER BY t LIMIT ?"
    for number, at, size in conn.execute(oldest, (BATCH,)).fetchall():
        if number != newest and (at < before_ms or held > SETTLED_MOST_BYTES):
            numbers.append((number,))
            held -= size
    conn.executemany("DELETE FROM outbox WHERE id = ?", numbers)
    return len(numbers)
