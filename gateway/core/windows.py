"""Tumbling windows, aligned to the Unix epoch and closed by the gateway's clock.

A reading goes into the shortest open window only; when that closes, its cell is merged into the
next longer window that it divides, and so on. A window that no shorter one divides takes its
readings itself, and so does one whose shorter windows are already closed at a reading's time.
"""

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from operator import add, attrgetter
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.core.cells import NumberCells, number_cells
from gateway.core.closing import Closed, Part, Told
from gateway.core.cutting import Readings, cut_rows, rows
from gateway.core.facts import RevisionDue, SummaryMade
from gateway.core.levels import Level
from gateway.core.readings import INT64_MAX, NS_PER_S, Kind
from gateway.core.sequences import sequence_cells
from gateway.core.shard import Shard
from gateway.errors import ConfigError

SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
SHARD = 256
"""Series that are closed together."""
PANELS = 4096
"""Of so many it is known which shards their series are of."""
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
    """All open windows. A window [t0, t1) is to be closed once t1 <= `watermark` (ns UTC).

    Those of all series end at once, and would hold up everything else if they were closed at once.
    So series are closed shard by shard; for those whose turn has not come the window is still open.
    """

    def __init__(
        self, lengths: Sequence[Window], lateness: int, watermark: int, told: Told = NOTHING
    ) -> None:
        """`lateness` in ns; `watermark` as it was last stored (it never moves back).

        told: which summaries of windows that end after it are stored already.
        """
        self.watermark = watermark
        self._lateness = lateness
        self._lengths = sorted(lengths, key=lambda window: window.length)
        self._told = told
        self._shards: dict[int, Shard] = {}
        self._behind: deque[Shard] = deque()
        self._see()

    def _see(self) -> None:
        """Where windows that are to be closed end, and when that changes (ns)."""
        ends = self._ends(self.watermark)
        self._closed_until = max(ends, default=0)
        lengths = [window.length for window in self._lengths]
        self._next = min(map(add, ends, lengths), default=INT64_MAX)

    def _ends(self, watermark: int) -> tuple[int, ...]:
        return tuple(window.start(watermark) for window in self._lengths)

    def _shard(self, number: int) -> Shard:
        shard = self._shards.get(number)
        if shard is None:
            levels = [
                Level(window.name, window.length, _feeder(window, self._lengths))
                for window in self._lengths
            ]
            shard = self._shards[number] = Shard(levels, self.watermark, self._told)
        return shard

    def is_closed(self, t: int) -> bool:
        """Whether a window of any length may be closed at `t` (ns UTC)."""
        return t < self._closed_until

    def late(self, series: Sequence[int], t: NDArray[np.int64]) -> set[RevisionDue]:
        """The closed windows that readings of these series at `t` (ns UTC) fall into."""
        if not len(t) or not self.is_closed(int(t.min())):
            return set()
        found: set[RevisionDue] = set()
        for number, places in _by_shard(tuple(series)):
            found |= self._shard(number).late(series[places], t)
        return found

    def fold(self, group: Sequence[Readings], *, until: int | None = None) -> None:
        """Take in the readings of one commit group, in order of arrival, none later than `until`.

        For each length the readings of closed windows are left out: `late` names those windows.
        """
        came = 0
        for readings in group:
            if not len(readings.t):
                continue
            came += readings.v.size
            latest = int(readings.t.max()) if until is None else until
            for number, places in _by_shard(readings.series):
                self._shard(number).fold(readings.at(places), latest)
        self._fold_waiting(came)

    def _fold_waiting(self, most: int) -> None:
        """Fold what waits where it is enough: about as much as came, so that no turn is long."""
        enough = [shard for shard in self._shards.values() if shard.enough]
        for shard in sorted(enough, key=attrgetter("waiting"), reverse=True):
            most -= shard.waiting
            shard.fold_all()
            if most <= 0:
                break

    def close(self, now: int, most: int | None = None) -> Closed:
        """Move the watermark to `now` - lateness (ns UTC), and tell of what is closed.

        most: close one shard at most, and tell of so many cells; the rest has to wait for the next
        times. Once all is told `settled` follows.
        """
        self.watermark = max(self.watermark, now - self._lateness)
        if self.watermark >= self._next:
            known = set(self._behind)
            self._behind += (shard for shard in self._shards.values() if shard not in known)
            self._see()
        found = Closed([], [])
        while self._behind:
            shard = self._behind[0]
            if not shard.closing:
                shard.close(self.watermark)
            told = shard.tell(most)
            found.summaries.extend(told.summaries)
            found.from_disk.extend(told.from_disk)
            if not shard.closing:
                self._behind.popleft()
                if shard.is_behind(self.watermark):  # it was closed a window ago
                    self._behind.append(shard)
            if most is not None:
                break
        return found

    @property
    def closing(self) -> bool:
        """Whether there is more to close, or to tell of what is closed."""
        return bool(self._behind)

    @property
    def settled(self) -> int:
        """The watermark (ns) up to which all is closed and told: the one to store."""
        return min((shard.settled for shard in self._behind), default=self.watermark)

    def shed(self, latest: int) -> set[RevisionDue]:
        """Give up the windows that begin after `latest` (ns UTC): they, and the longer ones
        that miss them now, must be made from disk.

        Readings of the far future come while nobody knows the time, or before it goes back. They
        would hold memory until then.
        """
        return set().union(*(shard.shed(latest) for shard in self._shards.values()))

    def mark(self) -> tuple[int, ...]:
        """Where each length's windows that are told end (ns); it changes with every one of them."""
        return self._ends(self.settled)

    @property
    def held(self) -> int:
        """How many cells are open: what memory depends on."""
        return sum(shard.held for shard in self._shards.values())

    def open_since(self) -> int:
        """Where the oldest window begins that is not closed and told (ns).

        Folding all readings from there on again, with `settled`, gives the same cells.
        """
        return min(self.mark())


def _by_shard(series: tuple[int, ...]) -> Sequence[tuple[int, slice]]:
    """Where the series of each shard stand; those of a panel most often stand together."""
    return _cut(series, SHARD) if len(series) > 1 else ((series[0] // SHARD, slice(1)),)


@lru_cache(maxsize=PANELS)
def _cut(series: tuple[int, ...], size: int) -> Sequence[tuple[int, slice]]:
    shards = [number // size for number in series]
    cuts = [0, *(at for at in range(1, len(shards)) if shards[at] != shards[at - 1]), len(shards)]
    return tuple((shards[begin], slice(begin, end)) for begin, end in pairwise(cuts))


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
