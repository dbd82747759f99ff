"""Tumbling windows, aligned to the Unix epoch and closed by the gateway's clock.

A reading goes into the shortest open window only; when that closes, its cell is merged into the
next longer window that it divides, and so on. A window that no shorter one divides takes its
readings itself, and so does one whose shorter windows are already closed at a reading's time.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import add, itemgetter
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from gateway.core.cells import Cell, number_cells, sequence_cells
from gateway.core.facts import RevisionDue, SummaryMade
from gateway.core.readings import INT64_MAX, NS_PER_MS, NS_PER_S, Kind
from gateway.errors import ConfigError

SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
ENOUGH = 32_768
"""So many readings are folded at once; fewer when a window closes."""
MAX_SECONDS = 36_500 * SECONDS["d"]

Readings = tuple[int, Kind, NDArray[np.int64], NDArray[Any]]
"""One series of a commit group: its row id, its kind, times in ns UTC and values, as arrived."""


@dataclass(frozen=True, slots=True)
class Window:
    """A window length in ns and its name, as configured ("10s")."""

    name: str
    length: int

    def start(self, t: int) -> int:
        """Start of the window in which `t` lies (ns)."""
        return t // self.length * self.length


def parse_window(text: str) -> Window:
    """A whole number of s, m, h or d, such as "10s". Raises ConfigError."""
    match = re.fullmatch(r"([1-9][0-9]{0,9})([smhd])", text)
    if match is None:
        problem = f"{text!r} is not a window: a whole number from 1 and s, m, h or d, as in '10s'"
        raise ConfigError("summaries.windows", problem)
    seconds = int(match[1]) * SECONDS[match[2]]
    if seconds > MAX_SECONDS:
        raise ConfigError("summaries.windows", f"{text!r} is longer than 36500d")
    return Window(text, seconds * NS_PER_S)


class Closed(NamedTuple):
    """What `Windows.close` found, each in order of end, length and series.

    `from_disk`: closed cells that memory could not hold exactly; `summarise` must make them.
    """

    summaries: list[SummaryMade]
    from_disk: list[RevisionDue]


@dataclass(slots=True)
class _Level:
    """The open windows of one length: cells by start (ns) and series."""

    window: Window
    feeder: Window | None
    """The longest shorter window that divides this one."""
    cells: dict[int, dict[int, Cell]] = field(default_factory=dict)

    def add(self, t0: int, series: int, cell: Cell) -> None:
        cells = self.cells.setdefault(t0, {})
        if series in cells:
            cells[series].merge(cell)
        else:
            cells[series] = cell

    def pop_before(self, start: int) -> Iterator[tuple[int, int, Cell]]:
        """Take out what lies before `start`: (t0, series, cell)."""
        for t0 in [t0 for t0 in self.cells if t0 < start]:
            for series, cell in self.cells.pop(t0).items():
                yield t0, series, cell


class _Rows(NamedTuple):
    """Readings of many series, sorted by series, time and arrival."""

    series: NDArray[np.int64]
    t: NDArray[np.int64]
    v: NDArray[Any]

    def between(self, since: int, until: int | None) -> Self:
        """The readings with since <= t < until (ns; None: without end)."""
        inside = self.t >= since
        if until is not None:
            inside &= self.t < until
        return self if inside.all() else type(self)(*(column[inside] for column in self))


class Windows:
    """All open windows. A window [t0, t1) is closed once t1 <= `watermark` (ns UTC)."""

    def __init__(self, lengths: Sequence[Window], lateness: int, watermark: int) -> None:
        """`lateness` in ns; `watermark` as it was last stored (it never moves back)."""
        self.watermark = watermark
        self._lateness = lateness
        self._levels = [
            _Level(window, _feeder(window, lengths))
            for window in sorted(lengths, key=lambda window: window.length)
        ]
        self._mark = self._marked()
        self._closed_until, self._next = max(self._mark, default=0), self._closing()
        self._waiting: list[Readings] = []
        self._count = 0
        self._until = 0

    def is_closed(self, t: int) -> bool:
        """Whether a window of any length is closed at `t` (ns UTC)."""
        return t < self._closed_until

    def late(self, series: int, t: NDArray[np.int64]) -> set[RevisionDue]:
        """The closed windows that these readings (ns UTC) of `series` fall into."""
        found: set[RevisionDue] = set()
        if not len(t) or t.min() >= self._closed_until:
            return found
        for level in self._levels:
            window = level.window
            late = t[t < window.start(self.watermark)]
            found.update(
                RevisionDue(window.name, place * window.length // NS_PER_MS, series)
                for place in np.unique(late // window.length).tolist()
            )
        return found

    def fold(self, group: Sequence[Readings], *, until: int | None = None) -> None:
        """Take in the readings of one commit group, in order of arrival, none later than `until`.

        For each length the readings of closed windows are left out: `late` names those windows.
        Several groups are folded together, before any window closes: many at once cost less.
        """
        if until is None:
            until = max((int(t.max()) for _, _, t, _ in group if len(t)), default=0)
        self._until = max(self._until, until)
        self._waiting += group
        self._count += sum(len(t) for _, _, t, _ in group)
        if self._count >= ENOUGH:
            self._fold_all()

    def _fold_all(self) -> None:
        filled = [readings for readings in self._waiting if len(readings[2])]
        self._waiting, self._count, self._until = [], 0, 0
        numbers = [readings for readings in filled if readings[1] == Kind.NUMBER]
        others = [readings for readings in filled if readings[1] != Kind.NUMBER]
        if numbers:
            self._fold(_sorted(numbers, np.float64), number_cells)
        if others:
            self._fold(_sorted(others, np.object_), sequence_cells)

    def close(self, now: int) -> Closed:
        """Move the watermark to `now` - lateness (ns UTC) and take out what that closes."""
        watermark = max(self.watermark, now - self._lateness)
        if watermark >= self._next:
            self._fold_all()  # by the marks that held when they were taken
        self.watermark = watermark
        if watermark < self._next:
            return Closed([], [])
        self._mark = self._marked()
        self._closed_until, self._next = max(self._mark, default=0), self._closing()
        found: list[tuple[int, Window, int, SummaryMade | None]] = []
        for level in self._levels:
            window = level.window
            fed = [other for other in self._levels if other.feeder == window]
            for t0, series, cell in level.pop_before(window.start(self.watermark)):
                found.append((t0, window, series, _summary(cell, series, window=window, t0=t0)))
                for longer in fed:  # the last may keep the cell itself
                    given = cell if longer is fed[-1] else cell.copy()
                    longer.add(longer.window.start(t0), series, given)
        found.sort(key=lambda item: (item[0] + item[1].length, item[1].length, item[2]))
        return Closed(
            summaries=[summary for *_, summary in found if summary is not None],
            from_disk=[
                RevisionDue(window.name, t0 // NS_PER_MS, series)
                for t0, window, series, summary in found
                if summary is None
            ],
        )

    def shed(self, latest: int) -> set[RevisionDue]:
        """Give up the windows that begin after `latest` (ns UTC): they, and the longer ones
        that miss them now, must be made from disk.

        Readings of the far future come while nobody knows the time, or before it goes back. They
        would hold memory until then.
        """
        found: set[RevisionDue] = set()
        if self._until > latest:
            self._fold_all()
        for level in self._levels:
            for t0 in [t0 for t0 in level.cells if t0 > latest]:
                for series in level.cells.pop(t0):
                    found.update(self._around(t0, level.window, series))
        return found

    def _around(self, t0: int, window: Window, series: int) -> Iterator[RevisionDue]:
        for level in self._levels:
            longer = level.window
            if longer.length >= window.length:
                yield RevisionDue(longer.name, longer.start(t0) // NS_PER_MS, series)

    def mark(self) -> tuple[int, ...]:
        """Where each length's closed windows end (ns); it changes whenever a window can close."""
        return self._mark

    def _marked(self) -> tuple[int, ...]:
        return tuple(level.window.start(self.watermark) for level in self._levels)

    def _closing(self) -> int:
        """The watermark at which the next window closes (ns)."""
        lengths = [level.window.length for level in self._levels]
        return min(map(add, self._mark, lengths), default=INT64_MAX)

    @property
    def held(self) -> int:
        """How many cells are open: what memory depends on."""
        self._fold_all()
        return sum(len(cells) for level in self._levels for cells in level.cells.values())

    def open_since(self) -> int:
        """Where the oldest window that is not closed begins (ns).

        Folding all readings from there on again, with the same watermark, gives the same cells.
        """
        return min(self.mark())

    def _fold(self, rows: _Rows, build: Callable[..., Sequence[Cell]]) -> None:
        oldest = int(rows.t.min())
        for level in self._levels:
            window, feeder = level.window, level.feeder
            until = None if feeder is None else feeder.start(self.watermark)
            if until is None or oldest < until:
                direct = rows.between(window.start(self.watermark), until)
                for place, series, cell in _cells(direct, window.length, build):
                    level.add(place * window.length, series, cell)


