"""Reads of everything but readings. Each runs on a reader's connection."""

import heapq
import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from gateway.core.facts import EventLogged, Loss, OutboxPut, Rejection, SummaryMade
from gateway.core.readings import Kind
from gateway.store import blocks
from gateway.store.rows import CommandRow, OutboxStats, SummaryPage, SummaryRow

LAST = 2**63 - 1
_CURSOR = re.compile(r"(-?[0-9]{1,18})\.([0-9]{1,18})\.([1-9][0-9]{0,8}[smhd])", re.ASCII)

_LOSS = "SELECT id, device, epoch, first, last, reason, readings, t FROM loss"
_REJECTED = "SELECT id, device, epoch, seq, code, reason, t, body FROM rejected"
COMMAND = """SELECT n, device, seq, op, args, flags, expires, state, origin, dedupe, created,
    result, updated FROM command"""
NEW_SUMMARIES = """FROM summary
    WHERE id > coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'newest_row'), 0)"""
"""Those made since `newest` was brought up to date."""
SUMMARY = """SELECT series, window, t0, t1, n, mean, min, max, std, p50, p95, first, last,
    changes, rev FROM summary"""

Reader = sqlite3.Connection


def events_after(conn: Reader, after: int, limit: int, until: int | None) -> list[EventLogged]:
    return list(islice(blocks.events(conn, after, LAST if until is None else until), limit))


def event_bounds(conn: Reader) -> tuple[int, int]:
    sql = "SELECT (SELECT first FROM event ORDER BY id LIMIT 1), (SELECT max(id) FROM event)"
    oldest, newest = conn.execute(sql).fetchone()
    return (oldest or 0, newest or 0)


def event_since(conn: Reader, t_ms: int) -> int:
    """The id of the last event before `t_ms`: the last block that is older is found by halving,
    for ids rise with time, and the next one is looked through."""
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
    for event in blocks.events(conn, before):
        if event.t >= t_ms:
            break
        before = event.id
    return before


def losses(conn: Reader, device: int, before: int | None, limit: int) -> list[Loss]:
    values = (device, LAST if before is None else before, limit)
    rows = conn.execute(f"{_LOSS} WHERE device = ? AND id < ? ORDER BY id DESC LIMIT ?", values)
    return [Loss(*row) for row in rows]


def rejections(conn: Reader, device: int, before: int | None, limit: int) -> list[Rejection]:
    values = (device, LAST if before is None else before, limit)
    rows = conn.execute(f"{_REJECTED} WHERE device = ? AND id < ? ORDER BY id DESC LIMIT ?", values)
    return [Rejection(*row) for row in rows]


def outbox_after(conn: Reader, after: int, limit: int, until: int | None) -> list[OutboxPut]:
    values = (after, LAST if until is None else until, limit)
    sql = "SELECT id, backfill FROM outbox_open WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"
    last = after
    held: dict[int, Sequence[Any]] = {}
    found = []
    for number, backfill in conn.execute(sql, values):
        if number > last:
            last, held = _block(conn, number)
        put = blocks.message(held[number])
        found.append(put._replace(backfill=put.backfill or bool(backfill)))
    return found


def _block(conn: Reader, number: int) -> tuple[int, dict[int, Sequence[Any]]]:
    """The last number of the block with a message, and its messages by number."""
    sql = "SELECT id, crc, body FROM outbox WHERE id >= ? ORDER BY id LIMIT 1"
    last, crc, body = conn.execute(sql, (number,)).fetchone()
    return last, {row[0]: row for row in blocks.unpack(crc, body)}


