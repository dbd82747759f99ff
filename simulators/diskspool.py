"""A spool on disk: the operations of its queue in a log, from which the queue is rebuilt.

Numbers are given out ahead in blocks: unless every record was forced to the disk, a crash may
have lost some that the gateway has seen, so the numbers up to the block's end become a loss.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gateway.core import cbor
from gateway.core.messages import BY_TYPE, Message, parse, to_map
from simulators.oplog import Op, OpLog, Record
from simulators.queue import Loss, Queue, Slot
from simulators.spool import Entry, entry_of, freed_of, sid_of

BLOCK = 1000
COMPACT_AT = 1 << 18
_UNKNOWN = 2**64 - 1


class Place(NamedTuple):
    """Where the payload of a message lies in the log."""

    offset: int
    size: int


class DiskSpool:
    """The spool in the file `path`.

    capacity: messages kept at most. fsync: force each message to the disk before it may be sent.
    Raises SpoolError if the file cannot be used.
    """

    def __init__(self, path: Path, *, capacity: int = 100_000, fsync: bool = False) -> None:
        self.path = path
        self.capacity = max(1, capacity)
        self.fsync = fsync
        self.epoch = os.urandom(8)
        self._queue: Queue[Place] = Queue()
        self._ahead = 0
        self._safe = True
        self._freed = 0
        self._log = OpLog(path)
        self._restore()

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
            self._drop(Loss.OVERFLOW)
        if self._queue.hi >= self._ahead:
            self._promise()
        record = Record(Op.PUSH, 0, readings, 0, sid_of(message), cbor.encode(to_map(message)))
        self._apply(record, self._log.write(record, force=self.fsync))
        return self._queue.hi

    def after(self, seq: int) -> Entry | None:
        slot = self._queue.after(seq)
        return entry_of(slot, self._read(slot)) if slot else None

    def free(self, committed: int) -> list[tuple[int, int, bool]]:
        if committed < self._queue.lo:
            return []
        self._log.write(Record(Op.FREE, committed))
        freed = self._queue.free(committed)
        self._freed += sum(slot.body.size for slot in freed if slot.body)
        if self._freed > COMPACT_AT and self._freed > self._log.size // 2:
            self._rewrite(self.epoch, self._queue)
        return freed_of(freed)

    def renew(self) -> None:
        self._rewrite(os.urandom(8), self._queue.renumbered())

    def surrender(self) -> None:
        self._drop(Loss.TOO_BIG)

    def close(self) -> None:
        self._log.write(Record(Op.CLOSED), force=True)
        self._log.close()

    def _drop(self, loss: Loss) -> None:
        self._log.write(Record(Op.DROP, tag=loss))
        self._queue.drop(loss)

    def _promise(self) -> None:
        """Allow the next block of numbers, durably, before the first of them is used."""
        record = Record(Op.AHEAD, self._queue.hi + BLOCK, int(self.fsync))
        self._apply(record, self._log.write(record, force=True))

    def _read(self, slot: Slot[Place]) -> Message | None:
        if slot.body is None:
            return None
        source = cbor.decode(self._log.read(*slot.body))
        return parse(BY_TYPE[source[0]], source | {1: slot.seq})

    def _restore(self) -> None:
        """Rebuild the queue, then declare the numbers lost that a crash made doubtful."""
        closed = True
        for record, end in self._log.restore():
            self._apply(record, end)
            closed = record.op is Op.CLOSED
        if self._ahead == 0:
            # Empty, or cut before the first promise: nobody knows which numbers were used.
            self.renew()
            return
        if not closed and not self._safe and self._ahead > self._queue.hi:
            skip = Record(Op.SKIP, self._ahead, _UNKNOWN, Loss.RESTART)
            self._apply(skip, self._log.write(skip))
        self._promise()

    def _apply(self, record: Record, end: int) -> None:
        match record.op:
            case Op.HEAD:
                self.epoch, self._queue = record.payload, Queue(record.first)
            case Op.PUSH:
                place = Place(end - len(record.payload), len(record.payload))
                self._queue.push(place, readings=record.second, sid=record.sid)
            case Op.SKIP:
                readings = None if record.second == _UNKNOWN else record.second
                self._queue.skip(record.first, loss=Loss(record.tag), readings=readings)
            case Op.DROP:
                self._queue.drop(Loss(record.tag))
            case Op.FREE:
                self._queue.free(record.first)
            case Op.AHEAD:
                self._ahead, self._safe = record.first, bool(record.second)
            case Op.CLOSED:
                pass

    def _rewrite(self, epoch: bytes, queue: Queue[Place]) -> None:
        """Write a log with only what is still queued, and put it in the old one's place."""
        old, fresh = self._log, OpLog(self.path.with_suffix(".new"), fresh=True)
        for record in list(_live(epoch, queue, old)):
            self._apply(record, fresh.write(record))
        self._log, self._freed = fresh, 0
        self._promise()
        fresh.replace(self.path)
        old.close()


def _live(epoch: bytes, queue: Queue[Place], log: OpLog) -> Iterator[Record]:
    """The fewest records that make `queue`."""
    yield Record(Op.HEAD, queue.lo - 1, payload=epoch)
    for slot in queue.slots:
        readings = _UNKNOWN if slot.readings is None else slot.readings
        if slot.body is None:
            yield Record(Op.SKIP, slot.last, readings, slot.loss)
        else:
            yield Record(Op.PUSH, 0, readings, 0, slot.sid, log.read(*slot.body))
