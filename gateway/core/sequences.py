"""What booleans or texts of a series amount to in a window."""

from array import array
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np

from gateway.core.cutting import Key, Rows
from gateway.core.facts import SummaryMade

MAX_SEQUENCE = 4096
"""Booleans or texts of one cell that are kept; a cell with more is summarised from disk."""


@dataclass(slots=True)
class SequenceCell:
    """Booleans or texts: all of them up to `limit`, since a late one may split any run."""

    n: int
    t: "array[int]"
    v: list[Any]
    limit: int = MAX_SEQUENCE

    def __post_init__(self) -> None:
        self._bound()

    def merge(self, later: Self) -> None:
        self.n += later.n
        self.t.extend(later.t)
        self.v.extend(later.v)
        self._bound()

    def copy(self) -> Self:
        return replace(self, t=self.t[:], v=self.v[:])

    def summary(self, *, series: int, window: str, t0: int, t1: int) -> SummaryMade | None:
        """The summary (t0, t1 in ms, `rev` 1), or None if it must be made from disk."""
        if self.n > self.limit:
            return None
        v = [self.v[i] for i in np.argsort(np.frombuffer(self.t, np.int64), kind="stable")]
        return SummaryMade(
            series=series,
            window=window,
            t0=t0,
            t1=t1,
            n=self.n,
            mean=None,
            min=None,
            max=None,
            std=None,
            p50=None,
            p95=None,
            first=v[0],
            last=v[-1],
            changes=sum(before != after for before, after in pairwise(v)),
            rev=1,
        )

    def _bound(self) -> None:
        if self.n > self.limit:
            self.t, self.v = array("q"), []


def sequence_cells(
    rows: Rows, length: int, *, limit: int = MAX_SEQUENCE
) -> list[tuple[Key, SequenceCell]]:
    """One cell for each series and window of `length` ns."""
    starts = rows.starts(length)
    t0 = rows.t[starts] // length * length
    keys = zip(t0.tolist(), rows.series[starts].tolist(), strict=True)
    cuts = [*starts.tolist(), len(rows.t)]
    return [
        (key, SequenceCell(b - a, array("q", rows.t[a:b].tobytes()), rows.v[a:b].tolist(), limit))
        for key, (a, b) in zip(keys, pairwise(cuts), strict=True)
    ]
