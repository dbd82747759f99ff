"""An entry of the journal."""

from typing import NamedTuple


class Entry(NamedTuple):
    """One message of a journal row, as it came, with what is needed to decode it again.

    seq … last: the sequence numbers that it occupies (equal unless it is a GAP).
    readings: how many it holds, missing ones left out; 0 for GAP, EVENT, RESULT and refused ones.
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
