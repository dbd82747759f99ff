"""What all made-up devices have in common: a sampling grid, schemas, believable noise."""

import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import cbor2
import numpy as np
from numpy.typing import NDArray

from gateway.core.messages import Schema
from simulators.body import FAILED, OK, UNSUPPORTED, Draft, Outcome
from simulators.clocks import DeviceClock

Floats = NDArray[np.floating[Any]]
NS = 1_000_000_000
MS = 1_000_000
BOOLEAN, TEXT = 0, 1
DTYPES = {
    64: "<u1", 72: "<i1", 69: "<u2", 77: "<i2", 70: "<u4", 78: "<i4",
    71: "<u8", 79: "<i8", 84: "<f2", 85: "<f4", 86: "<f8",
}  # fmt: skip
UINT16, INT16, UINT32, FLOAT32, FLOAT64 = 69, 77, 70, 85, 86
_FLOATS = (84, FLOAT32, FLOAT64)


def field(metric: str, unit: str = "", *, kind: int, scale: float | None = None) -> dict[int, Any]:
    """One field of a SCHEMA."""
    found: dict[int, Any] = {0: metric, 2: kind}
    if unit:
        found[1] = unit
    if scale is not None:
        found[3] = scale
    return found


def schema(sid: int, *fields: dict[int, Any], resolution: int = 3) -> Schema:
    """A SCHEMA whose fingerprint is the CRC-32 of what it says."""
    crc = zlib.crc32(cbor2.dumps([list(fields), resolution]))
    return Schema(sid=sid, fields=list(fields), resolution=resolution, fingerprint=crc.to_bytes(4))


def column(values: Sequence[Any] | NDArray[Any], spec: Mapping[int, Any]) -> Any:
    """The values of one field as they go on the wire (missing: NaN, or 0 for integers)."""
    kind = spec[2]
    if kind in (BOOLEAN, TEXT):
        rows = list(values)
        return rows[0] if len(rows) == 1 else rows
    if kind in _FLOATS:
        return cbor2.CBORTag(kind, np.asarray(values, DTYPES[kind]).tobytes())
    limits = np.iinfo(DTYPES[kind])
    raw = np.nan_to_num(np.rint(np.asarray(values, float) / spec.get(3, 1)))
    raw = np.clip(raw, limits.min, limits.max).astype(DTYPES[kind])
    return int(raw[0]) if len(raw) == 1 else cbor2.CBORTag(kind, raw.tobytes())


def validity(
    columns: Sequence[Sequence[Any] | NDArray[Any]], fields: Sequence[Mapping[int, Any]]
) -> dict[int, bytes] | None:
    """Bitmaps of the integer columns that have missing values; None if there are none."""
    found = {}
    for index, (values, spec) in enumerate(zip(columns, fields, strict=True)):
        if spec[2] in (BOOLEAN, TEXT, *_FLOATS):
            continue
        present = np.isfinite(np.asarray(values, float))
        if not present.all():
            found[index] = np.packbits(present, bitorder="little").tobytes()
    return found or None


def readings_in(columns: Sequence[Sequence[Any] | NDArray[Any]]) -> int:
    """How many values are not missing."""
    return sum(
        int(np.isfinite(values).sum()) if isinstance(values, np.ndarray) else len(values)
        for values in columns
    )


class Wander:
    """A quantity that wanders about zero: an Ornstein-Uhlenbeck process.

    spread: its standard deviation. memory_s: seconds over which it forgets where it was.
    """

    def __init__(self, rng: np.random.Generator, *, spread: float, memory_s: float) -> None:
        self._rng = rng
        self._spread = spread
        self._memory_s = memory_s
        self.value = float(rng.normal(0, spread))

    def take(self, n: int, dt: float) -> Floats:
        """The next n values, dt seconds apart."""
        keep = math.exp(-dt / self._memory_s)
        kicks = self._rng.normal(0, self._spread * math.sqrt(1 - keep * keep), n)
        values = np.empty(n)
        for i in range(n):
            self.value = self.value * keep + float(kicks[i])
            values[i] = self.value
        return values


def sun(t: Floats) -> Floats:
    """Height of the sun from 0 to 1 at Unix seconds `t`: up from 6 to 20 o'clock UTC."""
    hours = t / 3600 % 24
    return np.clip(np.sin(np.pi * (hours - 6) / 14), 0, 1) * (hours >= 6)


def day(t: Floats, *, peak: float) -> Floats:
    """A smooth daily curve from -1 to 1 with its maximum at `peak` o'clock UTC."""
    return np.cos(2 * np.pi * (t / 3600 - peak) / 24)


class Kind(ABC):
    """A made-up device, reproducible from its seed."""

    name: ClassVar[str]
    fields: ClassVar[tuple[dict[int, Any], ...]] = ()
    resolution: ClassVar[int] = 3
    clockless: ClassVar[bool] = False
    nap_s: float | None = None

    def __init__(self, seed: int, *, start: int, rate: float = 1.0) -> None:
        """start: true Unix ns of the first sample at the earliest; rate > 1 measures faster."""
        self.rng = np.random.default_rng(seed)
        self.start = start
        self.rate = rate
        self.relay = True
        self.schemas: dict[int, Schema] = {}
        if self.fields:
            self.schemas[1] = schema(1, *self.fields, resolution=self.resolution)

    @property
    @abstractmethod
    def due(self) -> int:
        """True Unix ns at which the next message is complete."""

    @abstractmethod
    def take(self, clock: DeviceClock) -> list[Draft]:
        """The next message, and events that belong to it; moves on."""

    def restarts(self) -> bool:
        """Whether it restarts by itself now; asked after each `take`."""
        return False

    def pace(self, seconds: float) -> bool:  # noqa: ARG002
        """Send a message every so many seconds from now on; False if it cannot."""
        return False

    def act(self, op: int | str, args: Any) -> Outcome:
        """Commands that every made-up device knows."""
        match op:
            case "identify":
                return Outcome(OK, {"blinked": 3})
            case "reboot":
                return Outcome(1, reboot=True)
            case "relay":
                return self._switch(args)
            case "interval":
                return self._pace(args)
            case _:
                return Outcome(UNSUPPORTED)

    def configure(self, document: Any) -> None:
        """Of a document, the interval is taken."""
        if isinstance(document, dict) and "interval_s" in document:
            self._pace({"s": document["interval_s"]})

    def _switch(self, args: Any) -> Outcome:
        if not isinstance(args, dict) or not isinstance(args.get("on"), bool):
            return Outcome(FAILED, {"error": "relay wants {on: true or false}"})
        self.relay = args["on"]
        return Outcome(OK, {"on": self.relay})

    def _pace(self, args: Any) -> Outcome:
        seconds = args.get("s") if isinstance(args, dict) else None
        if not isinstance(seconds, int | float) or not 0.05 <= seconds <= 3600:
            return Outcome(FAILED, {"error": "interval wants {s: 0.05 to 3600}"})
        if not self.pace(seconds):
            return Outcome(FAILED, {"error": "this sensor samples at a fixed rate"})
        return Outcome(OK, {"s": seconds})
