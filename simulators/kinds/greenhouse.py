"""Climate in a greenhouse: the sun heats, vents and plants answer."""

import numpy as np

from simulators.kinds.base import INT16, UINT16, UINT32, Floats, Wander, day, field, sun
from simulators.kinds.sampler import Sampler


class Greenhouse(Sampler):
    """Temperature, humidity, CO2, soil moisture and light; scaled integers."""

    name = "greenhouse"
    rows = 2
    fields = (
        field("temperature", "Cel", kind=INT16, scale=0.01),
        field("humidity", "%RH", kind=UINT16, scale=0.01),
        field("co2", "ppm", kind=UINT16),
        field("soil_moisture", "%", kind=UINT16, scale=0.1),
        field("light", "lx", kind=UINT32),
    )

    def __init__(self, seed: int, *, start: int, rate: float = 1.0) -> None:
        super().__init__(seed, start=start, rate=rate)
        self._home = float(self.rng.uniform(17, 20))
        self._clouds = Wander(self.rng, spread=0.25, memory_s=900)
        self._air = Wander(self.rng, spread=0.6, memory_s=1800)
        self._damp = Wander(self.rng, spread=2.5, memory_s=1200)
        self._gas = Wander(self.rng, spread=35, memory_s=600)
        self._soil = float(self.rng.uniform(35, 60))
        self._heat = 0.0

    def columns(self, t: Floats) -> list[Floats]:
        n, dt = len(t), self.step / 1e9
        light = sun(t) * np.clip(0.75 + self._clouds.take(n, dt), 0.15, 1.0)
        # The heater (the relay) adds 3 degrees within some ten minutes.
        self._heat += ((3.0 if self.relay else 0.0) - self._heat) * min(1.0, dt * n / 600)
        warmth = self._home + 2 * day(t, peak=15) + 11 * light + self._heat - 3
        temperature = warmth + self._air.take(n, dt)
        humidity = 92 - 1.9 * (temperature - 15) + self._damp.take(n, dt)
        co2 = 640 - 230 * light + self._gas.take(n, dt)
        noise = self.rng.normal(0, 1, (4, n))
        return [
            temperature + 0.03 * noise[0],
            np.clip(humidity + 0.15 * noise[1], 20, 100),
            np.clip(co2 + 3 * noise[2], 380, 5000),
            self._moisture(light, dt=dt, noise=noise[3]),
            np.rint(light * 62_000 * (1 + 0.01 * noise[1])),
        ]

    def _moisture(self, light: Floats, *, dt: float, noise: Floats) -> Floats:
        """Dries faster in the sun, is watered below 30 %; the probe fails now and then."""
        dried = np.cumsum((0.4 + 2.2 * light) * dt / 3600)
        values = self._soil - dried + 0.08 * noise
        self._soil -= float(dried[-1])
        if self._soil < 30:
            self._soil = float(self.rng.uniform(55, 62))
        values[self.rng.random(len(light)) < 0.001] = np.nan
        return values
