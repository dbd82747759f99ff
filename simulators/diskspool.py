"""A spool on disk: one append-only file of operations, each with its CRC.

Reading the operations again rebuilds the queue; a torn tail ends the reading and is cut off.
Numbers are given out ahead in blocks: unless every record was forced to the disk, a crash may
have lost some that the gateway has seen, so the numbers up to the block's end become a loss.
"""

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from gateway.core import cbor
from gateway.core.messages import BY_TYPE, Message, parse, to_map
from simulators.queue import Loss, Queue, Slot
from simulators.spool import Entry, SpoolError, entry_of, freed_of, sid_of

BLOCK = 1000
COMPACT_AT = 1 << 18
_FRAME = struct.Struct("<II")
_FIELDS = struct.Struct("<BBHQQ")
_UNKNOWN = 2**64 - 1


class Op(IntEnum):
    """What a record says; its numbers are in brackets."""

    HEAD = 1
    """A new epoch (payload) that begins after number [first]."""
    PUSH = 2
    """A message (payload) with [second] readings."""
    SKIP = 3
    """Numbers up to [first] lost, with [second] readings."""
    DROP = 4
    """The oldest message became a loss."""
    FREE = 5
    """Everything up to [first] is committed."""
    AHEAD = 6
    """Numbers up to [first] may be given out; [second] is 1 if records are forced to disk."""
    CLOSED = 7
    """The spool was closed in order."""


class Record(NamedTuple):
    """One operation. `tag` is the reason of a loss, `sid` the schema of a message."""

    op: Op
    first: int = 0
    second: int = 0
    tag: int = 0
    sid: int = 0
    payload: bytes = b""

    def packed(self) -> bytes:
        fields = _FIELDS.pack(self.op, self.tag, self.sid, self.first, self.second)
        body = fields + self.payload
        return _FRAME.pack(len(body), zlib.crc32(body)) + body


class Place(NamedTuple):
    """Where the payload of a message lies in the file."""

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
        self._dead = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise SpoolError(f"cannot open the spool {path}: {error.strerror}") from error
        self._lock()
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
        payload = cbor.encode(to_map(message))
        sid = sid_of(message)
        end = self._write(Record(Op.PUSH, 0, readings, 0, sid, payload), force=self.fsync)
        place = Place(end - len(payload), len(payload))
        return self._queue.push(place, readings=readings, sid=sid).seq

    def after(self, seq: int) -> Entry | None:
        slot = self._queue.after(seq)
        return entry_of(slot, self._read(slot)) if slot else None

    def free(self, committed: int) -> list[tuple[int, int, bool]]:
        if committed < self._queue.lo:
            return []
        self._write(Record(Op.FREE, committed))
        freed = self._queue.free(committed)
        self._dead += sum(slot.body.size for slot in freed if slot.body) + _FRAME.size
        if self._dead > COMPACT_AT and self._dead > self._size // 2:
            self._rewrite(self.epoch, self._queue)
        return freed_of(freed)

    def renew(self) -> None:
        self._ahead = 0
        self._rewrite(os.urandom(8), self._queue.renumbered())

    def surrender(self) -> None:
        self._drop(Loss.TOO_BIG)

    def close(self) -> None:
        self._write(Record(Op.CLOSED), force=True)
        os.close(self._file)

    def _drop(self, loss: Loss) -> None:
        self._write(Record(Op.DROP, tag=loss))
        self._queue.drop(loss)

    def _promise(self) -> None:
        self._ahead = self._queue.hi + BLOCK
        self._write(Record(Op.AHEAD, self._ahead, int(self.fsync)), force=True)

    def _read(self, slot: Slot[Place]) -> Message | None:
        if slot.body is None:
            return None
        source = cbor.decode(os.pread(self._file, slot.body.size, slot.body.offset))
        return parse(BY_TYPE[source[0]], source | {1: slot.seq})

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise SpoolError(f"another process uses the spool {self.path}") from error

    def _write(self, record: Record, *, force: bool = False) -> int:
        """Append a record; the file's new size. A failed write leaves no torn record behind."""
        data = record.packed()
        try:
            written = os.pwrite(self._file, data, self._size)
            if written < len(data):
                raise OSError(None, "no room for a whole record")  # noqa: TRY301
            if force:
                os.fdatasync(self._file)
        except OSError as error:
            os.ftruncate(self._file, self._size)
            text = f"cannot write the spool {self.path}: {error.strerror}"
            raise SpoolError(text) from error
        self._size += len(data)
        return self._size

    def _restore(self) -> None:
        """Rebuild the queue from the file, then skip the numbers that a crash made doubtful."""
        self._size = 0
        closed = True
        for record, end in _records(self._file):
            self._apply(record, end)
            closed = record.op is Op.CLOSED
            self._size = end
        if self._size == 0:
            self._rewrite(self.epoch, self._queue)
            return
        os.ftruncate(self._file, self._size)
        if not closed and not self._safe and self._ahead > self._queue.hi:
            self._write(Record(Op.SKIP, self._ahead, _UNKNOWN, Loss.RESTART))
            self._queue.skip(self._ahead, loss=Loss.RESTART)
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
        """Write a file with only what is still queued, and put it in the old one's place."""
        fresh = self.path.with_suffix(".new")
        old = self._file
        records = list(self._live(epoch, queue))
        try:
            file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError as error:
            raise SpoolError(f"cannot write {fresh}: {error.strerror}") from error
        self._file, self._size, self._dead = file, 0, 0
        self._queue = Queue()
        for record in records:
            self._apply(record, self._write(record))
        self._lock()
        self._promise()
        fresh.replace(self.path)
        _sync_folder(self.path.parent)
        os.close(old)

    def _live(self, epoch: bytes, queue: Queue[Place]) -> Iterator[Record]:
        yield Record(Op.HEAD, queue.lo - 1, payload=epoch)
        for slot in queue.slots:
            readings = _UNKNOWN if slot.readings is None else slot.readings
            if slot.body is None:
                yield Record(Op.SKIP, slot.last, readings, slot.loss)
            else:
                payload = os.pread(self._file, slot.body.size, slot.body.offset)
                yield Record(Op.PUSH, 0, readings, 0, slot.sid, payload)


def _records(file: int) -> Iterator[tuple[Record, int]]:
    """All whole records from the start of the file, each with the offset of its end."""
    at = 0
    while len(frame := os.pread(file, _FRAME.size, at)) == _FRAME.size:
        size, crc = _FRAME.unpack(frame)
        body = os.pread(file, size, at + _FRAME.size) if size < COMPACT_AT else b""
        if len(body) != size or size < _FIELDS.size or zlib.crc32(body) != crc:
            return
        at += _FRAME.size + size
        op, tag, sid, first, second = _FIELDS.unpack_from(body)
        yield Record(Op(op), first, second, tag, sid, body[_FIELDS.size :]), at


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
