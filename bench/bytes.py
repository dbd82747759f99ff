"""How many bytes a reading takes in chunks: `python bench/bytes.py [MINUTES]`.

Every kind of made-up device measures for an hour; its messages go over the wire's bytes and are
read as the gateway reads them. Each series is sorted by time and cut into chunks of at most 4096
readings, and every chunk is decoded again and compared. Prints a Markdown table.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from gateway.core import cbor
from gateway.core.chunks import Run, decode, encode
from gateway.core.columns import read_data, read_schema
from gateway.core.messages import Data, Message, Senml, parse, to_map
from gateway.core.readings import Batch, Clock, Timebase
from gateway.core.senml import read_senml
from simulators.clocks import DeviceClock
from simulators.kinds import KINDS
from simulators.kinds.base import NS

MOST = 4096
NOON = (1_767_225_600 + 12 * 3600) * NS
HOUR_S = 3600
Series = dict[str, list[Run]]


class Figure(NamedTuple):
    """What one series comes to."""

    readings: int
    chunks: int
    size: int


class Recorder:
    """Takes what one kind of device sends, as the gateway reads it off the bytes of the wire."""

    def __init__(self, name: str) -> None:
        self.kind = KINDS[name](1, start=NOON)
        self.rng = np.random.default_rng(2)
        booted = NOON - 600 * NS
        boot = self.rng.bytes(8)
        self.clock = DeviceClock(boot, booted, since=NOON, unix=not self.kind.clockless)
        self.boots = {boot: booted}

    def record(self, seconds: int) -> Series:
        """The readings of so many seconds by metric, in order of arrival."""
        found: Series = {}
        while self.kind.due < NOON + seconds * NS:
            received = self.kind.due
            for draft in self.kind.take(self.clock):
                batch = self._read(draft.message, received)
                for column in batch.columns:
                    run = Run(column.unit, batch.clock, batch.boot, column.t, column.v)
                    found.setdefault(column.key.metric, []).append(run)
            if self.kind.restarts():
                self._reboot()
        return found

    def _reboot(self) -> None:
        boot = self.rng.bytes(8)
        self.boots[boot] = self.kind.due
        self.clock.reboot(boot, self.kind.due)

    def _read(self, message: Message, received: int) -> Batch:
        device = self.kind.name
        match message:
            case Data():
                data = parse(Data, wire(replace(message, seq=1)))
                layout = read_schema(self.kind.schemas[data.sid])
                base = self._timebase(data.clock)
                return read_data(data, layout, device=device, timebase=base, latest=None)
            case Senml():
                pack = parse(Senml, wire(replace(message, seq=1))).pack
                return read_senml(
                    pack, device=device, received=received, latest=None, speaks_for_others=False
                )
            case _:
                return Batch((), Clock.DEVICE)

    def _timebase(self, clock: int | bytes) -> Timebase:
        """The clock of a boot is mapped by one offset, here the true one."""
        if isinstance(clock, bytes):
            return Timebase(Clock.MAPPED, self.boots[clock], clock)
        return Timebase(Clock.DEVICE)


def wire(message: Message) -> dict[int, Any]:
    """The message as a map, having gone over the wire."""
    return cbor.decode(cbor.encode(to_map(message)))


def joined(found: list[Run]) -> list[Run]:
    """Readings by time, in as few runs as their boots and types allow."""
    alike: dict[tuple[object, ...], list[Run]] = {}
    for run in found:
        alike.setdefault((run.unit, run.clock, run.boot, run.v.dtype), []).append(run)
    whole = []
    for some in alike.values():
        t = np.concatenate([run.t for run in some])
        order = np.argsort(t, kind="stable")
        v = np.concatenate([run.v for run in some])
        whole.append(some[0]._replace(t=t[order], v=v[order]))
    return sorted(whole, key=lambda run: int(run.t[0]))


def cut(whole: list[Run]) -> Iterator[list[Run]]:
    """Portions of MOST readings, but the last."""
    ends = np.cumsum([len(run.t) for run in whole]).tolist()
    starts = [0, *ends[:-1]]
    for low, high in pairwise([*range(0, ends[-1], MOST), ends[-1]]):
        yield [
            run._replace(
                t=run.t[max(low - at, 0) : high - at], v=run.v[max(low - at, 0) : high - at]
            )
            for run, at, end in zip(whole, starts, ends, strict=True)
            if at < high and end > low
        ]


def weigh(found: list[Run]) -> Figure:
    """Encode a series, decode it again and compare every bit."""
    readings = chunks = size = 0
    for portion in cut(joined(found)):
        body = encode(portion)
        back = decode(body)
        assert list(map(bits, back)) == list(map(bits, portion))
        readings += sum(len(run.t) for run in back)
        chunks += 1
        size += len(body)
    assert readings == sum(len(run.t) for run in found)
    return Figure(readings, chunks, size)


def bits(run: Run) -> tuple[object, ...]:
    v = run.v.tolist() if run.v.dtype == object else run.v.tobytes()
    return run.unit, run.clock, run.boot, run.t.tobytes(), run.v.dtype, v


def references(seconds: int = HOUR_S) -> Mapping[str, list[Run]]:
    """Readings at 1 Hz whose times are off by 1 to 3 ms: what chunks are judged by."""
    rng = np.random.default_rng(3)
    late = rng.integers(1, 4, seconds) * rng.choice([-1, 1], seconds) * 10**6
    t = NOON + np.arange(seconds) * NS + late
    warmth = 20 + np.cumsum(rng.normal(0, 0.02, seconds)) + rng.normal(0, 0.03, seconds)
    columns = {
        "temperature, int16 × 0.01": np.rint(warmth * 100).astype(np.int16) * 0.01,
        "temperature, decimal fractions": np.round(warmth, 2),
        "temperature, float32": warmth.astype(np.float32).astype(np.float64),
        "white noise, float32": rng.normal(0, 1, seconds).astype(np.float32).astype(np.float64),
        "never changes": np.full(seconds, 21.5),
    }
    return {name: [Run("Cel", Clock.DEVICE, b"", t, v)] for name, v in columns.items()}


def figures(seconds: int = HOUR_S) -> Iterator[tuple[str, str, Figure]]:
    """Kind, metric and what it comes to."""
    for name in KINDS:
        for metric, found in Recorder(name).record(seconds).items():
            yield name, metric, weigh(found)
    for name, found in references(seconds).items():
        yield "1 Hz ± 1–3 ms", name, weigh(found)


def main() -> None:
    seconds = int(sys.argv[1]) * 60 if len(sys.argv) > 1 else HOUR_S
    print("| device | metric | readings | chunks | bytes a reading |")
    print("|---|---|--:|--:|--:|")
    for device, metric, (readings, chunks, size) in figures(seconds):
        print(f"| {device} | {metric} | {readings:,} | {chunks:,} | {size / readings:.2f} |")


if __name__ == "__main__":
    main()
