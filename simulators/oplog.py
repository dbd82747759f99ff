"""An append-only file of a queue's operations, each with its CRC."""

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from simulators.spool import SpoolError

MOST_BYTES = 1 << 18
_FRAME = struct.Struct("<II")
_FIELDS = struct.Struct("<BBHQQ")


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


class OpLog:
    """The file `path`, held by one process at a time. Raises SpoolError when the disk does."""

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        """fresh: begin with an empty file."""
        self.path = path
        self.size = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            empty = os.O_TRUNC if fresh else 0
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | empty, 0o600)
        except OSError as error:
            raise SpoolError(f"cannot open the spool {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise SpoolError(f"another process uses the spool {path}") from error

    def restore(self) -> Iterator[tuple[Record, int]]:
        """All whole records, each with the offset of its end; the torn rest is cut off."""
        while (record := self._record(self.size)) is not None:
            self.size += _FRAME.size + _FIELDS.size + len(record.payload)
            yield record, self.size
        os.ftruncate(self._file, self.size)

    def write(self, record: Record, *, force: bool = False) -> int:
        """Append a record, force it to the disk if asked to; the offset of its end.

        A write that fails leaves no torn record behind.
        """
        data = record.packed()
        try:
            if os.pwrite(self._file, data, self.size) < len(data):
                raise OSError(28, "no space left for a whole record")  # noqa: TRY301
            if force:
                os.fdatasync(self._file)
        except OSError as error:
            os.ftruncate(self._file, self.size)
            text = f"cannot write the spool {self.path}: {error.strerror}"
            raise SpoolError(text) from error
        self.size += len(data)
        return self.size

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._file, size, offset)

    def replace(self, path: Path) -> None:
        """Take the place of the file `path`, for good."""
        self.path.replace(path)
        self.path = path
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        os.close(self._file)

    def _record(self, at: int) -> Record | None:
        frame = self.read(at, _FRAME.size)
        if len(frame) < _FRAME.size:
            return None
        size, crc = _FRAME.unpack(frame)
        if not _FIELDS.size <= size <= MOST_BYTES:
            return None
        body = self.read(at + _FRAME.size, size)
        if len(body) < size or zlib.crc32(body) != crc:
            return None
        op, tag, sid, first, second = _FIELDS.unpack_from(body)
        return Record(Op(op), first, second, tag, sid, body[_FIELDS.size :])
