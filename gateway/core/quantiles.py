"""Quantiles of many numbers in bounded memory, the same whatever the order of arrival.

Up to `exact` numbers of a cell are kept as they are. Beyond that they are counted in bins made of
the top bits of the double itself: sign, exponent and 7 bits of the mantissa, so that a bin is at
most 2**-7 of its magnitude wide, and its middle at most 2**-8 (0.4 %) off. Magnitudes below
2**-1022 share the bin of zero.
"""

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

EXACT = 1024
"""Numbers of a cell that are kept as they are."""
MAX_BINS = 8192
"""Bins of one cell: noise around zero of 10**8 numbers takes about 6,500."""
ROOM = 16_384
"""So many numbers or bins of a shard may wait before they are put in order."""
RELATIVE_ERROR = 2.0**-8

_DROPPED_BITS = 52 - 7
_BIN_BITS = 19
_ZERO = 1 << (_BIN_BITS - 1)
"""Number of the bin of zero. The number of a cell stands before that of a bin in a key."""
_BINS = (1 << _BIN_BITS) - 1
_LEAST_BIN = 1 << 7
_MIDDLE = 1 << (_DROPPED_BITS - 1)
_SPARSE = 4
"""So many times as many bins as numbers may be looked through, rather than sort the numbers."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Runs(NamedTuple):
    """Numbers of cells: the first `counts[0]` of `values` are of the cell `cells[0]`, and so on."""

    cells: Ints
    counts: Ints
    values: Floats

    def where(self, wanted: NDArray[np.bool_]) -> "Runs":
        """The wanted runs only."""
        if wanted.all():
            return self
        values = self.values[np.repeat(wanted, self.counts)]
        return Runs(self.cells[wanted], self.counts[wanted], values)

    def renumbered(self, cells: Ints) -> "Runs":
        """`cells`: the new number of each cell, below 0 if it is of no interest."""
        runs = self._replace(cells=cells[self.cells])
        return runs.where(runs.cells >= 0)

    def by_cell(self) -> "Runs":
        """In order of cells."""
        if (self.cells[1:] >= self.cells[:-1]).all():
            return self
        order = np.argsort(self.cells, kind="stable")
        starts = np.cumsum(self.counts) - self.counts
        values = self.values[_ranges(starts[order], self.counts[order])]
        return Runs(self.cells[order], self.counts[order], values)


class Tally(NamedTuple):
    """How many numbers are in a bin of a cell."""

    keys: Ints
    counts: Ints

    def renumbered(self, cells: Ints) -> "Tally":
        """`cells`: the new number of each cell, below 0 if it is of no interest."""
        new = cells[self.keys >> _BIN_BITS]
        found = Tally((new << _BIN_BITS) | (self.keys & _BINS), self.counts)
        wanted = new >= 0
        return found if wanted.all() else Tally(found.keys[wanted], found.counts[wanted])


class Digests:
    """The numbers of cells, which are numbered from 0.

    A cell whose numbers need more than `MAX_BINS` bins knows nothing any more.
    """

    def __init__(self, size: int = 0, *, exact: int = EXACT) -> None:
        """Digests of `size` cells that are empty."""
        self.n: Ints = np.zeros(size, np.int64)
        """How many numbers each cell has."""
        self._overfull = np.zeros(size, np.bool_)
        self._exact = exact
        self._loose: list[Runs] = []
        self._bins: list[Tally] = []
        self._weights = [0, 0]
        self._rooms = [ROOM, ROOM]

    def grow(self, more: int) -> None:
        """Add so many empty cells at the end."""
        self.n = np.append(self.n, np.zeros(more, np.int64))
        self._overfull = np.append(self._overfull, np.zeros(more, np.bool_))

    def add(self, runs: Runs) -> None:
        """Count these numbers; a cell has one run at most."""
        self.n[runs.cells] += runs.counts
        self._put(runs)

    def merge(self, other: Self, cells: Ints) -> None:
        """Count the numbers of `other` too, which stays as it is.

        cells: to which of mine each of its cells belongs, none twice; below 0 to none.
        """
        wanted = cells >= 0
        self.n[cells[wanted]] += other.n[wanted]
        self._overfull[cells[wanted]] |= other._overfull[wanted]
        for runs in other._loose:
            self._put(runs.renumbered(cells))
        for tally in other._bins:
            self._count(tally.renumbered(cells))

    def part(self, cells: Ints) -> Self:
        """Digests of these cells only, in this order."""
        self._settle()
        self._sum_up()
        found = type(self)(len(cells), exact=self._exact)
        places = np.full(len(self.n), -1, np.int64)
        places[cells] = np.arange(len(cells))
        found.merge(self, places)
        return found

    def arrange(self) -> None:
        """Put all in order, as `percentiles` needs it."""
        self._settle()
        self._sum_up()
        runs = self._runs().by_cell()
        self._loose = [runs]
        ends = np.cumsum(runs.counts)
        self._ends = np.append(0, ends)[
            np.searchsorted(runs.cells, np.arange(len(self.n)), "right")
        ]
        self._upto = np.append(0, np.cumsum(self._bins[0].counts))

    def percentiles(self, cells: Ints, *percents: int) -> Floats:
        """Nearest-rank percentiles of cells that are not empty, shape (percents, cells).

        The digests must be arranged before. Exact up to `exact` numbers, then within
        RELATIVE_ERROR; NaN if there were too many bins.
        """
        found = np.full((len(percents), len(cells)), np.nan)
        few = self.n[cells] <= self._exact
        many = ~few & ~self._overfull[cells]
        for fits, look in ((few, self._look_up), (many, self._look_at_bins)):
            if fits.any():
                some = cells[fits]
                ranks = [rank(percent, self.n[some]) for percent in percents]
                found[:, fits] = look(some, np.array(ranks))
        found[:, self._overfull[cells]] = np.nan
        return found

    def _look_up(self, cells: Ints, ranks: Ints) -> Floats:
        """Sort the numbers of each cell in a row of its own."""
        n = self.n[cells]
        rows = np.full((len(cells), int(n.max())), np.inf)
        values = self._loose[0].values[_ranges(self._ends[cells] - n, n)]
        rows[np.repeat(np.arange(len(cells)), n), _ranges(np.zeros_like(n), n)] = values
        rows.sort(axis=1)
        found: Floats = rows[np.arange(len(cells)), ranks - 1]
        return found

    def _look_at_bins(self, cells: Ints, ranks: Ints) -> Floats:
        keys = self._bins[0].keys
        before = self._upto[np.searchsorted(keys, cells << _BIN_BITS)]
        places = np.searchsorted(self._upto, before + ranks) - 1
        return _middles((keys[places] & _BINS) - _ZERO)

    # -- keeping --------------------------------------------------------------------------------

    def _put(self, runs: Runs) -> None:
        many = self.n[runs.cells] > self._exact
        if many.any():
            self._count(tallied(runs.where(many)))
            runs = runs.where(~many)
        if len(runs.cells):
            self._loose.append(runs)
            self._weights[0] += len(runs.values)
            if self._weights[0] > self._rooms[0]:
                self._settle()

    def _settle(self) -> None:
        """Count numbers of cells that have become too many to be kept."""
        runs = self._runs()
        self._loose, self._weights[0], self._rooms[0] = [], 0, 2 * len(runs.values) + 1
        self._put(runs)
        self._rooms[0] = max(ROOM, 2 * self._weights[0])

    def _runs(self) -> Runs:
        if len(self._loose) == 1:
            return self._loose[0]
        if not self._loose:
            return Runs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        return Runs(*(np.concatenate(parts) for parts in zip(*self._loose, strict=True)))

    def _count(self, some: Tally) -> None:
        if len(some.keys):
            self._bins.append(some)
            self._weights[1] += len(some.keys)
            if self._weights[1] > self._rooms[1]:
                self._sum_up()

    def _sum_up(self) -> None:
        """One tally of all, in order."""
        empty = np.empty(0, np.int64)
        keys, counts = map(np.concatenate, zip((empty, empty), *self._bins, strict=True))
        found = _summed(keys, counts)
        size = np.bincount(found.keys >> _BIN_BITS, minlength=len(self.n))
        self._overfull |= size > MAX_BINS
        if self._overfull.any():
            known = ~self._overfull[found.keys >> _BIN_BITS]
            found = Tally(found.keys[known], found.counts[known])
        self._bins, self._weights[1] = [found], len(found.keys)
        self._rooms[1] = max(ROOM, 2 * self._weights[1])


def rank(percent: int, n: Any) -> Any:
    """Place (from 1) of a percentile among n sorted values by the nearest-rank rule."""
    return np.maximum(1, -(-percent * n // 100))


def tallied(runs: Runs) -> Tally:
    """How many numbers of each run are in which bin."""
    bins = _bins(runs.values)
    starts = np.cumsum(runs.counts) - runs.counts
    low: Ints = np.minimum.reduceat(bins, starts).astype(np.int64)
    width = np.maximum.reduceat(bins, starts) - low + 1
    ends = np.cumsum(width)
    if ends[-1] > _SPARSE * len(bins):
        keys: Ints = np.repeat(runs.cells << _BIN_BITS, runs.counts) + bins.astype(np.int64) + _ZERO
        return _summed(keys, np.ones(len(keys), np.int64))
    first = ends - width
    counts = np.bincount(np.repeat(first - low, runs.counts) + bins, minlength=int(ends[-1]))
    found = np.flatnonzero(counts)
    base = np.repeat((runs.cells << _BIN_BITS) + low - first + _ZERO, width)
    return Tally(base[found] + found, counts[found])


def _summed(keys: Ints, counts: Ints) -> Tally:
    """In order, each key once."""
    if not len(keys):
        return Tally(keys, counts)
    if (keys[1:] <= keys[:-1]).any():
        order = np.argsort(keys, kind="stable")
        keys, counts = keys[order], counts[order]
        starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
        keys, counts = keys[starts], np.add.reduceat(counts, starts)
    return Tally(keys, counts)


def _ranges(starts: Ints, counts: Ints) -> Ints:
    """starts[0], starts[0] + 1 … so many as counts[0] says, then the same of the next."""
    before = np.cumsum(counts) - counts
    return np.repeat(starts - before, counts) + np.arange(int(counts.sum()))


def _bins(values: Floats) -> NDArray[np.int32]:
    """Number of the bin of each value, 0 that of zero; numbers rise with the values."""
    top = (np.ascontiguousarray(values).view(np.int64) >> _DROPPED_BITS).astype(np.int32)
    magnitude = top & (_ZERO - 1)
    magnitude[magnitude < _LEAST_BIN] = 0
    np.negative(magnitude, out=magnitude, where=top < 0)
    return magnitude


def _middles(bins: Ints) -> Floats:
    """The number in the middle of each bin."""
    middle = ((np.abs(bins) << _DROPPED_BITS) | _MIDDLE).view(np.float64)
    return np.where(bins == 0, 0.0, np.copysign(middle, bins))