def summarise(
    kind: Kind,
    t: NDArray[np.int64],
    v: NDArray[Any],
    *,
    series: int,
    window: Window,
    t0: int,
) -> SummaryMade | None:
    """Summary of the window that starts at `t0` (ns UTC), exact whatever the number of readings.

    t (ns UTC) and v are readings of one series in order of arrival; those outside the window are
    left out. None if no reading is left. `rev` is 1.
    """
    dtype = np.float64 if kind == Kind.NUMBER else np.object_
    rows = _sorted([(series, kind, t, v)], dtype).between(t0, t0 + window.length)
    n = len(rows.t)
    if not n:
        return None
    starts = np.zeros(1, np.intp)
    cells: Sequence[Cell]
    if kind == Kind.NUMBER:
        cells = number_cells(rows.t, rows.v, starts, exact=n)
    else:
        cells = sequence_cells(rows.t, rows.v, starts, limit=n)
    return _summary(cells[0], series, window=window, t0=t0)


def _feeder(window: Window, lengths: Sequence[Window]) -> Window | None:
    divisors = [
        other
        for other in lengths
        if other.length < window.length and window.length % other.length == 0
    ]
    return max(divisors, key=lambda other: other.length, default=None)


def _summary(cell: Cell, series: int, *, window: Window, t0: int) -> SummaryMade | None:
    t1 = t0 + window.length
    return cell.summary(series=series, window=window.name, t0=t0 // NS_PER_MS, t1=t1 // NS_PER_MS)


def _sorted(group: Sequence[Readings], dtype: Any) -> _Rows:
    """At least one series; `dtype` is that of the values."""
    group = sorted(group, key=itemgetter(0))
    series = np.repeat([one for one, *_ in group], [len(t) for _, _, t, _ in group])
    t = np.concatenate([t for _, _, t, _ in group])
    v = np.concatenate([v.astype(dtype, copy=False) for *_, v in group])
    if not ((t[1:] < t[:-1]) & (series[1:] == series[:-1])).any():  # as it is most often
        return _Rows(series, t, v)
    order = np.lexsort((t, series))
    return _Rows(series[order], t[order], v[order])


def _cells(
    rows: _Rows, length: int, build: Callable[..., Sequence[Cell]]
) -> Iterator[tuple[int, int, Cell]]:
    """A cell per series and window of `length` ns: (t0 / length, series, cell)."""
    if len(rows.t):
        place = rows.t // length
        begins = np.ones(len(place), np.bool_)
        begins[1:] = (rows.series[1:] != rows.series[:-1]) | (place[1:] != place[:-1])
        starts = np.flatnonzero(begins)
        cells = build(rows.t, rows.v, starts)
        yield from zip(place[starts].tolist(), rows.series[starts].tolist(), cells, strict=True)
