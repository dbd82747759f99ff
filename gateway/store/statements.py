"""How facts become rows: one statement per kind of fact, run in a fixed order."""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gateway.core import facts as f
from gateway.store import blocks, outbox
from gateway.store.queries import NEW_SUMMARIES

_INT64 = range(-(2**63), 2**63)

REGISTRY: dict[type, str] = {
    f.DeviceAdded: """INSERT INTO device (id, name, token_hash, speaks_for_others, created)
        VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (id) DO UPDATE SET token_hash = ?3,
        speaks_for_others = ?4, created = ?5, disabled = 0, removed = 0""",
    f.DeviceAccess: "UPDATE device SET token_hash = ?, disabled = ? WHERE id = ?",
    f.DeviceRemoved: "UPDATE device SET removed = 1, token_hash = NULL WHERE id = ?",
    f.UserSet: """INSERT INTO user (name, password, created) VALUES (?, ?, ?)
        ON CONFLICT (name) DO UPDATE SET password = excluded.password""",
    f.UserRemoved: "DELETE FROM user WHERE name = ?",
    f.TokenSet: "INSERT OR REPLACE INTO access_token (name, hash, created) VALUES (?, ?, ?)",
    f.TokenRevoked: "DELETE FROM access_token WHERE name = ?",
    f.SignedIn: """INSERT OR REPLACE INTO sign_in (hash, user, created, expires)
        VALUES (?, ?, ?, ?)""",
    f.SignedOut: "DELETE FROM sign_in WHERE hash = ?",
}
"""Kinds that undo one another: these run one by one, as the list has them, before all others."""

Work = Callable[[sqlite3.Connection, Any], None]

_LEARN = "UPDATE series SET last_t_ns = ?, last_value = ?, last_clock = ? WHERE id = ?"


def _learn(conn: sqlite3.Connection, rows: Sequence[f.SeriesLatest]) -> None:
    """SQLite has no unsigned 64-bit integers: greater ones are kept as floats."""
    conn.executemany(
        _LEARN,
        (
            row._replace(last_value=float(row.last_value))
            if isinstance(row.last_value, int) and row.last_value not in _INT64
            else row
            for row in rows
        ),
    )


