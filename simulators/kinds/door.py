"""A door contact with a motion sensor: nothing for minutes, then a person passes."""

import cbor2
import numpy as np
from numpy.typing import NDArray

from gateway.core.messages import Data, Event
from simulators.body import UNNUMBERED, Draft
from simulators.clocks import DeviceClock
from simulators.kinds.base import BOOLEAN, NS, TEXT, UINT32, Kind, column, field

QUIET_DAY_S, QUIET_NIGHT_S = 75.0, 900.0
STILL_THERE_S = 120.0


class Door(Kind):
    """Booleans and a text at irregular times, and an EVENT for each opening."""

    name = "door"
    fields = (
        field("open", kind=BOOLEAN),
        field("motion", kind=BOOLEAN),
        field("state", kind=TEXT),
    )

    def __init__(self, seed: int, *, start: int, rate: float = 1.0) -> None:
        super().__init__(seed, start=start, rate=rate)
        self._plan = self._passage(start + NS)

    @property
    def due(self) -> int:
        return int(self._plan[0][-1])

    def take(self, clock: DeviceClock) -> list[Draft]:
        times, rows = self._plan
        self._plan = self._passage(int(times[-1]) + self._quiet(int(times[-1])))
        drafts = [self._data(times, rows, clock)]
        if any(row[0] for row in rows):
            opened = clock.stamp(int(times[1])).t // 1_000_000
            event = Event(seq=UNNUMBERED, name="opened", detail={"at_ms": opened})
            drafts.insert(0, Draft(event))
        return drafts

    def _data(
        self, times: NDArray[np.int64], rows: list[tuple[bool, bool, str]], clock: DeviceClock
    ) -> Draft:
        stamp = clock.stamp(int(times[0]))
        offsets = ((times - times[0]) // 1_000_000).astype("<u4")
        columns = zip(zip(*rows, strict=True), self.fields, strict=True)
        message = Data(
            seq=UNNUMBERED,
            sid=1,
            t0=stamp.t // 1_000_000,
            step=cbor2.CBORTag(UINT32, offsets.tobytes()) if len(rows) > 1 else None,
            columns=[column(values, spec) for values, spec in columns],
            valid=None,
            clock=stamp.clock,
        )
        return Draft(message, 3 * len(rows))

    def _passage(self, at: int) -> tuple[NDArray[np.int64], list[tuple[bool, bool, str]]]:
        """What happens from `at` on: somebody passes, or only a sign of life."""
        if self.rng.random() < 0.25:
            return np.array([at]), [(False, False, "closed")]
        steps = self.rng.uniform((0.4, 2.0, 1.0, 5.0), (2.0, 8.0, 3.0, 25.0)) / self.rate
        times = at + np.concatenate(([0], np.cumsum(steps * NS))).astype(np.int64)
        return times, [
            (False, True, "closed"),
            (True, True, "open"),
            (True, True, "ajar"),
            (False, True, "closed"),
            (False, False, "closed"),
        ]

    def _quiet(self, at: int) -> int:
        hour = at / NS / 3600 % 24
        mean = QUIET_DAY_S if 7 <= hour <= 21 else QUIET_NIGHT_S
        wait = min(float(self.rng.exponential(mean)) + 2, STILL_THERE_S)
        return round(wait / self.rate * NS)
