"""An old soil probe that speaks SenML."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.core.messages import Senml
from simulators.body import UNNUMBERED, Draft
from simulators.clocks import DeviceClock
from simulators.kinds.base import NS, Floats, Wander, day
from simulators.kinds.sampler import Sampler

_BASE_TIME, _NAME, _UNIT, _VALUE, _TIME = -3, 0, 1, 2, 6
METRICS = (
    ("soil_temperature", "Cel", 2),
    ("soil_moisture", "%", 1),
    ("conductivity", "S/m", 4),
    ("battery", "V", 3),
)


class Soil(Sampler):
    """Soil temperature, moisture, conductivity and battery as RFC 8428 packs."""

    name = "soil"
    sample_s = 5.0
    rows = 2

    def __init__(self, seed: int, *, start: int, rate: float = 1.0) -> None:
        super().__init__(seed, start=start, rate=rate)
        self._warmth = Wander(self.rng, spread=0.7, memory_s=20_000)
        self._wet = Wander(self.rng, spread=4.0, memory_s=60_000)
        self._full = float(self.rng.uniform(3.9, 4.15))
        self._begun = start / NS

    def measure(self, times: NDArray[np.int64], clock: DeviceClock) -> list[Draft]:
        """A pack with one record for each value. Without a clock, times are relative to now."""
        columns = self.columns(times / NS)
        begin = clock.stamp(int(times[0])).t / NS if clock.unix else 0
        pack: list[dict[Any, Any]] = []
        for row, offset in enumerate((times - times[0]) / NS):
            for (metric, unit, digits), values in zip(METRICS, columns, strict=True):
                record = {_NAME: metric, _UNIT: unit, _VALUE: round(float(values[row]), digits)}
                late = offset if clock.unix else offset - float(times[-1] - times[0]) / NS
                pack.append(record | ({_TIME: float(late)} if late else {}))
        if clock.unix:
            pack[0] = {_BASE_TIME: round(begin, 3)} | pack[0]
        return [Draft(Senml(seq=UNNUMBERED, pack=pack), len(pack))]

    def columns(self, t: Floats) -> list[Floats]:
        n, dt = len(t), self.step / 1e9
        moisture = 31 + self._wet.take(n, dt) + self.rng.normal(0, 0.08, n)
        # Deep ground follows the day hours late and little.
        temperature = 13.5 + 1.4 * day(t, peak=20) + self._warmth.take(n, dt)
        battery = self._full - 0.004 * (t - self._begun) / 86_400
        return [
            temperature + self.rng.normal(0, 0.02, n),
            np.clip(moisture, 2, 60),
            np.clip(0.004 * moisture + self.rng.normal(0, 0.0005, n), 0, None),
            battery + 0.01 * day(t, peak=15) + self.rng.normal(0, 0.001, n),
        ]
