"""A weather station on a roof."""

import numpy as np

from simulators.kinds.base import FLOAT32, Floats, Wander, day, field
from simulators.kinds.sampler import Sampler


class Weather(Sampler):
    """Wind with gusts, pressure, a rain counter and air temperature; float32."""

    name = "weather"
    rows = 3
    fields = (
        field("wind_speed", "m/s", kind=FLOAT32),
        field("wind_direction", "deg", kind=FLOAT32),
        field("pressure", "hPa", kind=FLOAT32),
        field("rain", "mm", kind=FLOAT32),
        field("temperature", "Cel", kind=FLOAT32),
    )

    def __init__(self, seed: int, *, start: int, rate: float = 1.0) -> None:
        super().__init__(seed, start=start, rate=rate)
        self._weather = Wander(self.rng, spread=7.0, memory_s=86_400)
        self._breeze = Wander(self.rng, spread=0.35, memory_s=1800)
        self._gusts = Wander(self.rng, spread=0.25, memory_s=4)
        self._veer = Wander(self.rng, spread=35, memory_s=7200)
        self._flutter = Wander(self.rng, spread=9, memory_s=6)
        self._shower = Wander(self.rng, spread=1.0, memory_s=1500)
        self._air = Wander(self.rng, spread=0.8, memory_s=3600)
        self._home = float(self.rng.uniform(0, 360))
        self._rain = float(np.round(self.rng.uniform(0, 400) / 0.2)) * 0.2

    def columns(self, t: Floats) -> list[Floats]:
        n, dt = len(t), self.step / 1e9
        low = -self._weather.take(n, dt)
        mean = 3.2 * np.exp(self._breeze.take(n, dt)) * (1 + 0.04 * low) + 0.8 * day(t, peak=15)
        wind = np.clip(mean, 0.2, None) * np.exp(self._gusts.take(n, dt))
        direction = self._home + self._veer.take(n, dt) + self._flutter.take(n, dt)
        temperature = 11 + 5.5 * day(t, peak=15) - 0.15 * low + self._air.take(n, dt)
        temperature += self.rng.normal(0, 0.03, n)
        temperature[self.rng.random(n) < 0.0005] = np.nan
        return [
            np.clip(wind, 0, 60),
            direction % 360,
            1013.2 - low + 0.6 * day(t, peak=10) + self.rng.normal(0, 0.02, n),
            self._bucket(low, dt),
            temperature,
        ]

    def _bucket(self, low: Floats, dt: float) -> Floats:
        """A tipping bucket: a counter in steps of 0.2 mm that tips while a shower passes."""
        wet = np.clip(self._shower.take(len(low), dt) + 0.05 * low - 1.2, 0, None)
        tips = self.rng.poisson(wet * 12 / 3600 * dt / 0.2)
        counter = self._rain + 0.2 * np.cumsum(tips)
        self._rain = float(counter[-1])
        return np.asarray(counter, np.float64)
