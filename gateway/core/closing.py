"""Windows that are closed, and wait for their summaries to be told: some at a time.

Ten thousand summaries at once would hold up everything else.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.core.cells import NumberCells
from gateway.core.cutting import Key
from gateway.core.facts import RevisionDue, SummaryMade
from gateway.core.readings import NS_PER_MS, distinct
from gateway.core.sequences import SequenceCell

Told = Mapping[tuple[str, int], SummaryMade]
"""The newest summary of a window and series, if it was told before the start."""


class Closed(NamedTuple):
    """What is told now, each in order of end, length and series.

    `from_disk`: closed cells that memory could not hold exactly, and those of which something else
    may have been told before the start; `summarise` must make them.
    """

    summaries: list[SummaryMade]
    from_disk: list[RevisionDue]


class Part(NamedTuple):
    """The closed cells of one length (ns) of window; others with their start (ns) and series."""

    window: str
    length: int
    numbers: NumberCells
    others: Sequence[tuple[Key, SequenceCell]]

    def places(self) -> NDArray[np.int64]:
        """Start and series of each cell, shape (2, cells): numbers first."""
        known = self.numbers.known
        others = np.array([key for key, _ in self.others], np.int64).reshape(-1, 2)
        return np.concatenate(((known.t0, known.series), others.T), axis=1)

    def cells(self) -> Iterator[Key]:
        """Start (ns) and series of each cell."""
        return zip(*self.places().tolist(), strict=True)

    def exact(self) -> Iterator[SummaryMade]:
        """The summaries of all cells, none of which needs the disk."""
        self.numbers.arrange()
        made = self.summaries(np.arange(self.places().shape[1]))
        return (one for one in made if isinstance(one, SummaryMade))

    def summaries(self, places: NDArray[np.int64]) -> Iterator[SummaryMade | RevisionDue]:
        """Those of the cells at these places."""
        size = len(self.numbers)
        some = places[places < size]
        made = iter(self.numbers.summaries(some, window=self.window, length=self.length))
        for place in places.tolist():
            yield next(made) if place < size else self._other(*self.others[place - size])

    def _other(self, key: Key, cell: SequenceCell) -> SummaryMade | RevisionDue:
        (t0, series), window = key, self.window
        start, end = t0 // NS_PER_MS, (t0 + self.length) // NS_PER_MS
        made = cell.summary(series=series, window=window, t0=start, t1=end)
        return RevisionDue(window, start, series) if made is None else made


@dataclass(slots=True)
class _Batch:
    """What one move of the watermark (ns) closed; `order` of its cells: part, place in it."""

    watermark: int
    parts: Sequence[Part]
    order: NDArray[np.int64]


class Closing:
    """The cells of closed windows, first come, first told."""

    def __init__(self, watermark: int, told: Told) -> None:
        """told: what of the windows that end after `watermark` (ns) was told before the start."""
        self.settled = watermark
        """All windows that end until then (ns) are told."""
        self._told = told
        self._batches: deque[_Batch] = deque()

    def __bool__(self) -> bool:
        """Whether something waits."""
        return bool(self._batches)

    def add(self, parts: Sequence[Part], watermark: int) -> None:
        """What was closed when the watermark moved to `watermark` (ns)."""
        for part in parts:
            part.numbers.arrange()
        order = _order(parts)
        if order.shape[1]:
            self._batches.append(_Batch(watermark, parts, order))
        else:
            self.moved(watermark)

    def moved(self, watermark: int) -> None:
        """The watermark moved (ns), and closed nothing."""
        if not self._batches:
            self.settled = watermark

    def take(self, most: int | None) -> Closed:
        """The next cells, at most so many; the rest of a batch waits for the next time."""
        found = Closed([], [])
        while self._batches and most != 0:
            batch = self._batches[0]
            now, batch.order = np.split(batch.order, [most or batch.order.shape[1]], axis=1)
            most = None if most is None else most - now.shape[1]
            for cell in _told(batch.parts, now):
                self._tell(cell, found)
            if not batch.order.shape[1]:
                self.settled = self._batches.popleft().watermark
        return found

    def _tell(self, cell: SummaryMade | RevisionDue, found: Closed) -> None:
        """What was told before the start may have had readings since then."""
        before = self._told.get((cell.window, cell.series))
        if before is not None and cell.t0 <= before.t0:
            if cell.t0 < before.t0 or not isinstance(cell, SummaryMade) or cell.n != before.n:
                found.from_disk.append(RevisionDue(cell.window, cell.t0, cell.series))
        elif isinstance(cell, SummaryMade):
            found.summaries.append(cell)
        else:
            found.from_disk.append(cell)


def _told(parts: Sequence[Part], order: NDArray[np.int64]) -> list[SummaryMade | RevisionDue]:
    """The summaries of these cells (part, place), in this order."""
    found: dict[int, SummaryMade | RevisionDue] = {}
    for number in distinct(order[0]):
        where = np.flatnonzero(order[0] == number)
        found.update(zip(where.tolist(), parts[number].summaries(order[1, where]), strict=True))
    return [found[at] for at in range(len(found))]


def _order(parts: Sequence[Part]) -> NDArray[np.int64]:
    """All cells (part, place) by end, length and series; shape (2, cells)."""
    every = [part.places() for part in parts]
    sizes = [places.shape[1] for places in every]
    t0, series = np.concatenate(every, axis=1)
    length = np.repeat([part.length for part in parts], sizes)
    number = np.repeat(np.arange(len(parts)), sizes)
    place = np.concatenate([np.arange(size) for size in sizes])
    order = np.lexsort((series, length, t0 + length))
    return np.stack((number, place))[:, order]
