"""The third schema: events and messages in blocks, summaries in the order in which they were made.

Little is written when windows end: what a commit tells is deflated together, and summaries stand at
the end of their table, whose index is small.

The step writes blocks by the code that the store uses. Whoever changes how a block is written, or
what `outbox_open` holds, keeps the present code here: a step says for ever what it said.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TypeVar

from gateway.core import facts as f
from gateway.store import blocks
from gateway.store.outbox import mark_open
from gateway.store.schema_1 import VIEWS

T = TypeVar("T")

EVENTS = (
    "ALTER TABLE event RENAME TO event_2",
    # A block is written once: what becomes of its rows is told elsewhere (store/blocks.py).
    """CREATE TABLE event (
        id INTEGER PRIMARY KEY, first INTEGER NOT NULL, t INTEGER NOT NULL, crc INTEGER NOT NULL,
        body BLOB NOT NULL)""",
)
OUTBOX = (
    "DROP INDEX outbox_dead",
    "DROP INDEX outbox_state",
    "ALTER TABLE outbox RENAME TO outbox_2",
    "ALTER TABLE outbox_open RENAME TO open_2",
    """CREATE TABLE outbox (
        id INTEGER PRIMARY KEY, first INTEGER NOT NULL, t INTEGER NOT NULL, crc INTEGER NOT NULL,
        body BLOB NOT NULL)""",
    # What is still to be sent. `state`: a hash of the topic whose older messages it replaces.
    """CREATE TABLE outbox_open (
        id INTEGER PRIMARY KEY, size INTEGER NOT NULL, state INTEGER, backfill INTEGER NOT NULL)""",
    "CREATE INDEX outbox_state ON outbox_open (state, id) WHERE state IS NOT NULL",
    """CREATE TABLE outbox_refused (
        id INTEGER PRIMARY KEY, t INTEGER NOT NULL, size INTEGER NOT NULL,
        attempts INTEGER NOT NULL, code INTEGER, dead INTEGER NOT NULL)""",
    "CREATE INDEX outbox_dead ON outbox_refused (t, size) WHERE dead = 1",
    """INSERT INTO outbox_refused (id, t, size, attempts, code, dead)
        SELECT id, t, size, attempts, code, dead FROM outbox_2 WHERE attempts > 0 OR dead = 1""",
)
SUMMARIES = (
    "DROP VIEW summaries",
    "ALTER TABLE summary RENAME TO summary_2",
    """CREATE TABLE summary (
        id INTEGER PRIMARY KEY, series INTEGER NOT NULL REFERENCES series(id),
        window TEXT NOT NULL, t0 INTEGER NOT NULL, t1 INTEGER NOT NULL, n INTEGER NOT NULL,
        mean REAL, min REAL, max REAL, std REAL, p50 REAL, p95 REAL, first, last,
        changes INTEGER, rev INTEGER NOT NULL)""",
    """INSERT INTO summary (series, window, t0, t1, n, mean, min, max, std, p50, p95, first, last,
        changes, rev) SELECT * FROM summary_2 ORDER BY window, t0, series""",
    "DROP TABLE summary_2",
    "CREATE UNIQUE INDEX summary_place ON summary (window, t0, series)",
    VIEWS["summaries"],
    "INSERT INTO meta SELECT 'newest_row', max(id) FROM summary HAVING max(id) IS NOT NULL",
)
# The functions give a JSON array of a block's rows; store/sql.py registers them.
READABLE = (
    """CREATE VIEW events AS
        SELECT r.value ->> 0 AS id, r.value ->> 1 AS t, r.value ->> 2 AS kind,
            r.value ->> 3 AS device, r.value ->> 4 AS metric, r.value ->> 5 AS window,
            r.value ->> 6 AS payload
        FROM event, json_each(gateway_rows(event.crc, event.body)) AS r""",
    """CREATE VIEW messages AS
        SELECT r.value ->> 0 AS id, r.value ->> 1 AS t, r.value ->> 2 AS topic,
            r.value ->> 3 AS payload, r.value ->> 4 AS retain, r.value ->> 6 AS window_ms,
            r.value ->> 8 AS expires, outbox_open.id IS NOT NULL AS open,
            coalesce(outbox_refused.attempts, 0) AS attempts, outbox_refused.code,
            coalesce(outbox_refused.dead, 0) AS dead
        FROM outbox, json_each(gateway_rows(outbox.crc, outbox.body)) AS r
            LEFT JOIN outbox_open ON outbox_open.id = r.value ->> 0
            LEFT JOIN outbox_refused ON outbox_refused.id = r.value ->> 0""",
)


def _events(conn: sqlite3.Connection) -> None:
    sql = "SELECT id, t, kind, device, metric, window, payload FROM event_2 ORDER BY id"
    for rows in _batches(f.EventLogged(*row) for row in conn.execute(sql)):
        blocks.put_events(conn, rows)


def _messages(conn: sqlite3.Connection) -> None:
    sql = """SELECT id, t, topic, CAST(payload AS BLOB), retain, ends, window_ms, backfill, expires,
        replaces, properties FROM outbox_2 ORDER BY id"""
    for rows in _batches(stored_put(row) for row in conn.execute(sql)):
        blocks.put_messages(conn, rows)
    opened = """SELECT id, open_2.t, topic, CAST(payload AS BLOB), retain, ends, window_ms,
        backfill, expires, replaces, properties FROM open_2 CROSS JOIN outbox_2 USING (id)"""
    for rows in _batches(stored_put(row) for row in conn.execute(opened)):
        mark_open(conn, rows)


def stored_put(row: Sequence[object]) -> f.OutboxPut:
    """A message as the first two schemas kept it: a row of its own, without booleans."""
    put = f.OutboxPut(*row)  # type: ignore[arg-type]
    return put._replace(
        retain=bool(put.retain), backfill=bool(put.backfill), replaces=bool(put.replaces)
    )


def _batches(rows: Iterator[T]) -> Iterator[list[T]]:
    while batch := list(islice(rows, blocks.MOST_ROWS)):
        yield batch


THIRD = (
    *EVENTS,
    _events,
    "DROP TABLE event_2",
    *OUTBOX,
    _messages,
    "DROP TABLE open_2",
    "DROP TABLE outbox_2",
    *SUMMARIES,
    *READABLE,
)
