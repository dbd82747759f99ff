"""The SQL function behind the view `readings`, for sqlite-utils, Datasette and anybody else.

Both tools load this module by its entry points and call `prepare_connection` for each connection.
"""

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import pluggy

from gateway.core.readings import Batch, Clock
from gateway.store.catalogue import Catalogue
from gateway.store.journal import decode, unpack

NAME = "gateway_readings"


def register(conn: sqlite3.Connection) -> None:
    """Teach a connection to a store's file the function that its view `readings` needs.

    `gateway_readings(header, body, crc)` gives the readings of a journal row as a JSON array of
    `[device, metric, unit, t_ns, value, clock, raw_ns, boot]`; t_ns is null while the time is
    unknown. It looks schemas and names up through the same connection, so it sees one state.
    """
    catalogue = Catalogue(conn)

    def readings(header: bytes, body: bytes, crc: int) -> str:
        found = unpack(header, body, crc)
        rows = [row for entry in found for row in _rows(decode(entry, catalogue))]
        return json.dumps(rows, separators=(",", ":"))

    conn.create_function(NAME, 3, readings)


def _rows(batch: Batch) -> Iterator[list[Any]]:
    known = batch.clock is not Clock.UNKNOWN
    boot = batch.boot.hex() or None
    for column in batch.columns:
        device, metric, _ = column.key
        for t, value in zip(column.t.tolist(), column.v.tolist(), strict=True):
            time, raw = (t, None) if known else (None, t)
            yield [device, metric, column.unit, time, value, int(batch.clock), raw, boot]


@pluggy.HookimplMarker("sqlite_utils")
@pluggy.HookimplMarker("datasette")
def prepare_connection(conn: sqlite3.Connection) -> None:
    """The hook of both tools."""
    register(conn)
