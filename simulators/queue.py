"""The bookkeeping of a spool: which numbers hold a message and which were lost.

The slots of a queue tile the numbers `lo` … `hi` without holes or overlap. A slot whose body is
None is a loss: it occupies the numbers of what was dropped, and adjacent losses become one.
"""

from bisect import bisect_right
from collections import Counter, deque
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class Loss(IntEnum):
    """Why numbers were lost (GAP key 3)."""

    OVERFLOW = 1
    RESTART = 2
    TOO_BIG = 3


@dataclass(frozen=True, slots=True)
class Slot(Generic[T]):
    """Numbers `seq` … `last`. `readings` is None where nobody knows how many were lost."""

    seq: int
    last: int
    readings: int | None
    sid: int = 0
    body: T | None = None
    loss: Loss = Loss.OVERFLOW

    def beyond(self, committed: int) -> "Slot[T]":
        """The part above `committed`; of a loss's readings, its share by numbers."""
        if committed < self.seq:
            return self
        share = self.readings
        if share is not None:
            share = share * (self.last - committed) // (self.last - self.seq + 1)
        return replace(self, seq=committed + 1, readings=share)


def merged(first: Slot[T], second: Slot[T], *, loss: Loss) -> Slot[T]:
    """One loss over the numbers of two adjacent slots."""
    known = [slot.readings for slot in (first, second) if slot.readings is not None]
    readings = sum(known) if known else None
    return Slot(first.seq, second.last, readings, loss=loss)


class Queue(Generic[T]):
    """Numbered slots, oldest first. `hi` is the newest number given out."""

    def __init__(self, hi: int = 0) -> None:
        self.hi = hi
        self.slots: deque[Slot[T]] = deque()
        self.kept = 0
        self.sids: Counter[int] = Counter()

    @property
    def lo(self) -> int:
        """The oldest number still kept; hi + 1 if there is none."""
        return self.slots[0].seq if self.slots else self.hi + 1

    def push(self, body: T, *, readings: int, sid: int = 0) -> Slot[T]:
        """Give `body` the next number."""
        self.hi += 1
        slot = Slot(self.hi, self.hi, readings, sid, body)
        self.slots.append(slot)
        self.kept += 1
        self.sids[sid] += 1
        return slot

    def skip(self, last: int, *, loss: Loss, readings: int | None = None) -> None:
        """Declare the numbers up to `last` lost."""
        gap: Slot[T] = Slot(self.hi + 1, last, readings, loss=loss)
        self.hi = last
        if self.slots and self.slots[-1].body is None:
            before = self.slots.pop()
            gap = merged(before, gap, loss=before.loss)
        self.slots.append(gap)

    def drop(self, loss: Loss) -> Slot[T] | None:
        """Turn the oldest message into a loss; None if there is no message."""
        if not self.kept:
            return None
        gap = self.slots.popleft() if self.slots[0].body is None else None
        victim = self._forget(self.slots.popleft())
        lost = replace(victim, sid=0, body=None, loss=loss)
        if gap:
            lost = merged(gap, lost, loss=gap.loss)
        if self.slots and self.slots[0].body is None:
            lost = merged(lost, self.slots.popleft(), loss=lost.loss)
        self.slots.appendleft(lost)
        return victim

    def free(self, committed: int) -> list[Slot[T]]:
        """Forget all numbers up to `committed`; what was freed comes back."""
        freed = []
        while self.slots and self.slots[0].last <= committed:
            freed.append(self._forget(self.slots.popleft()))
        if self.slots and self.slots[0].seq <= committed:
            self.slots[0] = self.slots[0].beyond(committed)
        return freed

    def after(self, seq: int) -> Slot[T] | None:
        """What occupies the number after `seq`, without the part up to `seq`."""
        index = bisect_right(self.slots, seq, key=lambda slot: slot.last)
        return self.slots[index].beyond(seq) if index < len(self.slots) else None

    def renumbered(self) -> "Queue[T]":
        """The same messages from number 1; losses go, for the old numbers are void."""
        fresh: Queue[T] = Queue()
        for slot in self.slots:
            if slot.body is not None:
                fresh.push(slot.body, readings=slot.readings or 0, sid=slot.sid)
        return fresh

    def _forget(self, slot: Slot[T]) -> Slot[T]:
        if slot.body is not None:
            self.kept -= 1
            self.sids[slot.sid] -= 1
            if not self.sids[slot.sid]:
                del self.sids[slot.sid]
        return slot
