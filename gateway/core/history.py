"""Readings for a chart: as they are if they are few, else least, mean and greatest per step."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.core.readings import NS_PER_MS

MAX_POINTS = 5000

Point = list[Any]
"""`[t, value]`, or `[t, min, mean, max, n]` per step; t in Unix ms."""


def widen(span: int, least: int = 1) -> int:
    """The least step (ms), 1, 2 or 5 times a power of ten, that cuts `span` ms into few points."""
    power = 1
    while True:
        for step in (power, 2 * power, 5 * power):
            if step >= least and span // step + 2 <= MAX_POINTS:
                return step
        power *= 10


def milliseconds(t: int) -> float:
    """Nanoseconds as Unix milliseconds: whole where they are whole."""
    whole, rest = divmod(t, NS_PER_MS)
    return t / NS_PER_MS if rest else whole


class History:
    """Gathers readings of one metric between two times, in bounded memory.

    since, until, step: milliseconds. Without `step`, readings are kept as they are while there
    are at most MAX_POINTS. Steps begin at multiples of their length. Text has a count only.
    """

    def __init__(self, since: int, until: int, step: int | None = None) -> None:
        self._few: list[tuple[NDArray[np.int64], NDArray[Any]]] | None = [] if not step else None
        self._n = 0
        self._step = widen(until - since)
        if step and (until - since) // step + 2 <= MAX_POINTS:
            self._step = step
        elif step:
            self._step = widen(until - since, step)
        self._start = since // self._step * self._step
        count = (until - self._start) // self._step + 1
        self._count = np.zeros(count, np.int64)
        self._numbers = np.zeros(count, np.int64)
        self._sum = np.zeros(count)
        self._min = np.full(count, np.inf)
        self._max = np.full(count, -np.inf)

    def add(self, t: NDArray[np.int64], v: NDArray[Any]) -> None:
        """Take in readings: t int64 ns UTC (n,), v (n,), all within the times."""
        self._n += len(t)
        if self._few is not None:
            self._few.append((t, v))
            if self._n > MAX_POINTS:
                self._few = None
        at = (t // NS_PER_MS - self._start) // self._step
        np.add.at(self._count, at, 1)
        if v.dtype == object:
            return
        numbers = v.astype(np.float64)
        np.add.at(self._numbers, at, 1)
        np.add.at(self._sum, at, numbers)
        np.minimum.at(self._min, at, numbers)
        np.maximum.at(self._max, at, numbers)

    @property
    def step(self) -> int | None:
        """Milliseconds; None if the points are the readings themselves."""
        return None if self._few is not None else self._step

    def points(self) -> list[Point]:
        """By time."""
        if self._few is None:
            return [self._point(int(at)) for at in np.flatnonzero(self._count)]
        raw = [
            (int(t), value) for ts, v in self._few for t, value in zip(ts, v.tolist(), strict=True)
        ]
        raw.sort(key=lambda reading: reading[0])
        return [[milliseconds(t), value] for t, value in raw]

    def _point(self, at: int) -> Point:
        t, n = self._start + at * self._step, int(self._count[at])
        numbers = int(self._numbers[at])
        if not numbers:
            return [t, None, None, None, n]
        low, high = float(self._min[at]), float(self._max[at])
        mean = min(max(float(self._sum[at]) / numbers, low), high)
        return [t, low, mean, high, n]
