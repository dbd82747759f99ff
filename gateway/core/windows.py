"""Tumbling windows, aligned to the Unix epoch and closed by the gateway's clock.

A reading goes into the shortest open window only; when that closes, its cell is merged into the
next longer window that it divides, and so on. A window that no shorter one divides takes its
readings itself, and so does one whose shorter windows are already closed at a reading's time.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from operator import add
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.core.cells import NumberCells, number_cells, sequence_cells
from gateway.core.closing import Closed, Closing, Part, Told
from gateway.core.cutting import Readings, cut_rows, rows, tables
from gateway.core.facts import RevisionDue, SummaryMade
from gateway.core.levels import Level
from gateway.core.readings import INT64_MAX, NS_PER_MS, NS_PER_S, Kind
from gateway.errors import ConfigError

SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
ENOUGH = 32_768
"""So many readings are folded at once; fewer when a window closes."""
MAX_SECONDS = 36_500 * SECONDS["d"]
NOTHING: Told = MappingProxyType({})


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


class Windows:
    """All open windows. A window [t0, t1) is closed once t1 <= `watermark` (ns UTC)."""

    def __init__(
        self, lengths: Sequence[Window], lateness: int, watermark: int, told: Told = NOTHING
    ) -> None:
        """`lateness` in ns; `watermark` as it was last stored (it never moves back).

        told: which summaries of windows that end after it are stored already.
        """
        self.watermark = watermark
        self._lateness = lateness
        self._levels = [
            Level(window.name, window.length, _feeder(window, lengths))
            for window in sorted(lengths, key=lambda window: window.length)
        ]
        self._closing = Closing(watermark, told)
        self._see()
        self._waiting: list[Readings] = []
        self._count = 0
        self._until = 0

    def _see(self) -> None:
        """Where closed windows end, and at which watermark the next one closes (ns)."""
        ends = self._ends(self.watermark)
        self._closed_until = max(ends, default=0)
        lengths = [level.length for level in self._levels]
        self._next = min(map(add, ends, lengths), default=INT64_MAX)

    def _ends(self, watermark: int) -> tuple[int, ...]:
        return tuple(level.start(watermark) for level in self._levels)

    def is_closed(self, t: int) -> bool:
        """Whether a window of any length is closed at `t` (ns UTC)."""
        return t < self._closed_until

    def late(self, series: Sequence[int], t: NDArray[np.int64]) -> set[RevisionDue]:
        """The closed windows that readings of these series at `t` (ns UTC) fall into."""
        found: set[RevisionDue] = set()
        if not len(t) or t.min() >= self._closed_until:
            return found
        for level in self._levels:
            late = t[t < level.start(self.watermark)]
            for place in np.unique(late // level.length).tolist():
                t0 = place * level.length // NS_PER_MS
                found.update(RevisionDue(level.name, t0, number) for number in series)
        return found

    def fold(self, group: Sequence[Readings], *, until: int | None = None) -> None:
        """Take in the readings of one commit group, in order of arrival, none later than `until`.

        For each length the readings of closed windows are left out: `late` names those windows.
        Several groups are folded together, before any window closes: many at once cost less.
        """
        if until is None:
            until = max((int(one.t.max()) for one in group if len(one.t)), default=0)
        self._until = max(self._until, until)
        self._waiting += group
        self._count += sum(one.v.size for one in group)
        if self._count >= ENOUGH:
            self._fold_all()

    def _fold_all(self) -> None:
        filled = [readings for readings in self._waiting if len(readings.t)]
        self._waiting, self._count, self._until = [], 0, 0
        if filled:
            numbers, few = tables([one for one in filled if one.kind == Kind.NUMBER])
            others = [one for one in filled if one.kind != Kind.NUMBER]
            sorted_ = rows(few, np.float64), rows(others, np.object_)
            for level in self._levels:
                level.fold(numbers, sorted_, self.watermark)

    def close(self, now: int, most: int | None = None) -> Closed:
        """Move the watermark to `now` - lateness (ns UTC); tell of what is closed, `most` cells.

        The rest is told the next times, in order. Once all is told `settled` follows.
        """
        watermark = max(self.watermark, now - self._lateness)
        if watermark >= self._next:
            self._fold_all()  # by the marks that held when they were taken
            self.watermark = watermark
            self._close()
            self._see()
        else:
            self.watermark = watermark
            self._closing.moved(watermark)
        return self._closing.take(most)

    def _close(self) -> None:
        parts = []
        for level in self._levels:
            part = level.pop_before(level.start(self.watermark))
            for longer in self._levels:
                if longer.feeder == level.length:
                    longer.feed(part)
            parts.append(part)
        self._closing.add(parts, self.watermark)

    @property
    def closing(self) -> bool:
        """Whether summaries of closed windows wait to be told."""
        return bool(self._closing)

    @property
    def settled(self) -> int:
        """The watermark (ns) up to which all that is closed was told: the one to store."""
        return self._closing.settled

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
            for t0, series in level.pop_after(latest).cells():
                found.update(
                    RevisionDue(longer.name, longer.start(t0) // NS_PER_MS, series)
                    for longer in self._levels
                    if longer.length >= level.length
                )
        return found

    def mark(self) -> tuple[int, ...]:
        """Where each length's windows that are told end (ns); it changes with every one of them."""
        return self._ends(self.settled)

    @property
    def held(self) -> int:
        """How many cells are open: what memory depends on."""
        self._fold_all()
        return sum(map(len, self._levels))

    def open_since(self) -> int:
        """Where the oldest window begins that is not closed and told (ns).

        Folding all readings from there on again, with `settled`, gives the same cells.
        """
        return min(self.mark())


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
    found = rows([Readings((series,), kind, t, v[np.newaxis])], dtype)
    inside = found.between(t0, t0 + window.length)
    numbers, others = NumberCells(), sequence_cells(inside, window.length, limit=len(inside.t))
    if kind == Kind.NUMBER:
        numbers, others = number_cells(cut_rows(inside, window.length), exact=len(inside.t)), []
    whole = Part(window.name, window.length, numbers, others)
    return next(whole.exact(), None)


def _feeder(window: Window, lengths: Sequence[Window]) -> int | None:
    divisors = [
        other.length
        for other in lengths
        if other.length < window.length and window.length % other.length == 0
    ]
    return max(divisors, default=None)