def outbox_stats(conn: Reader) -> OutboxStats:
    sql = """SELECT count(*), coalesce(sum(size), 0),
        (SELECT t FROM outbox WHERE id >= (SELECT min(id) FROM outbox_open) ORDER BY id LIMIT 1),
        (SELECT count(*) FROM outbox_refused INDEXED BY outbox_dead WHERE dead = 1),
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

_RANGE = f"""{SUMMARY} WHERE window = :window AND (t0, series) > (:t0, :series) AND t0 < :until
    ORDER BY t0, series"""

_NEWEST = f"""{SUMMARY} JOIN (SELECT series, window, max(t0) AS t0 FROM (
        SELECT series, window, t0 FROM newest UNION ALL SELECT series, window, t0 {NEW_SUMMARIES})
        GROUP BY series, window) USING (window, t0, series) ORDER BY series, window"""  # noqa: S608

# Goes from one t0 to the next by the primary key and looks up the chosen series at each, so that
# the summaries of other series are not read.
_CHOSEN = f"""WITH RECURSIVE step(at) AS (
        SELECT min(t0) FROM summary WHERE window = :window AND t0 >= :t0
        UNION ALL SELECT (SELECT min(t0) FROM summary WHERE window = :window AND t0 > at)
        FROM step WHERE at < :until)
    {SUMMARY.replace("FROM summary", "FROM step CROSS JOIN summary")}
    WHERE window = :window AND t0 = at AND t0 < :until AND (t0, series) > (:t0, :series)
        AND series IN (SELECT value FROM json_each(:chosen))"""  # noqa: S608 - fixed text


def summary(row: Sequence[object], kind: Kind) -> SummaryMade:
    """A row as it was made: SQLite keeps booleans as integers."""
    made = SummaryMade(*row)  # type: ignore[arg-type]
    if kind is Kind.BOOLEAN:
        return made._replace(first=bool(made.first), last=bool(made.last))
    return made


def newest_summaries(conn: Reader, kinds: Mapping[int, Kind]) -> list[SummaryMade]:
    """The newest summary of each series and length of window: as of the last settlement, and
    since."""
    return [summary(row, kinds[row[0]]) for row in conn.execute(_NEWEST)]


def windows(conn: Reader) -> Iterator[str]:
    """The names of windows that there are summaries of: a jump through the primary key each."""
    (name,) = conn.execute("SELECT min(window) FROM summary").fetchone()
    while name is not None:
        yield name
        sql = "SELECT min(window) FROM summary WHERE window > ?"
        (name,) = conn.execute(sql, (name,)).fetchone()


def summaries(conn: Reader, query: SummaryQuery) -> SummaryPage:
    """Merge the summaries of all windows that match, each read in the order of its key."""
    after = None if query.cursor is None else _parse_cursor(query.cursor)
    named = _named(conn, query)
    names = windows(conn) if query.window is None else [query.window]
    sources = [_source(conn, named, name, query=query, after=after) for name in names]
    rows = list(islice(heapq.merge(*sources, key=_place), query.limit + 1))
    if len(rows) <= query.limit:
        return SummaryPage(rows, None)
    t0, series, window = _place(rows[query.limit - 1])
    return SummaryPage(rows[: query.limit], f"{t0}.{series}.{window}")


def _named(conn: Reader, query: SummaryQuery) -> dict[int, _Named]:
    sql = """SELECT series.id, name, metric, unit, kind FROM series
        JOIN device ON device.id = series.device
        WHERE name = coalesce(?, name) AND metric = coalesce(?, metric)"""
    rows = conn.execute(sql, (query.device, query.metric))
    return {row[0]: _Named(*row)._replace(kind=Kind(row[-1])) for row in rows}


def _source(
    conn: Reader,
    named: dict[int, _Named],
    window: str,
    *,
    query: SummaryQuery,
    after: _Place | None,
) -> Iterator[SummaryRow]:
    """The summaries of one length after a place, by t0 and series."""
    since = -LAST if query.since is None else query.since
    until = LAST if query.until is None else query.until
    start = (since, -1)
    if after is not None:
        passed = after[1] if window <= after[2] else after[1] - 1
        start = max(start, (after[0], passed))
    values = {"window": window, "t0": start[0], "series": start[1], "until": until}
    if query.device is None and query.metric is None:
        rows = conn.execute(_RANGE, values)
    else:
        rows = conn.execute(_CHOSEN, {**values, "chosen": json.dumps(sorted(named))})
    for row in rows:
        one = named[row[0]]
        yield SummaryRow(summary(row, one.kind), *one[1:])


def _place(row: SummaryRow) -> _Place:
    return row.summary.t0, row.summary.series, row.summary.window


def _parse_cursor(cursor: str) -> _Place:
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise ValueError("not a cursor of these summaries")
    return int(found[1]), int(found[2]), found[3]
