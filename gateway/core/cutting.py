"""Readings cut into cells: those of one series that lie in one window."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from operator import attrgetter
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from gateway.core.readings import INT64_MAX, Kind, Times

FEW = 64
"""Fewer readings of a device are not worth an array of their own."""

Key = tuple[int, int]
"""Of a cell: where its window begins (ns), and its series."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Readings(NamedTuple):
    """Series of a commit group, by row id, that were read at the same times, in order of arrival.

    t: int64 ns UTC, shape (times,). v: shape (series, times).
    """

    series: tuple[int, ...]
    kind: Kind
    t: Ints
    v: NDArray[Any]

    def at(self, places: slice) -> "Readings":
        """Those of the series at some places only."""
        series = self.series[places]
        if len(series) == len(self.series):
            return self
        return self._replace(series=series, v=self.v[places])

    def apart(self) -> Iterator["Readings"]:
        """The same, one series each."""
        if len(self.series) == 1:
            yield self
            return
        for at, series in enumerate(self.series):
            yield self._replace(series=(series,), v=self.v[at : at + 1])


class Cells(NamedTuple):
    """Readings of many cells: `counts` of each, whose values follow one another in `v`.

    t0: where the window begins; the first and the last reading, and their times; in ns UTC.
    """

    t0: Ints
    series: Ints
    counts: Ints
    t_first: Ints
    first: Floats
    t_last: Ints
    last: Floats
    v: Floats


class Table(NamedTuple):
    """Numbers of some series, at least one, in any order.

    first, last: where the earliest and the latest stand, of equal times the first and the last
    that arrived.
    """

    series: tuple[int, ...]
    t: Ints
    v: Floats
    first: int
    last: int

    @classmethod
    def of(cls, series: tuple[int, ...], t: Ints, v: Floats) -> Self:
        return cls(series, t, v, int(t.argmin()), Times.of(t).newest)

    def between(self, since: int, until: int) -> "Table | None":
        """The readings with since <= t < until (ns), or None if there are none."""
        first, last = self.t.item(self.first), self.t.item(self.last)
        if since <= first and last < until:
            return self
        if until <= first or last < since:
            return None
        inside = (self.t >= since) & (self.t < until)
        return Table.of(self.series, self.t[inside], self.v[:, inside]) if inside.any() else None

    def by_window(self, length: int) -> Iterator[tuple[int, "Table"]]:
        """The readings of each window, and where it begins (ns)."""
        first, last = self.t.item(self.first) // length, self.t.item(self.last) // length
        if first == last:
            yield first * length, self
            return
        order = np.argsort(self.t, kind="stable")
        t, v = self.t[order], self.v[:, order]
        places = t // length
        cuts = [0, *(np.flatnonzero(places[1:] != places[:-1]) + 1).tolist(), len(places)]
        for a, b in pairwise(cuts):
            yield places.item(a) * length, Table(self.series, t[a:b], v[:, a:b], 0, b - a - 1)


class Rows(NamedTuple):
    """Readings of many series, sorted by series, time and arrival."""

    series: Ints
    t: Ints
    v: NDArray[Any]

    def between(self, since: int, until: int) -> Self:
        """The readings with since <= t < until (ns)."""
        if not len(self.t):
            return self
        inside = (self.t >= since) & (self.t < until)
        return self if inside.all() else type(self)(*(column[inside] for column in self))

    def starts(self, length: int) -> Ints:
        """Where the readings of each series and window of `length` ns begin."""
        if not len(self.t):
            return _NO_INTS
        place = self.t // length
        other = (self.series[1:] != self.series[:-1]) | (place[1:] != place[:-1])
        return np.flatnonzero(np.append(True, other))


_NO_INTS, _NO_FLOATS = np.empty(0, np.int64), np.empty(0)
_NO_CELLS = Cells(
    *(_NO_INTS, _NO_INTS, _NO_INTS, _NO_INTS, _NO_FLOATS, _NO_INTS, _NO_FLOATS, _NO_FLOATS)
)