ORDER: dict[type, str | Work] = {
    f.DevicePresence: """UPDATE device SET state = ?, since = ?, until = ?, last_seen = ?
        WHERE id = ?""",
    f.DeviceConfig: "UPDATE device SET config_version = ?, config = ? WHERE id = ?",
    f.StreamOpened: """INSERT INTO stream (id, device, epoch, committed, touched)
        VALUES (?, ?, ?, ?, ?)""",
    f.StreamMoved: "UPDATE stream SET committed = ?, touched = ? WHERE id = ?",
    # The row stays: the journal's messages find their device through it.
    f.StreamForgotten: "UPDATE stream SET forgotten = 1 WHERE id = ?",
    f.BootSeen: """INSERT INTO boot (device, boot, offset_ns, error_ns, seen)
        VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (device, boot) DO UPDATE SET
        offset_ns = coalesce(?3, offset_ns), error_ns = coalesce(?4, error_ns), seen = ?5""",
    f.SchemaLearned: """INSERT INTO schema (id, stream, sid, fingerprint, resolution, fields)
        VALUES (?, ?, ?, ?, ?, ?)""",
    f.SeriesLearned: """INSERT INTO series (id, device, metric, unit, kind)
        VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (id) DO UPDATE SET unit = ?4""",
    f.JournalRow: """INSERT INTO journal (id, received, t_min_ns, t_max_ns, readings, header,
        crc, body, unknown_time) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,
        substr(?6, 1, 1) IN (x'01', x'03', x'07'))""",
    f.Loss: """INSERT INTO loss (id, device, epoch, first, last, reason, readings, t)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
    f.Rejection: """INSERT INTO rejected (id, device, epoch, seq, code, reason, t, body)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
    f.Dropped: """INSERT INTO dropped (day, cause, what, n, t_min, t_max)
        VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (day, cause, what) DO UPDATE SET
        n = n + excluded.n,
        t_min = min(coalesce(t_min, excluded.t_min), coalesce(excluded.t_min, t_min)),
        t_max = max(coalesce(t_max, excluded.t_max), coalesce(excluded.t_max, t_max))""",
    f.SeriesLatest: _learn,
    f.RevisionDone: "DELETE FROM revision_due WHERE window = ? AND t0 = ? AND series = ?",
    f.RevisionDue: """INSERT INTO revision_due (window, t0, series) VALUES (?, ?, ?)
        ON CONFLICT DO NOTHING""",
    f.SummaryMade: """INSERT INTO summary (series, window, t0, t1, n, mean, min, max, std, p50,
        p95, first, last, changes, rev) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (window, t0, series) DO UPDATE SET (t1, n, mean, min, max, std, p50, p95,
        first, last, changes, rev) = (excluded.t1, excluded.n, excluded.mean, excluded.min,
        excluded.max, excluded.std, excluded.p50, excluded.p95, excluded.first, excluded.last,
        excluded.changes, excluded.rev)""",
    f.EventLogged: blocks.put_events,
    f.OutboxPut: outbox.put,
    f.OutboxDone: outbox.settle,
    f.OutboxRefused: outbox.refuse,
    f.OutboxReopened: outbox.reopen,
    f.OutboxDropped: outbox.drop,
    f.CommandPut: """INSERT INTO command (n, device, seq, op, args, flags, expires, state, origin,
        dedupe, created, updated)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11)""",
    f.CommandMoved: """UPDATE command SET seq = coalesce(?1, seq), state = ?2,
        result = coalesce(?3, result), updated = ?4 WHERE n = ?5""",
    f.AlertStands: """INSERT INTO alert (id, state, since, out_since_ns, t_ns, payload, rule,
        device, metric) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (rule, device, metric)
        DO UPDATE SET (id, state, since, out_since_ns, t_ns, payload) = (excluded.id,
        excluded.state, excluded.since, excluded.out_since_ns, excluded.t_ns, excluded.payload)""",
    f.MetaSet: """INSERT INTO meta (key, value) VALUES (?1, ?2)
        ON CONFLICT (key) DO UPDATE SET value = ?2""",
}

# What was summarised since the last settlement, so that a start need not look for it.
_NEWEST = (
    f"""INSERT INTO newest (series, window, t0)
    SELECT series, window, max(t0) {NEW_SUMMARIES} GROUP BY series, window
    ON CONFLICT (series, window) DO UPDATE SET t0 = excluded.t0 WHERE excluded.t0 > t0""",
    """INSERT INTO meta SELECT 'newest_row', max(id) FROM summary HAVING max(id) IS NOT NULL
    ON CONFLICT (key) DO UPDATE SET value = excluded.value""",
)

# Sums up every block of 256 journal numbers that is complete and has no row in `span` yet.
_SPANS = """INSERT INTO span (block, t_min_ns, t_max_ns, unknown_time)
    SELECT id >> 8, min(t_min_ns), max(t_max_ns), max(unknown_time) FROM journal
    WHERE id >= (SELECT coalesce(max(block) + 1, 0) FROM span) << 8
        AND id < (SELECT max(id) FROM journal) >> 8 << 8
    GROUP BY id >> 8"""

_AFTER: dict[type, Sequence[str]] = {f.JournalRow: (_SPANS,), f.SeriesLatest: _NEWEST}
"""What follows from facts of a kind."""


def write(conn: sqlite3.Connection, facts: Iterable[f.Fact]) -> None:
    """Run the statements of all facts; the caller begins and ends the transaction."""
    kinds: defaultdict[type, list[Any]] = defaultdict(list)
    for fact in facts:
        kind = type(fact)
        if kind in REGISTRY:
            conn.execute(REGISTRY[kind], fact)
        else:
            kinds[kind].append(fact)
    for kind, work in ORDER.items():
        if kind in kinds:
            rows = kinds.pop(kind)
            if isinstance(work, str):
                conn.executemany(work, rows)
            else:
                work(conn, rows)
            for statement in _AFTER.get(kind, ()):
                conn.execute(statement)
    if kinds:
        raise TypeError(f"not facts: {', '.join(kind.__name__ for kind in kinds)}")
