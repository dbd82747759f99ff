"""The shape of a message: which bytes stay the same in the next, and where its numbers stand."""

import re
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from gateway.core import cbor
from gateway.core.clock import Now
from gateway.core.frames import leading, leading_like
from gateway.core.layouts import DTYPES, Layout
from gateway.core.messages import BY_TYPE, MAX_SEQ, Message, parse
from gateway.core.readings import Clock, Kind, Timebase, Times
from gateway.core.uplink import Arrival

UINT, NEGATIVE, BYTES, TAG, SIMPLE = 0, 1, 2, 6, 7
FALSE, TRUE = 0xF4, 0xF5
TINY = rb"[\x00-\x17\x20-\x37\xf4\xf5]"
IS_TINY = np.array([re.fullmatch(TINY, bytes([byte])) is not None for byte in range(256)])
"""Bytes that are a whole item: a message that fits a shape can be read, whatever stands there."""
FLOATS = {2: ">f2", 4: ">f4", 8: ">f8"}
DEVICE = Timebase(Clock.DEVICE)


class Span(NamedTuple):
    """Bytes that differ between messages. tag: of the typed array that they are, or None.

    tiny: the whole item is this byte: FALSE, TRUE, or a number from -24 to 23.
    """

    at: int
    size: int
    dtype: np.dtype[Any]
    tag: int | None = None
    negative: bool = False
    tiny: bool = False

    @property
    def rows(self) -> int:
        return self.size // self.dtype.itemsize

    @property
    def is_float(self) -> bool:
        return self.dtype.kind == "f"

    def read(self, block: NDArray[np.uint8]) -> NDArray[Any]:
        """The numbers that stand here, shape (messages, rows)."""
        found = np.ascontiguousarray(block[:, self.at : self.at + self.size]).view(self.dtype)
        return -1 - found.astype(np.int64) if self.negative else found


def span_at(raw: bytes, at: int) -> Span | None:
    """The span of a number, a boolean or a typed array; None if its size depends on its value."""
    major, argument, end = cbor.head(raw, at)
    size = end - at - 1
    if major == SIMPLE and size in FLOATS:
        return Span(at + 1, size, np.dtype(FLOATS[size]))
    if raw[at] in (FALSE, TRUE) or (major in (UINT, NEGATIVE) and not size):
        return Span(at, 1, np.dtype(np.uint8), tiny=True)
    if major == UINT or (major == NEGATIVE and 0 < size < 8):
        return Span(at + 1, size, np.dtype(f">u{size}"), negative=major == NEGATIVE)
    if major == TAG and argument in DTYPES:
        major, length, start = cbor.head(raw, end)
        if major == BYTES and length and length % DTYPES[argument].itemsize == 0:
            return Span(start, length, DTYPES[argument], tag=argument)
    return None


