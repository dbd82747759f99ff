"""What a series amounts to in a window: cells that can be merged, and their summaries.

`merge` takes cells whose readings arrived later; of readings with the same time the one that
arrived first counts as the earlier.

Numbers are held column by column, for all cells at once: a gateway has ten thousands of them.
"""

from collections.abc import Iterator
from itertools import repeat
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from gateway.core.cutting import Cells, Key
from gateway.core.facts import RevisionDue, SummaryMade
from gateway.core.quantiles import EXACT, Digests, Runs
from gateway.core.readings import NS_PER_MS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Statistics(NamedTuple):
    """What is known of cells, one place in each column for each of them.

    t0: start of the window. `std` is the population's. All times in ns UTC.
    """

    t0: Ints
    series: Ints
    mean: Floats
    std: Floats
    min: Floats
    max: Floats
    t_first: Ints
    first: Floats
    t_last: Ints
    last: Floats

    def at(self, places: Any) -> "Statistics":
        return Statistics(*(column[places] for column in self))

    def __add__(self, other: "Statistics") -> "Statistics":  # type: ignore[override]
        return Statistics(*(np.concatenate(both) for both in zip(self, other, strict=True)))


_I, _F = np.empty(0, np.int64), np.empty(0)
_NONE = Statistics(_I, _I, _F, _F, _F, _F, _I, _F, _I, _F)


class NumberCells:
    """Numbers of series in windows of one length."""

    def __init__(self, known: Statistics = _NONE, digests: Digests | None = None) -> None:
        """`known` and `digests` are taken over."""
        self.known = known
        self.digests = Digests() if digests is None else digests
        self._places: dict[Key, int] | None = None

    def __len__(self) -> int:
        return len(self.known.t0)

    def part(self, places: Ints) -> Self:
        """These cells only; independent of the others."""
        return type(self)(self.known.at(places), self.digests.part(places))

    def merge(self, later: Self) -> None:
        """Add cells whose readings arrived after those of these; none of `later` comes twice."""
        places = self._find(later.known)
        size, n, more = len(self), self.digests.n, later.digests.n
        there = places < size
        if not there.all():
            self.known = self.known + later.known.at(~there)
            self.digests.grow(len(self) - size)
        if there.any():
            at = places[there]
            both = _merged(self.known.at(at), n[at], later.known.at(there), more[there])
            for column, found in zip(self.known, both, strict=True):
                column[at] = found
        self.digests.merge(later.digests, places)

    def _find(self, wanted: Statistics) -> Ints:
        """Where these cells are; new ones follow at the end."""
        if self._places is None:
            here = zip(self.known.t0.tolist(), self.known.series.tolist(), strict=True)
            self._places = {key: place for place, key in enumerate(here)}
        keys = zip(wanted.t0.tolist(), wanted.series.tolist(), strict=True)
        known = self._places
        return np.array([known.setdefault(key, len(known)) for key in keys], np.int64)

    def wider(self, length: int) -> Iterator["NumberCells"]:
        """These as cells of windows of `length` ns: each series and window once in each part."""
        t0 = self.known.t0 // length * length
        order = np.lexsort((self.known.t0, self.known.series, t0))
        turn = _turns(t0[order], self.known.series[order])
        for number in range(int(turn.max(initial=-1)) + 1):
            places = order[turn == number]
            known = self.known.at(places)._replace(t0=t0[places])
            yield NumberCells(known, self.digests.part(places))

    def arrange(self) -> None:
        """Prepare for `summaries`: nothing is merged any more."""
        self.digests.arrange()

    def summaries(
        self, places: Ints, *, window: str, length: int
    ) -> Iterator[SummaryMade | RevisionDue]:
        """Summaries of these cells, or that one must be made from disk. length: in ns."""
        some = self.known.at(places)
        p50, p95 = np.clip(self.digests.percentiles(places, 50, 95), some.min, some.max)
        columns = (
            some.t0 // NS_PER_MS,
            (some.t0 + length) // NS_PER_MS,
            self.digests.n[places],
            np.clip(some.mean, some.min, some.max),
            *(some.min, some.max, some.std, p50, p95, some.first, some.last),
        )
        made = map(
            SummaryMade,
            *(some.series.tolist(), repeat(window), *(column.tolist() for column in columns)),
            *(repeat(None), repeat(1)),
        )
        for one in made:
            unknown = one.p50 != one.p50  # it is NaN
            yield RevisionDue(window, one.t0, one.series) if unknown else one


def _turns(t0: Ints, series: Ints) -> Ints:
    """How many of the same stand before each; equal ones follow one another."""
    other = np.ones(len(t0), np.bool_)
    other[1:] = (t0[1:] != t0[:-1]) | (series[1:] != series[:-1])
    starts = np.flatnonzero(other)
    return np.arange(len(t0)) - np.repeat(starts, np.diff(np.append(starts, len(t0))))


def _merged(mine: Statistics, n: Ints, later: Statistics, more: Ints) -> Statistics:
    """Cells with n readings and the same cells with `more` that came later, place by place."""
    total = n + more
    here, share = n / total, more / total
    half = later.mean / 2 - mine.mean / 2  # the whole difference may overflow
    apart = half * (2 * np.sqrt(here * share))
    sooner, latest = later.t_first < mine.t_first, later.t_last >= mine.t_last
    return Statistics(
        t0=mine.t0,
        series=mine.series,
        mean=mine.mean + share * half + share * half,
        std=np.hypot(np.hypot(mine.std * np.sqrt(here), later.std * np.sqrt(share)), apart),
        min=np.minimum(mine.min, later.min),
        max=np.maximum(mine.max, later.max),
        t_first=np.where(sooner, later.t_first, mine.t_first),
        first=np.where(sooner, later.first, mine.first),
        t_last=np.where(latest, later.t_last, mine.t_last),
        last=np.where(latest, later.last, mine.last),
    )


def number_cells(cells: Cells, *, exact: int = EXACT) -> NumberCells:
    """What readings amount to; no two cells may be of the same series and window."""
    mean, std, least, most = _figures(cells.v, cells.counts)
    known = Statistics(
        t0=cells.t0,
        series=cells.series,
        mean=mean,
        std=std,
        min=least,
        max=most,
        t_first=cells.t_first,
        first=cells.first,
        t_last=cells.t_last,
        last=cells.last,
    )
    digests = Digests(len(cells.t0), exact=exact)
    digests.add(Runs(np.arange(len(cells.t0)), cells.counts, cells.v))
    return NumberCells(known, digests)


def _figures(v: Floats, n: Ints) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean, population std, least and greatest of each run of `n` values.

    Deviations are from the middle of the run, and scaled to at most a half before they are
    squared. All is halved, so that no difference or sum overflows.
    """
    starts = np.cumsum(n) - n
    least, most = np.minimum.reduceat(v, starts), np.maximum.reduceat(v, starts)
    low, high = least / 2, most / 2
    middle, scale = low / 2 + high / 2, high - low
    z = v / 2
    z -= np.repeat(middle, n)
    z /= np.repeat(np.where(scale == 0, 1, scale), n)
    off = np.add.reduceat(z, starts) / n
    z *= z
    squares = np.add.reduceat(z, starts) / n
    mean = np.clip(middle + off * scale, low, high) * 2
    std = scale * np.sqrt(np.maximum(squares - off * off, 0)) * 2
    return mean, std, least, most
