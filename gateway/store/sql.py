"""The SQL functions behind the views `readings`, `events` and `messages`.

They are for sqlite-utils, Datasette and anybody else.
Both tools load this module by its entry points and call `prepare_connection` for each connection.
"""

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import pluggy

from gateway.core.chunks import Run
from gateway.core.readings import Clock, SeriesKey
from gateway.store.blocks import unpack as unpack_block
from gateway.store.catalogue import Catalogue
from gateway.store.chunks import checked, placed
from gateway.store.journal import decode, unpack
from gateway.store.reading import run_of

JOURNAL, CHUNK, ROWS = "gateway_readings", "gateway_chunk_readings", "gateway_rows"


def register(conn: sqlite3.Connection) -> None:
    """Teach a connection to a store's file the functions that its views need.

    `gateway_readings(header, body, crc)` gives the readings of a journal row,
    `gateway_chunk_readings(series, crc, body)` those of a chunk, as a JSON array of
    `[device, metric, unit, t_ns, value, clock, raw_ns, boot]`; t_ns is null while the time is
    unknown. `gateway_rows(crc, body)` gives the rows of a block of the event log or the outbox as
    a JSON array of arrays. Names are looked up through the same connection, so it sees one state.
    """
    catalogue = Catalogue(conn)

    def journal(header: bytes, body: bytes, crc: int) -> str:
        batches = [decode(entry, catalogue) for entry in unpack(header, body, crc)]
        rows = [
            row
            for batch in batches
            for column in batch.columns
            for row in _rows(column.key, run_of(column, batch))
        ]
        return json.dumps(rows, separators=(",", ":"))

    def chunk(series: int, crc: int, body: bytes) -> str:
        key = catalogue.key(series)
        runs = (placed(conn, series, run) for run in checked(crc, body))
        return json.dumps([row for run in runs for row in _rows(key, run)], separators=(",", ":"))

    def rows(crc: int, body: bytes) -> str:
        return json.dumps(unpack_block(crc, body), separators=(",", ":"))

    conn.create_function(ROWS, 2, rows)
    conn.create_function(JOURNAL, 3, journal)
    conn.create_function(CHUNK, 3, chunk)


def _rows(key: SeriesKey, run: Run) -> Iterator[list[Any]]:
    known = run.clock is not Clock.UNKNOWN
    boot = run.boot.hex() or None
    for t, value in zip(run.t.tolist(), run.v.tolist(), strict=True):
        time, raw = (t, None) if known else (None, t)
        yield [key.device, key.metric, run.unit, time, value, int(run.clock), raw, boot]


@pluggy.HookimplMarker("sqlite_utils")
@pluggy.HookimplMarker("datasette")
def prepare_connection(conn: sqlite3.Connection) -> None:
    """The hook of both tools."""
    register(conn)
