"""Reads of everything but readings. Each runs on a reader's connection."""

import heapq
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from gateway.core.facts import EventLogged, Loss, OutboxPut, Rejection, SummaryMade
from gateway.core.readings import Kind
from gateway.store.rows import CommandRow, OutboxStats, SummaryPage, SummaryRow

LAST = 2**63 - 1
MOST_AHEAD = 8192

_EVENT = "SELECT id, t, kind, device, metric, window, payload FROM event"
_OUTBOX = """SELECT id, outbox.t, topic, payload, retain, ends, window_ms, backfill, expires,
    replaces, properties FROM outbox_open CROSS JOIN outbox USING (id)"""
_LOSS = "SELECT id, device, epoch, first, last, reason, readings, t FROM loss"
_REJECTED = "SELECT id, device, epoch, seq, code, reason, t, body FROM rejected"
COMMAND = """SELECT n, device, seq, op, args, flags, expires, state, origin, dedupe, created,
    result, updated FROM command"""
SUMMARY = """SELECT series, window, t0, t1, n, mean, min, max, std, p50, p95, first, last,
    changes, rev FROM summary"""

Reader = sqlite3.Connection


def events_after(conn: Reader, after: int, limit: int, until: int | None) -> list[EventLogged]:
    values = (after, LAST if until is None else until, limit)
    rows = conn.execute(f"{_EVENT} WHERE id > ? AND id <= ? ORDER BY id LIMIT ?", values)
    return [EventLogged(*row) for row in rows]


def event_bounds(conn: Reader) -> tuple[int, int]:
    sql = "SELECT (SELECT min(id) FROM event), (SELECT max(id) FROM event)"
    oldest, newest = conn.execute(sql).fetchone()
    return (oldest or 0, newest or 0)


def event_since(conn: Reader, t_ms: int) -> int:
    """The id of the last event before `t_ms`, found by halving: ids rise with time."""
    low, high = event_bounds(conn)
    sql = "SELECT id, t FROM event WHERE id <= ? ORDER BY id DESC LIMIT 1"
    before = 0
    while low <= high and high:
        middle = (low + high) // 2
        found = conn.execute(sql, (middle,)).fetchone()
        if found is None or found[1] < t_ms:
            before = before if found is None else found[0]
            low = middle + 1
        else:
            high = found[0] - 1
    return before


def losses(conn: Reader, device: int, before: int | None, limit: int) -> list[Loss]:
    values = (device, LAST if before is None else before, limit)
    rows = conn.execute(f"{_LOSS} WHERE device = ? AND id < ? ORDER BY id DESC LIMIT ?", values)
    return [Loss(*row) for row in rows]


def rejections(conn: Reader, device: int, before: int | None, limit: int) -> list[Rejection]:
    values = (device, LAST if before is None else before, limit)
    rows = conn.execute(f"{_REJECTED} WHERE device = ? AND id < ? ORDER BY id DESC LIMIT ?", values)
    return [Rejection(*row) for row in rows]


def _put(row: Sequence[object]) -> OutboxPut:
    put = OutboxPut(*row)  # type: ignore[arg-type]
    return put._replace(
        retain=bool(put.retain), backfill=bool(put.backfill), replaces=bool(put.replaces)
    )


def outbox_after(conn: Reader, after: int, limit: int, until: int | None) -> list[OutboxPut]:
    values = (after, LAST if until is None else until, limit)
    rows = conn.execute(f"{_OUTBOX} WHERE id > ? AND id <= ? ORDER BY id LIMIT ?", values)
    return [_put(row) for row in rows]


def outbox_stats(conn: Reader) -> OutboxStats:
    sql = """SELECT count(*), coalesce(sum(size), 0),
        (SELECT t FROM outbox_open ORDER BY id LIMIT 1),
        (SELECT count(*) FROM outbox INDEXED BY outbox_dead WHERE dead = 1),
        (SELECT done FROM outbox_done ORDER BY id DESC LIMIT 1) FROM outbox_open"""
    return OutboxStats(*conn.execute(sql).fetchone())


