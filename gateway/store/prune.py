"""Deleting what is beyond its bound, a small batch at a time."""

import sqlite3

from gateway.store.queries import event_bounds, event_since

BATCH = 64
EVENTS_KEPT = 20_000
EVENTS_MOST = 200_000
EVENTS_KEPT_MS = 24 * 3600 * 1000
SETTLED_MOST_BYTES = 64 * 2**20

_DELETE_EVENTS = (
    "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE id <= ? ORDER BY id LIMIT ?)"
)
_NEEDED = "SELECT 1 FROM {} WHERE id BETWEEN outbox.first AND outbox.id"
# Blocks of which nothing is open or kept aside, and nothing is known to be acknowledged any more.
_DELETE_MESSAGES = f"""DELETE FROM outbox WHERE id IN (SELECT id FROM outbox
    WHERE id < (SELECT max(id) FROM outbox)
    AND id < coalesce((SELECT min(first) FROM outbox_done), {2**63 - 1})
    AND NOT EXISTS ({_NEEDED.format("outbox_open")})
    AND NOT EXISTS ({_NEEDED.format("outbox_refused")} AND dead = 1) ORDER BY id LIMIT ?)"""  # noqa: S608
_DELETE_REFUSED = """DELETE FROM outbox_refused
    WHERE id < coalesce((SELECT first FROM outbox ORDER BY id LIMIT 1), 0)"""


def prune(conn: sqlite3.Connection, now_ms: int, replay_ms: int) -> int:
    """Delete at most BATCH blocks of the event log, and as many of the outbox; say how many rows.

    The caller begins and ends the transaction. The newest block of a table is never deleted, so
    that no number is given out again.
    """
    return _prune_events(conn, now_ms) + _prune_outbox(conn, now_ms - replay_ms)


def _prune_events(conn: sqlite3.Connection, now_ms: int) -> int:
    _, newest = event_bounds(conn)
    old = min(newest - EVENTS_KEPT, event_since(conn, now_ms - EVENTS_KEPT_MS))
    last = max(newest - EVENTS_MOST, old)
    return conn.execute(_DELETE_EVENTS, (last, BATCH)).rowcount


def _prune_outbox(conn: sqlite3.Connection, before_ms: int) -> int:
    """Forget what was settled before `before_ms`, or is beyond the bytes that may be kept; then
    delete the blocks that nobody needs."""
    forgotten = _forget_done(conn, before_ms) + _forget_dead(conn, before_ms)
    deleted = conn.execute(_DELETE_MESSAGES, (BATCH,)).rowcount
    if deleted:
        conn.execute(_DELETE_REFUSED)
    return forgotten + deleted


def _forget_done(conn: sqlite3.Connection, before_ms: int) -> int:
    """The oldest runs of acknowledged messages; the one that holds the newest stays."""
    (newest,) = conn.execute("SELECT coalesce(max(id), 0) FROM outbox").fetchone()
    (held,) = conn.execute("SELECT coalesce(sum(bytes), 0) FROM outbox_done").fetchone()
    runs: list[tuple[int]] = []
    oldest = "SELECT id, last, done, bytes FROM outbox_done ORDER BY id LIMIT ?"
    for run, last, done, size in conn.execute(oldest, (BATCH,)).fetchall():
        if not (done < before_ms or held > SETTLED_MOST_BYTES):
            break
        if last < newest:
            runs.append((run,))
            held -= size
    conn.executemany("DELETE FROM outbox_done WHERE id = ?", runs)
    return len(runs)


def _forget_dead(conn: sqlite3.Connection, before_ms: int) -> int:
    (held,) = conn.execute(
        "SELECT coalesce(sum(size), 0) FROM outbox_refused WHERE dead = 1"
    ).fetchone()
    numbers: list[tuple[int]] = []
    oldest = "SELECT id, t, size FROM outbox_refused WHERE dead = 1 ORDER BY t LIMIT ?"
    for number, at, size in conn.execute(oldest, (BATCH,)).fetchall():
        if at < before_ms or held > SETTLED_MOST_BYTES:
            numbers.append((number,))
            held -= size
    conn.executemany("DELETE FROM outbox_refused WHERE id = ?", numbers)
    return len(numbers)
