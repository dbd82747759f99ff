"""The open windows of some series."""

from collections.abc import Sequence
from operator import add

import numpy as np
from numpy.typing import NDArray

from gateway.core.closing import Closed, Closing, Told
from gateway.core.cutting import Readings, rows, tables
from gateway.core.facts import RevisionDue
from gateway.core.levels import Level
from gateway.core.readings import INT64_MAX, NS_PER_MS, Kind, distinct

MOST = 32_768
"""So many readings wait at most: they hold memory."""
ENOUGH = 8_192
EACH = 128
"""From so many on, and so many for each open cell, folding them together is not much cheaper, and
holds up what comes meanwhile."""
ENOUGH_PIECES = 512
EACH_PIECES = 4
"""The same of pieces: a commit brings many of one or two readings where devices wait for it."""


class Shard:
    """Windows that close together. A window [t0, t1) is closed once t1 <= `watermark` (ns UTC)."""

    def __init__(self, levels: Sequence[Level], watermark: int, told: Told) -> None:
        self.watermark = watermark
        self._levels = levels
        self._closing = Closing(watermark, told)
        self._see()
        self._pieces: list[Readings] = []
        self.waiting = 0
        """How many readings wait to be folded."""
        self._until = watermark

    def _see(self) -> None:
        """Where closed windows end, and at which watermark the next one closes (ns)."""
        ends = [level.start(self.watermark) for level in self._levels]
        lengths = [level.length for level in self._levels]
        self._closed_until = max(ends, default=0)
        self._next = min(map(add, ends, lengths), default=INT64_MAX)

    def late(self, series: Sequence[int], t: NDArray[np.int64]) -> set[RevisionDue]:
        """The closed windows that readings of these series at `t` (ns UTC) fall into."""
        found: set[RevisionDue] = set()
        if t.min() >= self._closed_until:
            return found
        for level in self._levels:
            late = t[t < level.start(self.watermark)]
            for place in distinct(late // level.length):
                t0 = place * level.length // NS_PER_MS
                found.update(RevisionDue(level.name, t0, number) for number in series)
        return found

    def fold(self, readings: Readings, until: int) -> None:
        """Take in what arrived, none of it later than `until`.

        For each length the readings of closed windows are left out: `late` names those windows.
        Many are folded together, before any window closes: that costs less.
        """
        self._until = max(self._until, until)
        self._pieces.append(readings)
        self.waiting += readings.v.size
        if self.waiting >= MOST:
            self.fold_all()

    @property
    def enough(self) -> bool:
        """Whether folding what waits is worth it."""
        cells = len(self._levels[0])
        return self.waiting >= max(ENOUGH, EACH * cells) or (
            len(self._pieces) >= max(ENOUGH_PIECES, EACH_PIECES * cells)
        )

    def fold_all(self) -> None:
        """Fold what waits."""
        some, self._pieces, self.waiting = self._pieces, [], 0
        if some:
            numbers, few = tables([one for one in some if one.kind == Kind.NUMBER])
            others = [one for one in some if one.kind != Kind.NUMBER]
            by_time = rows(few, np.float64), rows(others, np.object_)
            for level in self._levels:
                level.fold(numbers, by_time, self.watermark)

    def is_behind(self, watermark: int) -> bool:
        """Whether a window is to be closed by that watermark (ns), and is not yet."""
        return watermark >= self._next

    def close(self, watermark: int) -> None:
        """Move the watermark (ns): what that closes waits to be told."""
        if not self.is_behind(watermark):
            self.watermark = watermark
            self._closing.moved(watermark)
            return
        self.fold_all()  # by the marks that held when they were taken
        self.watermark = watermark
        parts = []
        for level in self._levels:
            part = level.pop_before(level.start(watermark))
            for longer in self._levels:
                if longer.feeder == level.length:
                    longer.feed(part)
            parts.append(part)
        self._closing.add(parts, watermark)
        self._see()

    def tell(self, most: int | None) -> Closed:
        """The next summaries of what is closed, at most so many."""
        return self._closing.take(most)

    @property
    def closing(self) -> bool:
        """Whether something waits to be told."""
        return bool(self._closing)

    @property
    def settled(self) -> int:
        """The watermark (ns) up to which all that is closed was told."""
        return self._closing.settled

    def shed(self, latest: int) -> set[RevisionDue]:
        """Give up the windows that begin after `latest` (ns UTC)."""
        found: set[RevisionDue] = set()
        if self._until <= latest:
            return found
        self.fold_all()
        self._until = latest
        for level in self._levels:
            for t0, series in level.pop_after(latest).cells():
                found.update(
                    RevisionDue(longer.name, longer.start(t0) // NS_PER_MS, series)
                    for longer in self._levels
                    if longer.length >= level.length
                )
        return found

    @property
    def held(self) -> int:
        """How many cells are open."""
        self.fold_all()
        return sum(map(len, self._levels))
