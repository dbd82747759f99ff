"""Vibration of a pump at 1 kHz, with a bearing that slowly goes bad."""

import numpy as np

from simulators.kinds.base import INT16, Floats, Wander, field
from simulators.kinds.sampler import Sampler

SHAFT_HZ = 24.6
BALL_PASS = 3.57
"""Impacts on the outer race per turn of the shaft."""
RING_HZ = 410.0
RING_S = 0.004
CYCLE_S = 1500.0
WEAR_S = 6 * 3600.0


class Vibration(Sampler):
    """Three axes of acceleration, a second of 1000 rows a message; scaled int16, µs times."""

    name = "vibration"
    sample_s = 0.001
    rows = 1000
    resolution = 6
    adjustable = False
    fields = (
        field("acceleration_x", "m/s2", kind=INT16, scale=0.005),
        field("acceleration_y", "m/s2", kind=INT16, scale=0.005),
        field("acceleration_z", "m/s2", kind=INT16, scale=0.005),
    )

    def __init__(self, seed: int, *, start: int, rate: float = 1.0) -> None:
        super().__init__(seed, start=start, rate=rate)
        self._turns = float(self.rng.random())
        self._slip = Wander(self.rng, spread=0.15, memory_s=20)
        self._phase = float(self.rng.uniform(0, CYCLE_S))
        self._axes = self.rng.uniform(0.6, 1.2, (3, 3))

    def columns(self, t: Floats) -> list[Floats]:
        n, dt = len(t), self.step / 1e9
        seconds = float(t[0]) + self._phase
        effort = self._effort(seconds)
        hertz = (SHAFT_HZ + float(self._slip.take(1, n * dt)[0])) * max(effort, 0.02)
        turns = self._turns + hertz * dt * np.arange(1, n + 1)
        self._turns = float(turns[-1]) % 1e6
        unbalance = 1.1 * np.sin(2 * np.pi * turns) + 0.45 * np.sin(4 * np.pi * turns + 0.7)
        impacts = self._impacts(turns, hertz) * self._wear(seconds)
        noise = self.rng.normal(0, 0.12 + 0.35 * effort, (3, n))
        parts = np.stack([unbalance * effort**2, impacts * effort, noise[0] * 0])
        shaken = self._axes @ parts + noise
        shaken[2] += 9.81
        return list(shaken)

    def _effort(self, seconds: float) -> float:
        """The pump runs for 20 of 25 minutes, and needs some seconds to start and stop."""
        if not self.relay:
            return 0.0
        at = seconds % CYCLE_S
        return float(np.clip(min(at / 8, (1200 - at) / 12), 0, 1))

    def _wear(self, seconds: float) -> float:
        """From sound to worn over some hours; then somebody changes the bearing."""
        return 0.3 + 7.0 * (seconds % WEAR_S / WEAR_S) ** 3

    def _impacts(self, turns: Floats, hertz: float) -> Floats:
        """Each ball that passes the flaw makes the housing ring; the load zone modulates it."""
        passes = turns * BALL_PASS
        age = passes % 1 / (hertz * BALL_PASS)
        ring = np.exp(-age / RING_S) * np.sin(2 * np.pi * RING_HZ * age)
        return np.asarray(ring * (1 + 0.4 * np.cos(2 * np.pi * turns)), np.float64)