def command(conn: Reader, n: int) -> CommandRow | None:
    row = conn.execute(f"{COMMAND} WHERE n = ?", (n,)).fetchone()
    return None if row is None else CommandRow(*row)


def command_by_dedupe(conn: Reader, device: int, dedupe: str) -> CommandRow | None:
    sql = f"{COMMAND} WHERE device = ? AND dedupe = ? ORDER BY n DESC LIMIT 1"
    row = conn.execute(sql, (device, dedupe)).fetchone()
    return None if row is None else CommandRow(*row)


# -- summaries ------------------------------------------------------------------------------


class SummaryQuery(NamedTuple):
    device: str | None
    metric: str | None
    window: str | None
    since: int | None
    until: int | None
    cursor: str | None
    limit: int


class _Named(NamedTuple):
    series: int
    device: str
    metric: str
    unit: str
    kind: Kind


_Place = tuple[int, int, str]


def summary(row: Sequence[object], kind: Kind) -> SummaryMade:
    """A row as it was made: SQLite keeps booleans as integers."""
    made = SummaryMade(*row)  # type: ignore[arg-type]
    if kind is Kind.BOOLEAN:
        return made._replace(first=bool(made.first), last=bool(made.last))
    return made


def windows(conn: Reader, series: int) -> Iterator[str]:
    """The window names that a series has summaries of: a jump through the primary key each."""
    sql = "SELECT min(window) FROM summary WHERE series = ? AND window > ?"
    (name,) = conn.execute(sql, (series, "")).fetchone()
    while name is not None:
        yield name
        (name,) = conn.execute(sql, (series, name)).fetchone()


def summaries(conn: Reader, query: SummaryQuery) -> SummaryPage:
    """Merge the summaries of all series and windows that match, each read in its own order."""
    after = None if query.cursor is None else _parse_cursor(query.cursor)
    found = [
        (named, window)
        for named in _named(conn, query)
        for window in ([query.window] if query.window is not None else windows(conn, named.series))
    ]
    chunk = max(4, min(query.limit + 1, MOST_AHEAD // (len(found) or 1)))
    sources = [_source(conn, *one, query, after=after, chunk=chunk) for one in found]
    rows = list(islice(heapq.merge(*sources, key=_place), query.limit + 1))
    if len(rows) <= query.limit:
        return SummaryPage(rows, None)
    t0, series, window = _place(rows[query.limit - 1])
    return SummaryPage(rows[: query.limit], f"{t0}.{series}.{window}")


def _named(conn: Reader, query: SummaryQuery) -> list[_Named]:
    sql = """SELECT series.id, name, metric, unit, kind FROM series
        JOIN device ON device.id = series.device
        WHERE name = coalesce(?, name) AND metric = coalesce(?, metric)"""
    rows = conn.execute(sql, (query.device, query.metric))
    return [_Named(*row)._replace(kind=Kind(row[-1])) for row in rows]


def _source(
    conn: Reader,
    named: _Named,
    window: str,
    query: SummaryQuery,
    *,
    after: _Place | None,
    chunk: int,
) -> Iterator[SummaryRow]:
    at = -LAST if query.since is None else query.since
    if after is not None:
        at = max(at, after[0] + (after[1:] >= (named.series, window)))
    end = LAST if query.until is None else query.until
    sql = f"{SUMMARY} WHERE series = ? AND window = ? AND t0 >= ? AND t0 < ? ORDER BY t0 LIMIT ?"
    while True:
        rows = conn.execute(sql, (named.series, window, at, end, chunk)).fetchall()
        for row in rows:
            yield SummaryRow(summary(row, named.kind), *named[1:])
        if len(rows) < chunk:
            return
        at = rows[-1][2] + 1


def _place(row: SummaryRow) -> _Place:
    return row.summary.t0, row.summary.series, row.summary.window


def _parse_cursor(cursor: str) -> _Place:
    try:
        t0, series, window = cursor.split(".", 2)
        return int(t0), int(series), window
    except ValueError as error:
        raise ValueError("not a cursor of these summaries") from error
