"""What a device measures: readings in columns, and how good their time is."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
INT64_MAX = 2**63 - 1


class Kind(IntEnum):
    """What sort of value a series holds."""

    NUMBER = 0
    BOOLEAN = 1
    TEXT = 2


class Clock(IntEnum):
    """Where the time of a reading comes from."""

    DEVICE = 0
    """The device's own Unix time."""
    MAPPED = 1
    """The device's monotonic clock, mapped to Unix time by the gateway."""
    UNKNOWN = 2
    """A boot that the gateway never saw: `t` is that boot's raw monotonic time."""


class SeriesKey(NamedTuple):
    """The name of a series. A metric that changes its kind begins another series."""

    device: str
    metric: str
    kind: Kind


class Column(NamedTuple):
    """Readings of one series out of one message, in the order in which they were sent.

    t: int64, shape (n,), nanoseconds UTC (raw nanoseconds of the boot if the clock is unknown).
    v: shape (n,): float64, int64 or uint64 for numbers, bool for booleans, object (str) for text.
    Missing readings are already left out; every number is finite.
    """

    key: SeriesKey
    unit: str
    t: NDArray[np.int64]
    v: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Timebase:
    """How a message's raw times become nanoseconds UTC: `t = raw + offset`."""

    clock: Clock
    offset: int = 0
    boot: bytes = b""


@dataclass(frozen=True, slots=True)
class Batch:
    """All readings of one message."""

    columns: Sequence[Column]
    clock: Clock
    boot: bytes = b""

    def __len__(self) -> int:
        return sum(len(column.t) for column in self.columns)

    def span(self) -> tuple[int, int] | None:
        """Least and greatest time, or None if there is no reading."""
        filled = [column.t for column in self.columns if len(column.t)]
        if not filled:
            return None
        return int(min(t.min() for t in filled)), int(max(t.max() for t in filled))


def distinct(numbers: NDArray[np.signedinteger]) -> list[int]:
    """Each once, in order. (The first `np.unique` imports numpy.ma: the gateway stood still.)"""
    return sorted(set(numbers.tolist()))


class Times(NamedTuple):
    """Of readings, at least one, in order of arrival.

    t: int64 ns UTC. low, high: the least and the greatest. newest: where the greatest stands, of
    equal ones the last.
    """

    t: NDArray[np.int64]
    low: int
    high: int
    newest: int

    @classmethod
    def of(cls, t: NDArray[np.int64]) -> Self:
        return cls.between(t, int(t.min()), int(t.max()))

    @classmethod
    def between(cls, t: NDArray[np.int64], low: int, high: int) -> Self:
        """The same, where least and greatest are known. The greatest is mostly the last of all."""
        end = len(t) - 1
        return cls(t, low, high, end if t.item(end) == high else end - int(t[::-1].argmax()))
