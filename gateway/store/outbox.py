"""The outbox on disk: what is open, what was acknowledged, what comes back and what goes."""

from collections.abc import Callable, Sequence
from typing import Any

from gateway.core import facts as f

LONGEST_RUN = 500

# The newest row always stays, so that no number is given out again; so does the run that holds it,
# whatever of it is open again.
_NEWEST = "(SELECT max(id) FROM outbox)"

_OPEN = "INSERT INTO outbox_open (id, t, size, state) VALUES (?, ?, ?, ?)"
_SUPERSEDE = (
    """DELETE FROM outbox WHERE id IN (SELECT id FROM outbox_open WHERE state = ? AND id < ?)""",
    "DELETE FROM outbox_open WHERE state = ? AND id < ?",
)
_SETTLE = "DELETE FROM outbox_open WHERE id BETWEEN ?1 AND ?2"
_BURY = "DELETE FROM outbox_open WHERE id = ?"

_RUN = """FROM outbox_done CROSS JOIN outbox ON outbox.id BETWEEN first AND last
    WHERE done BETWEEN ?1 AND ?2 AND dead = 0"""
FORGET = f"""DELETE FROM outbox WHERE id < {_NEWEST} AND id IN
    (SELECT outbox.id {_RUN} AND (replaces OR expires <= ?2))
    AND id NOT IN (SELECT id FROM outbox_open)"""  # noqa: S608 - fixed text
_REOPEN = (
    f"""INSERT OR IGNORE INTO outbox_open (id, t, size) SELECT outbox.id, t, size {_RUN}
    AND NOT replaces AND (expires IS NULL OR expires > ?2)""",
    f"UPDATE outbox SET backfill = 1 WHERE window_ms > 0 AND id IN (SELECT outbox.id {_RUN})",  # noqa: S608 - fixed text
    f"DELETE FROM outbox_done WHERE done BETWEEN ?1 AND ?2 AND last < {_NEWEST}",  # noqa: S608 - fixed text
)

_DROPPED = f"FROM outbox_open WHERE id <= ?1 AND id < {_NEWEST}"
COUNT = f"""INSERT INTO dropped (day, cause, what, n, t_min, t_max)
    SELECT t / 86400000, 'outbox_full', 'messages', count(*), min(t), max(t) {_DROPPED} GROUP BY 1
    ON CONFLICT (day, cause, what) DO UPDATE SET n = n + excluded.n,
    t_min = min(t_min, excluded.t_min), t_max = max(t_max, excluded.t_max)"""
_DROP = (
    f"DELETE FROM outbox WHERE id IN (SELECT id {_DROPPED})",  # noqa: S608 - fixed text
    f"DELETE {_DROPPED}",
)


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


def _opening(rows: Sequence[f.OutboxPut]) -> list[tuple[int, int, int, str | None]]:
    return [(row.id, row.t, len(row.payload), row.topic if row.replaces else None) for row in rows]


def _superseding(rows: Sequence[f.OutboxPut]) -> list[tuple[str, int]]:
    return [(row.topic, row.id) for row in rows if row.replaces]


def _spans(rows: Sequence[f.OutboxDone]) -> list[tuple[int, int]]:
    return [(first, last) for first, last, _ in runs(rows)]


def _dead(rows: Sequence[f.OutboxRefused]) -> list[tuple[int]]:
    return [(row.id,) for row in rows if row.dead]


def furthest(rows: Sequence[f.OutboxDropped]) -> list[tuple[int]]:
    """One of a group is enough: the rows of all others are among its own, and counted once."""
    return [(max(row.until for row in rows),)]


def _same(rows: Sequence[Any]) -> Sequence[Any]:
    return rows


AFTER: dict[type, Sequence[tuple[str, Callable[[Any], Sequence[Any]]]]] = {
    f.OutboxPut: ((_OPEN, _opening), *((sql, _superseding) for sql in _SUPERSEDE)),
    f.OutboxDone: ((_SETTLE, _spans),),
    f.OutboxRefused: ((_BURY, _dead),),
    f.OutboxReopened: tuple((sql, _same) for sql in _REOPEN),
    f.OutboxDropped: tuple((sql, furthest) for sql in _DROP),
}
"""Statements that follow that of a fact, and what they take of its facts."""
