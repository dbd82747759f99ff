"""A tank logger without a clock: it counts from its start, sleeps, and sometimes restarts."""

import numpy as np

from simulators.kinds.base import NS, Floats, Wander, day, field
from simulators.kinds.sampler import Sampler

UINT8, FLOAT16, FLOAT64, SINT32, UINT64 = 64, 84, 86, 78, 71
RESTART_S = 1200.0
"""Mean time between restarts."""


class Logger(Sampler):
    """Level, pressure, temperature, weight and a pulse counter, in column types of all sizes.

    After a restart it still holds readings of the boot before, whose clock they keep.
    """

    name = "logger"
    clockless = True
    nap_s = 20.0
    sample_s = 2.0
    rows = 5
    fields = (
        field("level", "%", kind=UINT8),
        field("pressure", "bar", kind=FLOAT64),
        field("temperature", "Cel", kind=FLOAT16),
        field("weight", "kg", kind=SINT32, scale=0.5),
        field("pulses", "count", kind=UINT64),
    )

    def __init__(self, seed: int, *, start: int, rate: float = 1.0) -> None:
        super().__init__(seed, start=start, rate=rate)
        self._level = float(self.rng.uniform(30, 90))
        self._draw = Wander(self.rng, spread=0.5, memory_s=300)
        self._warmth = Wander(self.rng, spread=0.4, memory_s=7200)
        self._pulses = float(self.rng.integers(10_000, 900_000))

    def restarts(self) -> bool:
        return bool(self.rng.random() < self.rows * self.step / NS / RESTART_S)

    def columns(self, t: Floats) -> list[Floats]:
        n, dt = len(t), self.step / 1e9
        drawn = np.cumsum(np.clip(0.5 + self._draw.take(n, dt), 0, None)) * dt / 60
        level = self._level - drawn
        self._level = float(level[-1]) if level[-1] > 12 else 95.0
        pulses = self._pulses + np.cumsum(self.rng.poisson(np.diff(drawn, prepend=0) * 40))
        self._pulses = float(pulses[-1])
        pressure = 1.0 + 0.00245 * level * 0.9 + self.rng.normal(0, 0.0004, n)
        temperature = 14 + 1.8 * day(t, peak=17) + self._warmth.take(n, dt)
        weight = 180 + 12.5 * level + self.rng.normal(0, 0.6, n)
        return [level, pressure, temperature, weight, pulses]
