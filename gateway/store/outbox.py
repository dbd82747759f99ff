"""The outbox on disk: what is open, what was acknowledged, what comes back and what goes.

The messages lie in blocks (table `outbox`) that nothing changes; the small tables beside it say
what has become of each.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from hashlib import blake2b

from gateway.core import facts as f
from gateway.store import blocks

LONGEST_RUN = 500

# The newest block always stays, so that no number is given out again; so does the run that holds
# its last message, whatever of it is open again.
_NEWEST = "(SELECT max(id) FROM outbox)"

# The time of a message is that of its block.
_WHEN = "(SELECT t FROM outbox WHERE outbox.id >= outbox_open.id ORDER BY outbox.id LIMIT 1)"

_OPEN = "INSERT OR IGNORE INTO outbox_open (id, size, state, backfill) VALUES (?, ?, ?, ?)"
_SUPERSEDE = "DELETE FROM outbox_open WHERE state = ? AND id < ?"
_DONE = """INSERT INTO outbox_done (first, last, done, bytes)
    SELECT ?1, ?2, ?3, sum(size) FROM outbox_open WHERE id BETWEEN ?1 AND ?2 GROUP BY ?3"""
_SETTLE = "DELETE FROM outbox_open WHERE id BETWEEN ?1 AND ?2"
_REFUSE = f"""INSERT INTO outbox_refused (id, t, size, attempts, code, dead)
    SELECT id, {_WHEN}, size, 1, ?1, ?2 FROM outbox_open WHERE id = ?3
    ON CONFLICT (id) DO UPDATE SET
    (attempts, code, dead) = (attempts + 1, excluded.code, excluded.dead)"""  # noqa: S608
_BURY = "DELETE FROM outbox_open WHERE id = ?"
_FORGET = f"DELETE FROM outbox_done WHERE done BETWEEN ?1 AND ?2 AND last < {_NEWEST}"  # noqa: S608
_DROPPED = f"FROM outbox_open WHERE id <= ?1 AND id < {_NEWEST}"
_COUNT = f"""INSERT INTO dropped (day, cause, what, n, t_min, t_max)
    SELECT t / 86400000, 'outbox_full', 'messages', count(*), min(t), max(t)
    FROM (SELECT {_WHEN} AS t {_DROPPED}) GROUP BY 1
    ON CONFLICT (day, cause, what) DO UPDATE SET n = n + excluded.n,
    t_min = min(t_min, excluded.t_min), t_max = max(t_max, excluded.t_max)"""  # noqa: S608


def put(conn: sqlite3.Connection, rows: Sequence[f.OutboxPut]) -> None:
    """Add messages; of a state that one of them replaces, what is older need not be sent."""
    blocks.put_messages(conn, rows)
    mark_open(conn, rows)
    conn.executemany(_SUPERSEDE, [(_state(row), row.id) for row in rows if row.replaces])


def mark_open(conn: sqlite3.Connection, rows: Sequence[f.OutboxPut]) -> None:
    conn.executemany(_OPEN, [(row.id, len(row.payload), _state(row), row.backfill) for row in rows])


def _state(row: f.OutboxPut) -> int | None:
    """Which live state a message tells, as a number; None if it is none: it replaces nothing."""
    if not row.replaces:
        return None
    return int.from_bytes(blake2b(row.topic.encode(), digest_size=8).digest(), signed=True)


def settle(conn: sqlite3.Connection, rows: Sequence[f.OutboxDone]) -> None:
    found = runs(rows)
    conn.executemany(_DONE, found)
    conn.executemany(_SETTLE, [(first, last) for first, last, _ in found])


def runs(rows: Sequence[f.OutboxDone]) -> list[tuple[int, int, int]]:
    """Numbers without a hole between them that were settled at the same time: first, last, when."""
    found: list[tuple[int, int, int]] = []
    for done, number in sorted(set(rows)):
        first, last, when = found[-1] if found else (0, -1, -1)
        if number == last + 1 and done == when and number - first < LONGEST_RUN:
            found[-1] = (first, number, done)
        else:
            found.append((number, number, done))
    return found


def refuse(conn: sqlite3.Connection, rows: Sequence[f.OutboxRefused]) -> None:
    conn.executemany(_REFUSE, rows)
    conn.executemany(_BURY, [(row.id,) for row in rows if row.dead])


def reopen(conn: sqlite3.Connection, rows: Sequence[f.OutboxReopened]) -> None:
    """Open what was acknowledged in a span of time, but for live states and what has expired."""
    for row in rows:
        conn.executemany(_OPEN, _again(conn, row))
        conn.execute(_FORGET, row)


def _again(
    conn: sqlite3.Connection, row: f.OutboxReopened
) -> Iterator[tuple[int, int, None, bool]]:
    dead = {number for (number,) in conn.execute("SELECT id FROM outbox_refused WHERE dead = 1")}
    sql = "SELECT first, last FROM outbox_done WHERE done BETWEEN ? AND ?"
    for first, last in conn.execute(sql, row).fetchall():
        for one in blocks.messages(conn, first - 1, last):
            expired = one.expires is not None and one.expires <= row.until
            if not (one.replaces or expired or one.id in dead):
                yield one.id, len(one.payload), None, one.backfill or one.window_ms > 0


def drop(conn: sqlite3.Connection, rows: Sequence[f.OutboxDropped]) -> None:
    """One of a group is enough: the messages of all others are among its own, counted once."""
    furthest = (max(row.until for row in rows),)
    conn.execute(_COUNT, furthest)
    conn.execute(f"DELETE {_DROPPED}", furthest)
