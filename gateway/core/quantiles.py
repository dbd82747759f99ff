"""Quantiles of many numbers in bounded memory, the same whatever the order of arrival.

Up to `exact` numbers are kept as they are. Beyond that they are counted in bins made of the top
bits of the double itself: sign, exponent and 7 bits of the mantissa, so that a bin is at most
2**-7 of its magnitude wide, and its middle at most 2**-8 (0.4 %) off. Magnitudes below 2**-1022
share the bin of zero.
"""

from array import array
from typing import Self

import numpy as np
from numpy.typing import NDArray

EXACT = 1024
"""Numbers that are kept as they are, and then put into the bins together."""
MAX_BINS = 8192
"""Bins of one digest: noise around zero of 10**8 numbers takes about 6,500."""
NARROW = 4096
"""Bins that lie so close are counted without sorting them."""
RELATIVE_ERROR = 2.0**-8

_DROPPED_BITS = 52 - 7
_LEAST_BIN = 1 << 7
_MIDDLE = 1 << (_DROPPED_BITS - 1)
_NONE = np.empty(0, np.int64)


def rank(percent: int, n: int) -> int:
    """Place (from 1) of a percentile among n sorted values by the nearest-rank rule."""
    return max(1, -(-percent * n // 100))


class Digest:
    """A mergeable digest of float64 numbers.

    Once the numbers need more than `MAX_BINS` bins the digest knows nothing any more.
    """

    __slots__ = ("_counts", "_exact", "_keys", "_loose", "_overfull")

    def __init__(self, values: "array[float]", *, exact: int = EXACT) -> None:
        """Takes over `values` (type code "d")."""
        self._exact = exact
        self._loose = values
        self._keys = self._counts = _NONE
        self._overfull = False
        self._settle()

    def copy(self) -> Self:
        """An independent digest of the same numbers."""
        twin = type(self)(array("d"), exact=self._exact)
        twin.merge(self)
        return twin

    def merge(self, other: Self) -> None:
        """Count the numbers of `other` too; `other` stays as it is."""
        self._loose.extend(other._loose)
        self._overfull = self._overfull or other._overfull
        if len(other._keys):
            self._count(other._keys, other._counts)
        self._settle()

    def percentiles(self, *percents: int) -> list[float] | None:
        """Nearest-rank percentiles: exact up to `exact` numbers, then within RELATIVE_ERROR.

        None if there were too many bins.
        """
        if not self._overfull and not len(self._keys):
            ordered = np.sort(np.frombuffer(self._loose))
            return [float(ordered[rank(percent, len(ordered)) - 1]) for percent in percents]
        self._count_loose()
        if self._overfull:
            return None
        upto = np.cumsum(self._counts)
        places = [rank(percent, int(upto[-1])) for percent in percents]
        return [float(middle) for middle in _middles(self._keys[np.searchsorted(upto, places)])]

    def _settle(self) -> None:
        if len(self._loose) > self._exact:
            self._count_loose()

    def _count_loose(self) -> None:
        if len(self._loose):
            keys, counts = _tally(_bins(np.frombuffer(self._loose)))
            self._loose = array("d")
            self._count(keys, counts)

    def _count(self, keys: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        if not self._overfull:
            both = np.concatenate((self._keys, keys))
            self._keys, place = np.unique(both, return_inverse=True)
            sums = np.zeros(len(self._keys), np.int64)
            np.add.at(sums, place, np.concatenate((self._counts, counts)))
            self._counts = sums
            self._overfull = len(self._keys) > MAX_BINS
        if self._overfull:
            self._keys = self._counts = _NONE


def _tally(bins: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which bins there are, in order, and how often; at least one."""
    low = int(bins.min())
    if int(bins.max()) - low >= NARROW:
        return np.unique(bins, return_counts=True)
    counts = np.bincount(bins - low)
    found = np.flatnonzero(counts)
    return found + low, counts[found]


def _bins(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number of the bin of each value; numbers rise with the values."""
    magnitude = np.abs(values).view(np.int64) >> _DROPPED_BITS
    magnitude[magnitude < _LEAST_BIN] = 0
    return np.where(values < 0, -magnitude, magnitude)


def _middles(keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """The number in the middle of each bin."""
    middle = ((np.abs(keys) << _DROPPED_BITS) | _MIDDLE).view(np.float64)
    return np.where(keys == 0, 0.0, np.copysign(middle, keys))
