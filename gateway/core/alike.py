"""DATA messages alike: recognised by their bytes, decoded together.

A device sends the same message over and over, with other numbers in it. Once one was read the
usual way, its `Shape` knows which bytes stay the same and where the numbers stand. Messages that
fit a shape need no parser of their own: they wait as a `Burst`, and `decode` turns all bursts of a
shape into arrays at once. Whatever does not fit, or holds a value that must be looked at more
closely, goes the usual way (`core.columns`), with the same result.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.core import cbor
from gateway.core.clock import Now
from gateway.core.layouts import DTYPES, RANGES, Field, Layout
from gateway.core.messages import Data, parse
from gateway.core.readings import INT64_MAX, Clock, Kind, Timebase
from gateway.core.uplink import Arrival

UINT, NEGATIVE, BYTES, TAG, SIMPLE = 0, 1, 2, 6, 7
SEQ, T0, COLUMNS = 1, 3, 5
FLOATS = {2: ">f2", 4: ">f4", 8: ">f8"}
MOST_ROWS = 4096
MOST_KNOWN = 1024
MOST_SHAPES = 32
DEVICE = Timebase(Clock.DEVICE)


class Span(NamedTuple):
    """Bytes that differ between messages. tag: of the typed array that they are, or None."""

    at: int
    size: int
    dtype: np.dtype[Any]
    tag: int | None = None
    negative: bool = False

    @property
    def rows(self) -> int:
        return self.size // self.dtype.itemsize

    def read(self, block: NDArray[np.uint8]) -> NDArray[Any]:
        """The numbers that stand here, shape (messages, rows)."""
        found = np.ascontiguousarray(block[:, self.at : self.at + self.size]).view(self.dtype)
        return -1 - found.astype(np.int64) if self.negative else found


class Shape:
    """What DATA messages alike have in common: everything but the numbers in them.

    size: bytes of such a message. rows: readings of each column. step: between rows, in the
    schema's resolution. clock: 0 (Unix time), a boot, or None for the connection's.
    """

    def __init__(self, raw: bytes, data: Data, spans: Sequence[Span]) -> None:
        self.size = len(raw)
        self.sid, self.clock = data.sid, data.clock
        self.seq, self.t0, *self.columns = spans
        self.rows = max((span.rows for span in self.columns), default=1)
        self.step = data.step or 0
        self._fits = re.compile(_pattern(raw, spans), re.DOTALL).fullmatch

    def number(self, raw: bytes) -> int:
        """The sequence number of a message that fits this shape, 0 if it does not fit."""
        found = self._fits(raw)
        return int.from_bytes(found[1], "big") if found else 0


_KNOWN: dict[bytes, Shape] = {}
"""Devices of one make share a shape, so that their messages can be decoded together."""


def shape_of(raw: bytes, data: Data) -> Shape | None:
    """The shape of a message that was read; None if such messages must be read one by one."""
    spans = _spans(raw, data)
    if spans is None:
        return None
    pattern = _pattern(raw, spans)
    if pattern not in _KNOWN:
        if len(_KNOWN) >= MOST_KNOWN:
            _KNOWN.clear()
        _KNOWN[pattern] = Shape(raw, data, spans)
    return _KNOWN[pattern]


def _pattern(raw: bytes, spans: Iterable[Span]) -> bytes:
    pieces, end = [], 0
    for n, span in enumerate(sorted(spans)):
        hole = b".{%d}" % span.size
        pieces += [re.escape(raw[end : span.at]), b"(%s)" % hole if n == 0 else hole]
        end = span.at + span.size
    return b"".join([*pieces, re.escape(raw[end:])])


def _spans(raw: bytes, data: Data) -> list[Span] | None:
    """Where seq, time and columns stand, in this order."""
    if data.valid is not None or type(data.step) not in (int, type(None)):
        return None
    found: dict[int, list[Span | None]] = {}
    _, pairs, at = cbor.head(raw, 0)
    for _ in range(pairs):
        _, key, at = cbor.head(raw, at)
        if key in (SEQ, T0):
            found[key] = [_number(raw, at)]
        elif key == COLUMNS:
            found[key] = list(_columns(raw, at))
        at = cbor.skip(raw, at)
    spans = [*found[SEQ], *found[T0], *found[COLUMNS]]
    known = [span for span in spans if span is not None]
    rows = {span.rows for span in known[2:] if span.tag is not None}
    if len(known) < len(spans) or known[0] != min(known) or len(rows) > 1:
        return None
    if rows and (len(rows | {span.rows for span in known[2:]}) > 1 or not _fair(rows, data.step)):
        return None
    return known


def _fair(rows: set[int], step: int | None) -> bool:
    """Whether there is a time for every row, and not too many of them."""
    (n,) = rows
    return 1 <= n <= MOST_ROWS and (n == 1 or step is not None)


def _columns(raw: bytes, at: int) -> Iterator[Span | None]:
    _, count, at = cbor.head(raw, at)
    for _ in range(count):
        yield _number(raw, at)
        at = cbor.skip(raw, at)


def _number(raw: bytes, at: int) -> Span | None:
    """The span of a number or of a typed array; None if its size depends on its value."""
    major, argument, end = cbor.head(raw, at)
    size = end - at - 1
    if major == SIMPLE and size in FLOATS:
        return Span(at + 1, size, np.dtype(FLOATS[size]))
    if (major == UINT and size) or (major == NEGATIVE and 0 < size < 8):
        return Span(at + 1, size, np.dtype(f">u{size}"), negative=major == NEGATIVE)
    if major == TAG and argument in DTYPES:
        major, length, start = cbor.head(raw, end)
        if major == BYTES and length and length % DTYPES[argument].itemsize == 0:
            return Span(start, length, DTYPES[argument], tag=argument)
    return None


class Shapes:
    """The shapes that one connection has used lately."""

    def __init__(self) -> None:
        self._by_size: dict[int, Shape] = {}
        self._plain = 0

    def find(self, raw: bytes) -> tuple[Shape | None, int]:
        """The shape that a message fits, and its sequence number."""
        shape = self._by_size.get(len(raw))
        if shape is None or not (seq := shape.number(raw)):
            return None, 0
        return shape, seq

    def learn(self, raw: bytes, data: Data) -> None:
        """A message was read the usual way; learn its shape if that was not done too often."""
        self._plain += 1
        if self._plain > len(self._by_size):
            self._plain = 0
            if len(self._by_size) >= MOST_SHAPES:
                self._by_size.clear()
            if (shape := shape_of(raw, data)) is not None:
                self._by_size[shape.size] = shape


# -- bursts ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Burst:
    """Messages of one shape that followed one another on a connection: `first` … `last`.

    at: when the first came. taken: it belongs to a commit group, and grows no more.
    base: how its times become ns UTC.
    """

    shape: Shape
    layout: Layout
    at: Now
    first: int
    raws: list[bytes] = field(default_factory=list)
    taken: bool = False
    base: Timebase = DEVICE
    decoded: "Decoded | None" = None

    @property
    def last(self) -> int:
        return self.first + len(self.raws) - 1

    def __len__(self) -> int:
        return len(self.raws)

    def apart(self) -> Iterator[Arrival]:
        """The messages one by one, read the usual way."""
        for raw in self.raws:
            yield Arrival(parse(Data, cbor.decode(raw)), raw, self.at)


class Decoded(NamedTuple):
    """The readings of a burst: t int64 ns, shape (n,), and v of each field, in order of arrival."""

    t: NDArray[np.int64]
    values: Sequence[NDArray[Any]]
    low: int
    high: int


def decode(bursts: Iterable[Burst], *, latest: int) -> None:
    """Set `decoded` of each burst, unless one of its messages has to be looked at by itself.

    latest: the greatest permitted time (ns UTC) of readings whose time is known.
    """
    alike: dict[tuple[Shape, tuple[Field, ...], int], list[Burst]] = {}
    for burst in bursts:
        key = burst.shape, burst.layout.fields, burst.layout.resolution
        alike.setdefault(key, []).append(burst)
    for (shape, fields, resolution), several in alike.items():
        if _suits(shape, fields):
            _decode(shape, fields, several, unit=10 ** (9 - resolution), latest=latest)


def _suits(shape: Shape, fields: Sequence[Field]) -> bool:
    """Whether columns of this shape are what the schema says."""
    return len(fields) == len(shape.columns) and all(map(_suit, shape.columns, fields))


def _suit(span: Span, field: Field) -> bool:
    if span.tag is not None:
        return span.tag == field.type
    return field.kind is Kind.NUMBER and (field.type not in RANGES or span.dtype.kind != "f")


def _decode(
    shape: Shape,
    fields: Sequence[Field],
    several: Sequence[Burst],
    *,
    unit: int,
    latest: int,
) -> None:
    after = (shape.rows - 1) * shape.step
    bounds = [_bound(burst.base, unit=unit, after=after, latest=latest) for burst in several]
    several = [one for one, most in zip(several, bounds, strict=True) if most >= 0]
    if not several:
        return
    raws = b"".join([raw for burst in several for raw in burst.raws])
    block = np.frombuffer(raws, np.uint8).reshape(-1, shape.size)
    counts = [len(burst) for burst in several]
    starts = np.cumsum([0, *counts[:-1]])
    offsets = np.repeat(np.array([burst.base.offset for burst in several], np.int64), counts)
    t0 = shape.t0.read(block)[:, 0].astype(np.uint64)
    most = np.array([most for most in bounds if most >= 0], np.uint64)
    good = t0 <= np.repeat(most, counts)
    t = t0.astype(np.int64) * unit + offsets
    values = []
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is looked for
        for span, field in zip(shape.columns, fields, strict=True):
            column, sound = _values(span.read(block), span, field)
            good &= sound
            values.append(column)
    low = np.minimum.reduceat(t, starts).tolist()
    high = (np.maximum.reduceat(t, starts) + after * unit).tolist()
    if shape.rows > 1:
        t = (t[:, None] + np.arange(shape.rows, dtype=np.int64) * (shape.step * unit)).ravel()
    fine = np.logical_and.reduceat(good, starts).tolist()
    for n, burst in enumerate(several):
        if fine[n]:
            begin = int(starts[n]) * shape.rows
            part = slice(begin, begin + counts[n] * shape.rows)
            burst.decoded = Decoded(t[part], [v[part] for v in values], low[n], high[n])


def _bound(base: Timebase, *, unit: int, after: int, latest: int) -> int:
    """The greatest t0 of a message whose times all fit; below 0 if there is none."""
    most = INT64_MAX if base.clock is Clock.UNKNOWN else min(latest, INT64_MAX)
    return (most - max(base.offset, 0)) // unit - after


def _values(raw: NDArray[Any], span: Span, field: Field) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Values as `core.columns` makes them, shape (n,), and which messages need no closer look."""
    sound: NDArray[np.bool_] = np.ones(len(raw), np.bool_)
    if span.tag is None and field.type in RANGES:
        low, high = RANGES[field.type]
        sound = np.all((raw >= low) & (raw <= high), axis=1)
    integer = raw.dtype.kind != "f" and field.type in RANGES
    if integer and field.scale == 1 and field.offset == 0:
        wanted = np.uint64 if field.type == 71 else np.int64
        return raw.astype(wanted).ravel(), sound
    value = raw.astype(np.float64)
    if field.scale != 1 or field.offset != 0:
        value = value * field.scale + field.offset
    return value.ravel(), sound & np.all(np.isfinite(value), axis=1)
