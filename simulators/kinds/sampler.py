"""Devices that measure on a fixed grid of time."""

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gateway.core.messages import Data
from simulators.body import UNNUMBERED, Draft
from simulators.clocks import DeviceClock
from simulators.kinds.base import (
    MS,
    NS,
    Floats,
    Kind,
    column,
    readings_in,
    validity,
)


class Sampler(Kind):
    """Takes a sample every `sample_s` seconds and sends `rows` of them in a message."""

    sample_s: ClassVar[float] = 1.0
    rows: ClassVar[int] = 1
    adjustable: ClassVar[bool] = True

    def __init__(self, seed: int, *, start: int, rate: float = 1.0) -> None:
        super().__init__(seed, start=start, rate=rate)
        self.step = max(MS, round(self.sample_s * NS / (rate if self.adjustable else 1) / MS) * MS)
        # Each device has its own phase, or a whole fleet would speak in the same instant.
        phase = float(self.rng.random()) * self.rows * self.step
        self.at = -(-start // MS) * MS + round(phase / MS) * MS

    @property
    def due(self) -> int:
        return self.at + (self.rows - 1) * self.step

    def take(self, clock: DeviceClock) -> list[Draft]:
        times = self.at + np.arange(self.rows, dtype=np.int64) * self.step
        self.at = int(times[-1]) + self.step
        return self.measure(times, clock)

    def measure(self, times: NDArray[np.int64], clock: DeviceClock) -> list[Draft]:
        """One DATA message of `columns` at true times (ns, evenly spaced)."""
        columns = self.columns(times / NS)
        stamp = clock.stamp(int(times[0]))
        tick = 10 ** (9 - self.resolution)
        step: Any = self.step // tick if len(times) > 1 else None
        message = Data(
            seq=UNNUMBERED,
            sid=1,
            t0=stamp.t // tick,
            step=step,
            columns=[column(v, f) for v, f in zip(columns, self.fields, strict=True)],
            valid=validity(columns, self.fields),
            clock=stamp.clock,
        )
        return [Draft(message, readings_in(columns))]

    @abstractmethod
    def columns(self, t: Floats) -> list[Floats]:
        """The values of all fields at Unix seconds `t`, NaN where a reading is missing."""

    def pace(self, seconds: float) -> bool:
        if self.adjustable:
            self.step = max(MS, round(seconds * 1000 / self.rows) * MS)
        return self.adjustable
