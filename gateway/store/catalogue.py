"""What journal rows refer to: schemas, streams, boots and series, looked up as needed."""

import sqlite3
from typing import Any

from gateway.core.columns import Layout, layout_from_json
from gateway.core.readings import Kind, SeriesKey

_SERIES = """SELECT series.id FROM series JOIN device ON device.id = series.device
    WHERE device.name = ? AND metric = ? AND kind = ?"""
_OFFSET = """SELECT offset_ns FROM stream JOIN boot ON boot.device = stream.device
    WHERE stream.id = ? AND boot.boot = ?"""


class Catalogue:
    """Lookups through one connection. What never changes is kept; a new row is found at once.

    All methods raise KeyError if there is no such row.
    """

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        self._layouts: dict[int, Layout] = {}
        self._devices: dict[int, str] = {}
        self._series: dict[SeriesKey, int] = {}

    def layout(self, schema: int) -> Layout:
        if schema not in self._layouts:
            sql = "SELECT sid, resolution, fields, fingerprint FROM schema WHERE id = ?"
            sid, resolution, fields, fingerprint = self._row(sql, schema)
            self._layouts[schema] = layout_from_json(
                fields, sid=sid, resolution=resolution, fingerprint=fingerprint
            )
        return self._layouts[schema]

    def device(self, stream: int) -> str:
        if stream not in self._devices:
            sql = "SELECT name FROM stream JOIN device ON device.id = device WHERE stream.id = ?"
            (self._devices[stream],) = self._row(sql, stream)
        return self._devices[stream]

    def series(self, key: SeriesKey) -> int:
        if key not in self._series:
            (self._series[key],) = self._row(_SERIES, *key)
        return self._series[key]

    def key(self, series: int) -> SeriesKey:
        sql = """SELECT name, metric, kind FROM series JOIN device ON device.id = device
            WHERE series.id = ?"""
        device, metric, kind = self._row(sql, series)
        return SeriesKey(device, metric, Kind(kind))

    def offset(self, stream: int, boot: bytes) -> int | None:
        """The boot's mapping as it is known now; None if it is not."""
        found = self._conn.execute(_OFFSET, (stream, boot.hex())).fetchone()
        return None if found is None else found[0]

    def _row(self, sql: str, *values: object) -> tuple[Any, ...]:
        row: tuple[Any, ...] | None = self._conn.execute(sql, values).fetchone()
        if row is None:
            raise KeyError(f"{sql.split()[1]} of {values}")
        return row
