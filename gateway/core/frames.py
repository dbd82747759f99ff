"""WebSocket frames: how a hostile client is told apart, how frames alike are opened together, and
how we send (RFC 6455 §5.2).

The WebSocket library accepts frames without a mask and messages of any number of fragments;
the protocol's devices never send either.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.errors import WireError

MOST_FRAGMENTS = 64
_FIN, _OPCODE, _MASK, _LENGTH = 0x80, 0x0F, 0x80, 0x7F
_BINARY = 0x82
_SHORT = 126
_EXTENDED = {_SHORT: 2, 127: 8}
_KEY = 4
_BEGINNING = 2


class Frames:
    """Cuts a client's stream of bytes into whole frames, without touching what they hold.

    most: bytes of a frame that is waited for, at least 14; a longer one passes piece by piece.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = bytearray()
        self._missing = 0
        self._passing = 0
        self._fragments = 0

    @property
    def between(self) -> bool:
        """Whether what comes next begins a message."""
        return not self._passing and not self._fragments

    def gather(self, data: bytes) -> bytes:
        """The next bytes of the stream behind those that wait; nothing while no frame is whole."""
        if not self._held:
            return data
        self._held += data
        self._missing -= len(data)
        if self._missing > 0:
            return b""
        gathered = bytes(self._held)
        self._held.clear()
        return gathered

    def cut(self, data: bytes) -> bytes:
        """The whole frames of what was gathered; the rest waits.

        Raises WireError at the first illegal frame.
        """
        at = self._passing
        while at < len(data):
            end = _end(data, at)
            if end > len(data) and end - at <= self._most:
                self._held += data[at:]
                self._missing = end - len(data)
                return data[:at]
            self._count(data[at])
            at = end
        self._passing = max(0, at - len(data))
        return data

    def _count(self, first: int) -> None:
        if first & _OPCODE < 8:
            self._fragments = 0 if first & _FIN else self._fragments + 1
            if self._fragments > MOST_FRAGMENTS:
                raise WireError(f"a message of more than {MOST_FRAGMENTS} fragments")


def _end(data: bytes, at: int) -> int:
    """Where the frame that begins at `at` ends; as far as that is known, if it is cut short."""
    if len(data) - at < _BEGINNING:
        return at + _BEGINNING
    if not data[at + 1] & _MASK:
        raise WireError("a frame of a client must be masked")
    length = data[at + 1] & _LENGTH
    size = _EXTENDED.get(length, 0)
    begin = at + _BEGINNING + size
    if len(data) < begin:
        return begin
    if size:
        length = int.from_bytes(data[at + _BEGINNING : begin], "big")
    return begin + _KEY + length


class Row(NamedTuple):
    """Binary frames of one size, one after the other: of `head` bytes, a key, and `size` bytes.

    most: how many there may be, by the bytes that came.
    """

    at: int
    head: int
    size: int
    most: int

    @property
    def step(self) -> int:
        return self.head + _KEY + self.size

    def goes_on(self, data: bytes, count: int) -> bool:
        """Whether `count` of them are there, by the look of the second and of the last."""
        if self.most < count:
            return False
        head, last = data[self.at : self.at + self.head], self.at + (count - 1) * self.step
        return data.startswith(head, self.at + self.step) and data.startswith(head, last)

    def first(self, data: bytes) -> bytes:
        """The message in the first of them."""
        key = self.at + self.head
        begin = key + _KEY
        repeated = data[key:begin] * (self.size // _KEY + 1)
        masked = int.from_bytes(data[begin : begin + self.size], "little")
        mask = int.from_bytes(repeated[: self.size], "little")
        return (masked ^ mask).to_bytes(self.size, "little")

    def open(self, data: bytes) -> NDArray[np.uint8]:
        """The messages in all of them, shape (messages, size); those up to another frame."""
        frames = np.frombuffer(data, np.uint8, self.most * self.step, self.at)
        frames = frames.reshape(self.most, self.step)
        head = data[self.at : self.at + self.head]
        frames = frames[: leading_like(frames[:, : self.head], head)]
        words = np.empty((len(frames), -(-self.size // _KEY)), np.uint32)
        messages = words.view(np.uint8)[:, : self.size]
        messages[:] = frames[:, self.head + _KEY :]
        words ^= frames[:, self.head : self.head + _KEY].copy().view(np.uint32)
        return messages


def row_at(data: bytes, at: int) -> Row | None:
    """The whole binary frames of a client's that begin at `at`; None if there are none."""
    if len(data) - at < _BEGINNING or data[at] != _BINARY:
        return None
    head, size = _BEGINNING, data[at + 1] - _MASK
    if size == _SHORT:
        head += _EXTENDED[size]
        size = int.from_bytes(data[at + _BEGINNING : at + head], "big")
    elif not 0 < size < _SHORT:
        return None
    count = (len(data) - at) // (head + _KEY + size)
    return Row(at, head, size, count) if count else None


def leading(flags: NDArray[np.bool_]) -> int:
    """How many are true before the first that is not."""
    first = int(flags.argmin())
    return len(flags) if flags[first] else first


def leading_like(rows: NDArray[np.uint8], like: bytes) -> int:
    """How many rows of bytes are the same as `like` before the first that is not; mostly all."""
    if rows.tobytes() == like * len(rows):
        return len(rows)
    return leading(np.logical_and.reduce(rows == np.frombuffer(like, np.uint8), axis=1))


def binary_frame(payload: bytes) -> bytes:
    """A binary message in a frame of its own, as a server sends it (RFC 6455 §5.2)."""
    size = len(payload)
    if size < 126:
        return b"\x82%c%b" % (size, payload)
    if size < 65_536:
        return b"\x82\x7e%b%b" % (size.to_bytes(2, "big"), payload)
    return b"\x82\x7f%b%b" % (size.to_bytes(8, "big"), payload)
