"""A power meter of a household circuit."""

import numpy as np

from simulators.kinds.base import FLOAT32, UINT32, Floats, Wander, field
from simulators.kinds.sampler import Sampler

APPLIANCES_W = (70.0, 120.0, 800.0, 2000.0, 2300.0)
USES_PER_HOUR = (0.8, 1.5, 0.5, 0.8, 0.4)
MINUTES = (60.0, 12.0, 20.0, 2.5, 9.0)


class Power(Sampler):
    """Voltage, current, power, frequency as float32; energy counts up in whole Wh."""

    name = "power"
    fields = (
        field("voltage", "V", kind=FLOAT32),
        field("current", "A", kind=FLOAT32),
        field("power", "W", kind=FLOAT32),
        field("energy", "Wh", kind=UINT32),
        field("frequency", "Hz", kind=FLOAT32),
    )

    def __init__(self, seed: int, *, start: int, rate: float = 1.0) -> None:
        super().__init__(seed, start=start, rate=rate)
        self._grid = Wander(self.rng, spread=1.8, memory_s=600)
        self._hertz = Wander(self.rng, spread=0.018, memory_s=40)
        self._base = float(self.rng.uniform(90, 160))
        self._on = self.rng.random(len(APPLIANCES_W)) < 0.2
        self._energy = float(self.rng.uniform(1e6, 9e6))

    def columns(self, t: Floats) -> list[Floats]:
        n, dt = len(t), self.step / 1e9
        load = np.array([self._load(hour, dt) for hour in t / 3600 % 24])
        volts = 231.5 + self._grid.take(n, dt) - load * 0.0012 + self.rng.normal(0, 0.08, n)
        watts = load * (volts / 230) ** 2 * (1 + self.rng.normal(0, 0.004, n))
        energy = self._energy + np.cumsum(watts) * dt / 3600
        self._energy = float(energy[-1])
        amperes = watts / volts / np.where(load > 500, 0.99, 0.82)
        return [volts, amperes, watts, np.floor(energy), 50 + self._hertz.take(n, dt)]

    def _load(self, hour: float, dt: float) -> float:
        """Watts of what is switched on; people use things when they are awake."""
        if not self.relay:
            return 1.5
        awake = 1.0 if 6.5 <= hour <= 23 else 0.12
        if 17 <= hour <= 21:
            awake = 1.8
        chance = self.rng.random(len(APPLIANCES_W))
        starts = ~self._on & (chance < np.array(USES_PER_HOUR) * awake * dt / 3600)
        stops = self._on & (chance < dt / 60 / np.array(MINUTES))
        self._on = (self._on | starts) & ~stops
        return self._base + float(np.dot(self._on, APPLIANCES_W))
