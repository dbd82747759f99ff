"""The open windows of one length, and the cells in them."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from gateway.core.cells import NumberCells, number_cells
from gateway.core.closing import Part
from gateway.core.cutting import Key, Rows, Table, cut_rows, cut_tables, joined
from gateway.core.readings import INT64_MAX
from gateway.core.sequences import SequenceCell, sequence_cells


class Level:
    """Windows of `length` ns. feeder: the longest shorter length that divides it, if there is one.

    The cells of a shorter window come in when it closes.
    """

    def __init__(self, name: str, length: int, feeder: int | None) -> None:
        self.name, self.length, self.feeder = name, length, feeder
        self._numbers = NumberCells()
        self._others: dict[Key, SequenceCell] = {}

    def __len__(self) -> int:
        return len(self._numbers) + len(self._others)

    def start(self, t: int) -> int:
        """Start of the window in which `t` lies (ns)."""
        return t // self.length * self.length

    def fold(self, tables: Sequence[Table], rows: Sequence[Rows], watermark: int) -> None:
        """Take in readings of windows that are open, but for those that come from shorter ones.

        Rows are of numbers, then of others; no series is in a table and in rows.
        """
        since = self.start(watermark)
        until = INT64_MAX if self.feeder is None else watermark // self.feeder * self.feeder
        if until <= since:
            return
        numbers, others = (some.between(since, until) for some in rows)
        inside = [part for table in tables if (part := table.between(since, until)) is not None]
        cells = joined(cut_tables(inside, self.length), cut_rows(numbers, self.length))
        if len(cells.t0):
            self._numbers.merge(number_cells(cells))
        self._merge(sequence_cells(others, self.length))

    def feed(self, part: Part) -> None:
        """Take in the cells of shorter windows, which keep them."""
        for numbers in part.numbers.wider(self.length):
            self._numbers.merge(numbers)
        self._merge(((self.start(t0), series), cell.copy()) for (t0, series), cell in part.others)

    def _merge(self, others: Iterable[tuple[Key, SequenceCell]]) -> None:
        for key, cell in others:
            if key in self._others:
                self._others[key].merge(cell)
            else:
                self._others[key] = cell

    def pop_before(self, start: int) -> Part:
        """Take out the cells of windows that begin before `start` (ns)."""
        gone = self._numbers.known.t0 < start
        return self._pop(gone, [key for key in self._others if key[0] < start])

    def pop_after(self, start: int) -> Part:
        """Take out the cells of windows that begin after `start` (ns)."""
        gone = self._numbers.known.t0 > start
        return self._pop(gone, [key for key in self._others if key[0] > start])

    def _pop(self, gone: NDArray[np.bool_], others: Sequence[Key]) -> Part:
        numbers = NumberCells()
        if gone.any():
            numbers, rest = (self._numbers.part(np.flatnonzero(some)) for some in (gone, ~gone))
            self._numbers = rest
        return Part(
            self.name, self.length, numbers, [(key, self._others.pop(key)) for key in others]
        )
