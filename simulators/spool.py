"""What every spool can do, and the spool in RAM. The spool on disk is in `diskspool`."""

import os
from dataclasses import dataclass, replace
from typing import Any, Protocol

from gateway.core.messages import Data, Gap, Message
from simulators.queue import Loss, Queue, Slot


class SpoolError(Exception):
    """The spool cannot be read or written; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A numbered message that waits to be acknowledged; it occupies `seq` … `last`."""

    seq: int
    last: int
    readings: int
    message: Message


class Spool(Protocol):
    """The queue of a device. Numbers are given by `append` and go only when they are freed."""

    epoch: bytes

    @property
    def lo(self) -> int:
        """Oldest number still kept (hi + 1 if none)."""

    @property
    def hi(self) -> int:
        """Newest number given out (0 if none ever was)."""

    @property
    def sids(self) -> set[int]:
        """The schemas of queued DATA messages."""

    def __len__(self) -> int:
        """Messages kept, losses not counted."""

    def append(self, message: Message, readings: int) -> int:
        """Number a message and keep it; a full spool drops its oldest and declares the loss."""

    def after(self, seq: int) -> Entry | None:
        """What must be sent after number `seq`: a message, or the GAP that stands there."""

    def free(self, committed: int) -> list[tuple[int, int, bool]]:
        """Forget what the gateway has committed: (numbers, readings, lost?) of each entry."""

    def renew(self) -> None:
        """Begin a new epoch: what is queued is numbered again from 1."""

    def surrender(self) -> None:
        """Declare the oldest message lost: the gateway can never take it."""

    def close(self) -> None:
        """Put everything in order for the next start."""


def sid_of(message: Message) -> int:
    """The schema that a message needs, 0 if none."""
    return message.sid if isinstance(message, Data) else 0


def entry_of(slot: Slot[Any], message: Message | None) -> Entry:
    """A slot as it goes out: its message with its number, or a GAP."""
    if message is None:
        gap = Gap(seq=slot.seq, last=slot.last, reason=int(slot.loss), readings=slot.readings)
        return Entry(slot.seq, slot.last, slot.readings or 0, gap)
    numbered: Message = replace(message, seq=slot.seq)  # type: ignore[type-var]
    return Entry(slot.seq, slot.last, slot.readings or 0, numbered)


def freed_of(slots: list[Slot[Any]]) -> list[tuple[int, int, bool]]:
    return [(slot.last - slot.seq + 1, slot.readings or 0, slot.body is None) for slot in slots]


class RamSpool:
    """A spool that is gone after a restart, like that of a device without flash.

    capacity: messages kept at most.
    """

    def __init__(self, capacity: int = 10_000, *, epoch: bytes | None = None) -> None:
        self.capacity = max(1, capacity)
        self.epoch = epoch or os.urandom(8)
        self._queue: Queue[Message] = Queue()

    @property
    def lo(self) -> int:
        return self._queue.lo

    @property
    def hi(self) -> int:
        return self._queue.hi

    @property
    def sids(self) -> set[int]:
        return set(self._queue.sids) - {0}

    def __len__(self) -> int:
        return self._queue.kept

    def append(self, message: Message, readings: int) -> int:
        while self._queue.kept >= self.capacity:
            self._queue.drop(Loss.OVERFLOW)
        return self._queue.push(message, readings=readings, sid=sid_of(message)).seq

    def after(self, seq: int) -> Entry | None:
        slot = self._queue.after(seq)
        return entry_of(slot, slot.body) if slot else None

    def free(self, committed: int) -> list[tuple[int, int, bool]]:
        return freed_of(self._queue.free(committed))

    def renew(self) -> None:
        self.epoch = os.urandom(8)
        self._queue = self._queue.renumbered()

    def surrender(self) -> None:
        self._queue.drop(Loss.TOO_BIG)

    def close(self) -> None:
        """Nothing to keep."""
