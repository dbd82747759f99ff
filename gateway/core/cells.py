"""What one series amounts to in one window: cells that can be merged, and their summary.

`merge` takes a cell whose readings arrived later; of readings with the same time the one that
arrived first counts as the earlier.
"""

import math
from abc import ABC, abstractmethod
from array import array
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gateway.core.facts import SummaryMade
from gateway.core.quantiles import EXACT, Digest

MAX_SEQUENCE = 4096
"""Booleans or texts of one cell that are kept; a cell with more is summarised from disk."""


class Cell(ABC):
    """One series in one window."""

    __slots__ = ()

    @abstractmethod
    def merge(self, later: Self) -> None:
        """Add the readings of a cell that arrived after those of this one."""

    @abstractmethod
    def copy(self) -> Self:
        """An independent cell of the same readings."""

    @abstractmethod
    def summary(self, *, series: int, window: str, t0: int, t1: int) -> SummaryMade | None:
        """The summary (t0, t1 in ms, `rev` 1), or None if it must be made from disk."""


@dataclass(slots=True)
class NumberCell(Cell):
    """Numbers. `std` is the population's; its parts never overflow, whatever the values."""

    n: int
    mean: float
    std: float
    min: float
    max: float
    t_first: int
    first: float
    t_last: int
    last: float
    digest: Digest

    def merge(self, later: Self) -> None:
        n = self.n + later.n
        mine, share = self.n / n, later.n / n
        half = later.mean / 2 - self.mean / 2  # the whole difference may overflow
        self.std = math.hypot(
            self.std * math.sqrt(mine),
            later.std * math.sqrt(share),
            half * (2 * math.sqrt(mine * share)),
        )
        self.mean = self.mean + share * half + share * half
        self.n = n
        self.min = min(self.min, later.min)
        self.max = max(self.max, later.max)
        if later.t_first < self.t_first:
            self.t_first, self.first = later.t_first, later.first
        if later.t_last >= self.t_last:
            self.t_last, self.last = later.t_last, later.last
        self.digest.merge(later.digest)

    def copy(self) -> Self:
        return replace(self, digest=self.digest.copy())

    def summary(self, *, series: int, window: str, t0: int, t1: int) -> SummaryMade | None:
        quantiles = self.digest.percentiles(50, 95)
        if quantiles is None:
            return None
        p50, p95 = map(self._within, quantiles)
        return SummaryMade(
            series=series,
            window=window,
            t0=t0,
            t1=t1,
            n=self.n,
            mean=self._within(self.mean),
            min=self.min,
            max=self.max,
            std=self.std,
            p50=p50,
            p95=p95,
            first=self.first,
            last=self.last,
            changes=None,
            rev=1,
        )

    def _within(self, value: float) -> float:
        return min(max(value, self.min), self.max)


@dataclass(slots=True)
class SequenceCell(Cell):
    """Booleans or texts: all of them up to `limit`, since a late one may split any run."""

    n: int
    t: "array[int]"
    v: list[Any]
    limit: int = MAX_SEQUENCE

    def __post_init__(self) -> None:
        self._bound()

    def merge(self, later: Self) -> None:
        self.n += later.n
        self.t.extend(later.t)
        self.v.extend(later.v)
        self._bound()

    def copy(self) -> Self:
        return replace(self, t=self.t[:], v=self.v[:])

    def summary(self, *, series: int, window: str, t0: int, t1: int) -> SummaryMade | None:
        if self.n > self.limit:
            return None
        v = [self.v[i] for i in np.argsort(np.frombuffer(self.t, np.int64), kind="stable")]
        return SummaryMade(
            series=series,
            window=window,
            t0=t0,
            t1=t1,
            n=self.n,
            mean=None,
            min=None,
            max=None,
            std=None,
            p50=None,
            p95=None,
            first=v[0],
            last=v[-1],
            changes=sum(before != after for before, after in pairwise(v)),
            rev=1,
        )

    def _bound(self) -> None:
        if self.n > self.limit:
            self.t, self.v = array("q"), []


def number_cells(
    t: NDArray[np.int64],
    v: NDArray[np.float64],
    starts: NDArray[np.intp],
    *,
    exact: int = EXACT,
) -> list[NumberCell]:
    """One cell per run of readings; run i is `starts[i]:starts[i + 1]`, sorted by time."""
    ends = np.append(starts[1:], len(t))
    mean, std = _mean_and_std(v, starts, ends - starts)
    digests = [
        Digest(array("d", v[a:b].tobytes()), exact=exact)
        for a, b in zip(starts.tolist(), ends.tolist(), strict=True)
    ]
    columns = (
        ends - starts,
        mean,
        std,
        np.minimum.reduceat(v, starts),
        np.maximum.reduceat(v, starts),
        t[starts],
        v[starts],
        t[ends - 1],
        v[ends - 1],
    )
    return list(map(NumberCell, *(column.tolist() for column in columns), digests))


def sequence_cells(
    t: NDArray[np.int64],
    v: NDArray[np.object_],
    starts: NDArray[np.intp],
    *,
    limit: int = MAX_SEQUENCE,
) -> list[SequenceCell]:
    """One cell per run of readings; run i is `starts[i]:starts[i + 1]`, sorted by time."""
    ends = [*starts[1:].tolist(), len(t)]
    return [
        SequenceCell(b - a, array("q", t[a:b].tobytes()), v[a:b].tolist(), limit)
        for a, b in zip(starts.tolist(), ends, strict=True)
    ]


def _mean_and_std(
    v: NDArray[np.float64], starts: NDArray[np.intp], n: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and population std of each run, in two passes.

    Deviations are from the run's first value and halved, so that no difference or sum overflows,
    and scaled to at most 1 before they are squared.
    """
    half = v / 2
    off = half - np.repeat(half[starts], n)
    shift = np.add.reduceat(off / np.repeat(n, n), starts)
    mean = v[starts] + shift + shift
    off -= np.repeat(shift, n)
    scale = np.maximum.reduceat(np.abs(off), starts)
    scale[scale == 0] = 1
    squares = np.square(off / np.repeat(scale, n))
    return mean, scale * np.sqrt(np.add.reduceat(squares, starts) / n) * 2
