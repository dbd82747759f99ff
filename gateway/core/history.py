"""Readings for a chart: as they are if they are few, else least, mean and greatest per step."""

from collections.abc import Sequence
from operator import itemgetter
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
    return t / NS_PER_MS if t % NS_PER_MS else t // NS_PER_MS


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
        return self._steps() if self._few is None else _raw(self._few)

    def _steps(self) -> list[Point]:
        at = np.flatnonzero(self._count)
        numbers, low, high = self._numbers[at], self._min[at], self._max[at]
        mean = np.clip(self._sum[at] / np.maximum(numbers, 1), low, high)
        columns = (self._start + at * self._step, low, mean, high, self._count[at])
        points = [list(row) for row in zip(*(some.tolist() for some in columns), strict=True)]
        for n in np.flatnonzero(numbers == 0):
            points[n][1:4] = [None] * 3
        return points


def _raw(few: Sequence[tuple[NDArray[np.int64], NDArray[Any]]]) -> list[Point]:
    raw = [pair for t, v in few for pair in zip(t.tolist(), v.tolist(), strict=True)]
    raw.sort(key=itemgetter(0))
    return [[milliseconds(t), value] for t, value in raw]
