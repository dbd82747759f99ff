"""Packs a recording into messages with its own times, and pushes them."""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cbor2
import numpy as np
from aiohttp import ClientSession

from gateway.core.messages import Data, Schema
from simulators import recording
from simulators.body import OK, UNNUMBERED, UNSUPPORTED, Draft, Outcome
from simulators.clocks import DeviceClock, true_now
from simulators.device import Device, Link
from simulators.kinds.base import BOOLEAN, FLOAT64, TEXT, column, schema
from simulators.kinds.base import field as schema_field
from simulators.recording import Reading, RecordingError, Value
from simulators.run import Options, http_session, run_devices
from simulators.spool import RamSpool
from simulators.tally import Tally
from simulators.tokens import Tokens

MOST_ROWS = 500
MOST_BYTES = 8000
MOST_COLUMNS = 64
QUEUED = 64
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


class Replay:
    """Pushes a recording into the spools of its devices, as fast as it is acknowledged."""

    def __init__(
        self, path: Path, *, device: str | None = None, speed: float | None = None
    ) -> None:
        """Reads the whole file once: an error is found before anything is sent."""
        self._open: Callable[[], Iterator[Reading]] = lambda: recording.read(path, device=device)
        self._speed = speed
        self.readings = Counter(reading.device for reading in self._open())
        if not self.readings:
            raise RecordingError(f"{path} holds no readings")
        self.packers = {name: Packer() for name in self.readings}
        self.devices: dict[str, Device] = {}
        self.finished = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def join(
        self, *, http: ClientSession, link: Link, tally: Tally, tokens: Tokens
    ) -> list[Device]:
        """Make the devices of the recording."""
        for name, packer in self.packers.items():
            clock = DeviceClock(os.urandom(8), true_now())
            self.devices[name] = Device(
                name, packer, RamSpool(), clock=clock, http=http, link=link, tally=tally,
                token=tokens.of(name),
            )  # fmt: skip
        return list(self.devices.values())

    def start(self) -> None:
        self._task = asyncio.create_task(self._push(), name="replay")

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _push(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            begun, first = loop.time(), None
            for name, t, draft in packed(self._open(), self.packers):
                first = t if first is None else first
                if self._speed:
                    await asyncio.sleep(begun + (t - first) / 1e9 / self._speed - loop.time())
                device = self.devices[name]
                await _room(device, QUEUED)
                device.offer(draft)
            for device in self.devices.values():
                await _room(device, 1)
        finally:
            self.finished.set()


async def _room(device: Device, most: int) -> None:
    """Wait until fewer than `most` messages are queued."""
    while len(device.spool) >= most:
        device.freed.clear()
        await device.freed.wait()


async def run_replay(
    path: Path,
    *,
    url: str,
    tokens: Tokens,
    device: str | None = None,
    speed: float | None = None,
    scale: float = 1.0,
    options: Options,
) -> dict[str, Any]:
    """Replay a recording until all of it is acknowledged; the summary."""
    tally = Tally()
    replay = Replay(path, device=device, speed=speed)
    async with http_session() as http:
        devices = replay.join(http=http, link=Link(url, scale), tally=tally, tokens=tokens)
        return await run_devices(
            devices,
            tally,
            options=options,
            feeding=replay.start,
            starving=replay.stop,
            finished=replay.finished,
        )
