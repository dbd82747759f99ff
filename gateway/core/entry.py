"""Entries of the journal."""

from collections.abc import Iterator
from typing import NamedTuple, Self


class Entry(NamedTuple):
    """A message of a journal row, as it came, with what is needed to decode it again.

    alike: how many it stands for: messages alike, of one size and with so many readings each, are
    one entry, and `message` holds all of them.
    seq … last: the sequence numbers that it occupies.
    readings: how many a message holds, without missing ones; 0 for GAP, EVENT, RESULT and refused.
    clock, offset, boot: the time base (`core.readings.Timebase`); for SENML `offset` is the time
    of receipt in ns UTC. schema: row of the DATA message's schema, 0 for all other messages.
    """

    stream: int
    seq: int
    last: int
    message: bytes
    readings: int
    clock: int
    offset: int
    schema: int
    boot: bytes
    alike: int = 1

    def apart(self) -> Iterator[Self]:
        """An entry for each message."""
        size = len(self.message) // self.alike
        for n in range(self.alike):
            message, seq = self.message[n * size : (n + 1) * size], self.seq + n
            yield self._replace(seq=seq, last=seq, message=message, alike=1)