def tables(group: Sequence[Readings]) -> tuple[list[Table], list[Readings]]:
    """Numbers in tables, one for all readings of the same series; and what is too little for one.

    Each series is in one table only, or in none.
    """
    alike = _alike(group)
    if sum(map(len, alike)) > len(set().union(*alike)):
        often = Counter(chain.from_iterable(alike))
        mixed = {series for series in alike if any(often[one] > 1 for one in series)}
        alike = _alike(
            one
            for readings in group
            for one in (readings.apart() if readings.series in mixed else (readings,))
        )
    found, rest = [], []
    for series, some in alike.items():
        if sum(readings.v.size for readings in some) >= FEW:
            found.append(_table(series, some))
        else:
            rest += some
    return found, rest


def _alike(group: Iterable[Readings]) -> dict[tuple[int, ...], list[Readings]]:
    found: dict[tuple[int, ...], list[Readings]] = {}
    for readings in group:
        found.setdefault(readings.series, []).append(readings)
    return found


def _table(series: tuple[int, ...], some: Sequence[Readings]) -> Table:
    if len(some) == 1:
        return Table.of(series, some[0].t, some[0].v.astype(np.float64, copy=False))
    t = np.concatenate([readings.t for readings in some])
    v = np.concatenate([readings.v for readings in some], axis=1, dtype=np.float64)
    return Table.of(series, t, v)


def rows(group: Iterable[Readings], dtype: Any) -> Rows:
    """`dtype`: of the values."""
    single = [one for readings in group for one in readings.apart()]
    if not single:
        return Rows(_NO_INTS, _NO_INTS, np.empty(0, dtype))
    single.sort(key=attrgetter("series"))
    series = np.repeat([one.series[0] for one in single], [len(one.t) for one in single])
    t = np.concatenate([one.t for one in single])
    v = np.concatenate([one.v[0].astype(dtype, copy=False) for one in single])
    if not ((t[1:] < t[:-1]) & (series[1:] == series[:-1])).any():  # as it is most often
        return Rows(series, t, v)
    order = order_of(series, t)
    return Rows(series[order], t[order], v[order])


def order_of(series: Ints, t: Ints) -> NDArray[np.intp]:
    """The order by series, time and arrival; one sort of both in a key takes a third of two."""
    first, span = int(t.min()), int(t.max()) - int(t.min()) + 1
    if (int(series.max()) + 1) * span > INT64_MAX:
        return np.lexsort((t, series))
    return np.argsort(series * span + (t - first), kind="stable")


def cut_rows(some: Rows, length: int) -> Cells:
    """A cell for each series and window of `length` ns."""
    if not len(some.t):
        return _NO_CELLS
    starts = some.starts(length)
    ends = np.append(starts[1:], len(some.t))[: len(starts)]
    t, last = some.t[starts], ends - 1
    return Cells(
        t0=t // length * length,
        series=some.series[starts],
        counts=ends - starts,
        t_first=t,
        first=some.v[starts],
        t_last=some.t[last],
        last=some.v[last],
        v=some.v,
    )


def cut_tables(some: Iterable[Table], length: int) -> Cells:
    """A cell for each series and window of `length` ns."""
    parts = [part for table in some for part in table.by_window(length)]
    if not parts:
        return _NO_CELLS
    each = np.array(
        [
            (t0, len(table.t), table.t.item(table.first), table.t.item(table.last))
            for t0, table in parts
        ],
        np.int64,
    )
    t0, counts, t_first, t_last = each.repeat([len(table.series) for _, table in parts], axis=0).T
    return Cells(
        t0=t0,
        series=np.array([series for _, table in parts for series in table.series], np.int64),
        counts=counts,
        t_first=t_first,
        first=np.concatenate([table.v[:, table.first] for _, table in parts]),
        t_last=t_last,
        last=np.concatenate([table.v[:, table.last] for _, table in parts]),
        v=np.concatenate([table.v.ravel() for _, table in parts]),
    )


def joined(one: Cells, other: Cells) -> Cells:
    """The cells of both."""
    if not len(one.t0) or not len(other.t0):
        return other if len(other.t0) else one
    return Cells(*(np.concatenate(both) for both in zip(one, other, strict=True)))
