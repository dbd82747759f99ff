"""Packs the readings of a recording into messages with their own times."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import cbor2
import numpy as np

from gateway.core.messages import Data, Schema
from simulators.body import OK, UNNUMBERED, UNSUPPORTED, Draft, Outcome
from simulators.kinds.base import BOOLEAN, FLOAT64, TEXT, column, schema
from simulators.kinds.base import field as schema_field
from simulators.recording import Reading, Value

MOST_ROWS = 500
MOST_BYTES = 8000
MOST_COLUMNS = 64
UINT64 = 71

Fields = tuple[tuple[str, str, int], ...]
"""Metric, unit and type of each column."""


def kind_of(value: Value) -> int:
    if isinstance(value, bool):
        return BOOLEAN
    return TEXT if isinstance(value, str) else FLOAT64


@dataclass(slots=True)
class Row:
    """Readings of one device that follow one another and share a time."""

    t: int
    values: dict[str, Value] = field(default_factory=dict)
    fields: list[tuple[str, str, int]] = field(default_factory=list)

    def add(self, reading: Reading, kind: int) -> None:
        self.values[reading.metric] = reading.value
        self.fields.append((reading.metric, reading.unit, kind))

    def takes(self, reading: Reading) -> bool:
        free = reading.metric not in self.values and len(self.values) < MOST_COLUMNS
        return reading.t == self.t and free


class Packer:
    """One device of the recording: rows of the same shape become one message."""

    nap_s: float | None = None

    def __init__(self) -> None:
        self.schemas: dict[int, Schema] = {}
        self._sids: dict[tuple[Fields, int], int] = {}
        self._kinds: dict[str, int] = {}
        self._row: Row | None = None
        self._rows: list[Row] = []
        self._size = 0

    def add(self, reading: Reading) -> list[Draft]:
        """Take one reading; the messages that are complete by this."""
        if reading.value is not None:
            self._kinds[reading.metric] = kind_of(reading.value)
        kind = self._kinds.get(reading.metric, FLOAT64)
        done = []
        if self._row is None or not self._row.takes(reading):
            done = self._turn()
            self._row = Row(reading.t)
        if self._row is not None:
            self._row.add(reading, kind)
        return done

    def rest(self) -> list[Draft]:
        """The messages that are not full."""
        return self._turn() + self._flush()

    def act(self, op: int | str, args: Any) -> Outcome:  # noqa: ARG002
        """A recording cannot act."""
        return Outcome(OK) if op == "identify" else Outcome(UNSUPPORTED)

    def configure(self, document: Any) -> None:
        """Nothing can be set."""

    def _turn(self) -> list[Draft]:
        """Put the row in hand to the others."""
        row, self._row = self._row, None
        if row is None:
            return []
        size = 8 + sum(3 + len(v) * 4 if isinstance(v, str) else 9 for v in row.values.values())
        full = len(self._rows) >= MOST_ROWS or self._size + size > MOST_BYTES
        other = bool(self._rows) and self._rows[0].fields != row.fields
        done = self._flush() if full or other else []
        self._rows.append(row)
        self._size += size
        return done

    def _flush(self) -> list[Draft]:
        rows, self._rows, self._size = self._rows, [], 0
        if not rows:
            return []
        times = np.array([row.t for row in rows], np.int64)
        resolution = 9 if (times % 1_000_000).any() else 3
        ticks = times // 10 ** (9 - resolution)
        fields: Fields = tuple(rows[0].fields)
        step, t0 = _step(ticks)
        message = Data(
            seq=UNNUMBERED,
            sid=self._sid(fields, resolution),
            t0=t0,
            step=step,
            columns=[
                column([_filled(row.values[metric], kind) for row in rows], {2: kind})
                for metric, _, kind in fields
            ],
            valid=None,
            clock=0,
        )
        readings = sum(v is not None for row in rows for v in row.values.values())
        return [Draft(message, readings)]

    def _sid(self, fields: Fields, resolution: int) -> int:
        shape = (fields, resolution)
        if shape not in self._sids:
            sid = self._sids[shape] = len(self._sids) + 1
            specs = [schema_field(metric, unit, kind=kind) for metric, unit, kind in fields]
            self.schemas[sid] = schema(sid, *specs, resolution=resolution)
        return self._sids[shape]


def _filled(value: Value, kind: int) -> Value:
    return float("nan") if value is None and kind == FLOAT64 else value


def _step(ticks: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[Any, int]:
    """How DATA says these times (step or offsets), and its t0."""
    first = int(ticks.min())
    if len(ticks) == 1:
        return None, first
    steps = np.diff(ticks)
    if steps[0] >= 0 and (steps == steps[0]).all():
        return int(steps[0]), first
    return cbor2.CBORTag(UINT64, (ticks - first).astype("<u8").tobytes()), first


def packed(
    readings: Iterator[Reading], packers: Mapping[str, Packer]
) -> Iterator[tuple[str, int, Draft]]:
    """Device, time of the reading that completed it (ns) and message, in file order."""
    last = 0
    for reading in readings:
        last = reading.t
        for draft in packers[reading.device].add(reading):
            yield reading.device, last, draft
    for device, packer in packers.items():
        for draft in packer.rest():
            yield device, last, draft