def booleans(raw: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """What tiny items say, and which of them are booleans."""
    truth = raw == TRUE
    return truth, truth | (raw == FALSE)


def numbers(raw: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """What tiny items say, and which of them are numbers (RFC 8949 §3.1)."""
    argument = (raw & 0x1F).astype(np.int64)
    return np.where(raw < 0x20, argument, -1 - argument), (raw < 0x40) & (argument < 24)


def pairs(raw: bytes, at: int) -> Iterator[tuple[int, int]]:
    """The integer keys of the map that begins at `at`, and where their values begin."""
    _, count, at = cbor.head(raw, at)
    for _ in range(count):
        major, key, at = cbor.head(raw, at)
        yield (-1 - key if major == NEGATIVE else key), at
        at = cbor.skip(raw, at)


def items(raw: bytes, at: int) -> Iterator[int]:
    """Where the items of the array that begins at `at` begin."""
    _, count, at = cbor.head(raw, at)
    for _ in range(count):
        yield at
        at = cbor.skip(raw, at)


def pattern(raw: bytes, spans: Sequence[Span]) -> bytes:
    """The regular expression of a message with these spans; the first, its number, is a group."""
    pieces, end = [], 0
    for n, span in enumerate(spans):
        hole = TINY if span.tiny else b".{%d}" % span.size
        pieces += [re.escape(raw[end : span.at]), b"(%s)" % hole if n == 0 else hole]
        end = span.at + span.size
    return b"".join([*pieces, re.escape(raw[end:])])


class Shape(ABC):
    """What messages alike have in common: everything but the numbers in them.

    kind: their type on the wire. size: bytes of each. readings: in each.
    brief: receipt gives them their time, so only those that came together are a burst.
    """

    kind: int
    readings: int
    brief = False

    def __init__(self, raw: bytes, spans: Iterable[Span]) -> None:
        spans = sorted(spans)
        self.size = len(raw)
        self.pattern = pattern(raw, spans)
        self._fits = re.compile(self.pattern, re.DOTALL).fullmatch
        self._number = spans[0]
        self._bound = min(256**self._number.size, MAX_SEQ)
        self._tiny = np.array([span.at for span in spans if span.tiny], np.intp)
        self._same = np.full(self.size, 0xFF, np.uint8)
        for span in spans:
            self._same[span.at : span.at + span.size] = 0
        self._bytes = (np.frombuffer(raw, np.uint8) & self._same).tobytes()

    def number(self, raw: bytes) -> int:
        """The sequence number of a message that fits this shape, 0 if it does not fit."""
        found = self._fits(raw)
        return int.from_bytes(found[1], "big") if found else 0

    def run(self, block: NDArray[np.uint8]) -> tuple[int, int]:
        """The number of the first of these messages, (n, size) bytes, and how many of them fit
        this shape and are numbered one by one.
        """
        block = block[: leading_like(block & self._same, self._bytes)]
        if len(self._tiny) and len(block):
            known = np.logical_and.reduce(IS_TINY[block[:, self._tiny]], axis=1)
            block = block[: leading(known)]
        if not len(block):
            return 0, 0
        at, size, dtype, *_ = self._number
        raw, n = block[:, at : at + size].tobytes(), len(block)
        first = int.from_bytes(raw[:size], "big")
        if first + n <= self._bound and raw == np.arange(first, first + n, dtype=dtype).tobytes():
            return first, n
        numbers = self._number.read(block)[: 256**size - first, 0]
        steps = np.arange(len(numbers), dtype=numbers.dtype)
        return first, leading(numbers - numbers[0] == steps)

    def key(self, _burst: "Burst") -> Hashable:
        """Bursts with the same key, and of this shape, are decoded together."""
        return None

    @abstractmethod
    def decode(self, bursts: "Sequence[Burst]", *, latest: int) -> None:
        """Set `decoded` of each burst, unless a message of it must be looked at by itself."""

    def block(self, bursts: "Sequence[Burst]") -> NDArray[np.uint8]:
        """The bytes of all messages, shape (messages, size)."""
        messages = b"".join([burst.messages for burst in bursts])
        return np.frombuffer(messages, np.uint8).reshape(-1, self.size)


@dataclass(slots=True)
class Burst:
    """Messages of one shape that followed one another on a connection: `first` … `last`.

    layout: of DATA. at: when the first came. pieces: their bytes as they came. taken: it belongs
    to a commit group, and grows no more. base: how its times become ns UTC.
    """

    shape: Shape
    layout: Layout | None
    at: Now
    first: int
    pieces: list[bytes] = field(default_factory=list)
    count: int = 0
    taken: bool = False
    base: Timebase = DEVICE
    decoded: "Sequence[Table] | None" = None

    @property
    def last(self) -> int:
        return self.first + self.count - 1

    @property
    def size(self) -> int:
        """Of all of them, in bytes."""
        return self.count * self.shape.size

    def add(self, messages: bytes, count: int) -> Self:
        """So many more, joined."""
        self.pieces.append(messages)
        self.count += count
        return self

    @property
    def messages(self) -> bytes:
        """All of them, joined."""
        if len(self.pieces) > 1:
            self.pieces = [b"".join(self.pieces)]
        return self.pieces[0]

    def apart(self) -> Iterator[Arrival]:
        """The messages one by one, read the usual way."""
        cls: type[Message] = BY_TYPE[self.shape.kind]
        for at in range(0, len(self.messages), self.shape.size):
            raw = self.messages[at : at + self.shape.size]
            yield Arrival(parse(cls, cbor.decode(raw)), raw, self.at)


Metric = tuple[str, Kind, str]
"""Name, kind and unit."""


class Table(NamedTuple):
    """Readings of some metrics of a burst at the same times, in order of arrival.

    v: shape (metrics, times), of a type as in `Column`, or float32.
    """

    metrics: tuple[Metric, ...]
    times: Times
    v: NDArray[Any]


def shares(bursts: Sequence[Burst]) -> tuple[list[int], NDArray[np.intp]]:
    """How many messages each burst has, and where they begin among all."""
    counts = [burst.count for burst in bursts]
    return counts, np.cumsum([0, *counts[:-1]])
