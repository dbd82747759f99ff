"""How much room the disk has, what that allows, and how long it will last."""

from collections import deque
from enum import IntEnum
from typing import NamedTuple

SHORT_AT = 0.85
FULL_AT = 0.95
BALLAST_AT = 0.98
"""So full a disk gets the ballast's room."""
MARGIN = 0.02
"""A state is left only so far below the mark at which it began."""
BALLAST_MOST = 32 * 2**20
BALLAST_SHARE = 0.05
MINUTES = 60


class Room(IntEnum):
    """What the disk has left."""

    PLENTY = 0
    SHORT = 1
    """A warning; everything goes on."""
    FULL = 2
    """Devices may send no more than they were allowed already."""

    @property
    def word(self) -> str:
        return self.name.lower()


class Usage(NamedTuple):
    """Bytes of a file system as `df` has them: what is reserved for root counts as neither."""

    used: int
    available: int

    @property
    def total(self) -> int:
        return self.used + self.available

    def ratio(self, more: int = 0) -> float:
        """The used share, 0 to 1, if `more` bytes were used as well."""
        return min(1.0, (self.used + more) / self.total) if self.total else 1.0


def judge(before: Room, ratio: float, *, refused: bool) -> Room:
    """The state after `before`. refused: a commit failed for want of space, and none has worked."""
    if refused or ratio >= _mark(FULL_AT, Room.FULL, before):
        return Room.FULL
    return Room.SHORT if ratio >= _mark(SHORT_AT, Room.SHORT, before) else Room.PLENTY


def _mark(at: float, room: Room, before: Room) -> float:
    return at - MARGIN if before >= room else at


def ballast_size(usage: Usage) -> int:
    """Bytes that a ballast file ought to have; 0 if it would leave the disk short."""
    size = min(BALLAST_MOST, int(usage.total * BALLAST_SHARE))
    return size if usage.ratio(size) < SHORT_AT else 0


def send_limit(room: Room, *, committed: int, granted: int, window: int) -> int:
    """How far a device may send: while the disk is full no further than was granted to it."""
    return max(committed, granted) if room is Room.FULL else committed + window


class Growth:
    """How fast a number of bytes grew within the last hour, looked at once a minute."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque(maxlen=MINUTES + 1)
        self._newest: tuple[float, float] | None = None

    def add(self, seconds: float, held: float) -> None:
        """`held` bytes at `seconds` of a clock that never steps back."""
        self._newest = seconds, held
        if not self._samples or seconds - self._samples[-1][0] >= 60:
            self._samples.append(self._newest)

    def per_second(self) -> float:
        """Bytes a second; 0 within the first minute, below 0 if it shrinks."""
        if self._newest is None or self._newest[0] - self._samples[0][0] < 60:
            return 0.0
        (begun, before), (now, held) = self._samples[0], self._newest
        return (held - before) / (now - begun)

    def seconds_left(self, room: float) -> float | None:
        """When `room` more bytes will have come at this rate; None if it does not grow."""
        rate = self.per_second()
        return None if rate <= 0 else room / rate
