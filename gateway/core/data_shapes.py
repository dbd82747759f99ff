"""DATA messages alike (docs/wire.md §4): columns of numbers at fixed places."""

from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from cbor2 import CBORTag
from numpy.typing import NDArray

from gateway.core.layouts import RANGES, Field
from gateway.core.messages import Data, is_uint
from gateway.core.readings import INT64_MAX, Clock, Kind, Timebase, Times
from gateway.core.shapes import (
    Burst,
    Metric,
    Shape,
    Span,
    Table,
    booleans,
    items,
    numbers,
    pairs,
    shares,
    span_at,
)

Ints = NDArray[np.int64]

SEQ, T0, STEP, COLUMNS = 1, 3, 4, 5
MOST_ROWS, MOST_STEP = 4096, 2**32
UINT64 = 71
OFFSETS = (64, 69, 70)
"""Tags of the offsets that a shape may have: none is below 0, nor so great as to overflow."""


class DataShape(Shape):
    """rows: readings of each column. step: between rows, or where their offsets stand; in the
    schema's resolution. clock: 0 (Unix time), a boot, or None for the connection's.
    """

    kind = Data.TYPE

    def __init__(self, raw: bytes, data: Data, spans: Sequence[Span]) -> None:
        super().__init__(raw, spans)
        self.sid, self.clock = data.sid, data.clock
        _, self.t0, *rest = spans
        self.columns = rest[-len(data.columns) :]
        self.rows = rest[0].rows
        self.step: Span | int = 0
        if len(rest) > len(self.columns):
            self.step = rest[0]
        elif self.rows > 1:
            self.step = data.step
        self.readings = self.rows * len(self.columns)
        self._strips: tuple[Sequence[Field], Sequence[Strip]] = (), ()

    def key(self, burst: Burst) -> Hashable:
        assert burst.layout is not None
        return id(burst.layout.fields), burst.layout.resolution  # like ones are the same

    def decode(self, bursts: Sequence[Burst], *, latest: int) -> None:
        layout = bursts[0].layout
        assert layout is not None
        unit = 10 ** (9 - layout.resolution)
        bounds = list(_bounds(bursts, unit=unit, latest=latest))
        bursts = [burst for burst, most in zip(bursts, bounds, strict=True) if most >= 0]
        found = self._strips_of(layout.fields)
        if not bursts or not found:
            return
        block, (counts, starts) = self.block(bursts), shares(bursts)
        most = np.repeat(np.array([most for most in bounds if most >= 0], np.uint64), counts)
        offsets = np.repeat(np.array([burst.base.offset for burst in bursts], np.int64), counts)
        first, last, t, good = self._times(block, most, unit, offsets)
        low = np.minimum.reduceat(first, starts).tolist()
        high = np.maximum.reduceat(last, starts).tolist()
        parts: list[tuple[tuple[Metric, ...], NDArray[Any]]] = []
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is looked for
            for strip in found:
                v, sound = strip.read(block)
                good &= sound
                parts.append((strip.metrics, v))
        fine = np.logical_and.reduceat(good, starts).tolist()
        for n, burst in enumerate(bursts):
            if fine[n]:
                begin = int(starts[n]) * self.rows
                part = slice(begin, begin + counts[n] * self.rows)
                times = Times.between(t[part], low[n], high[n])
                burst.decoded = [Table(metrics, times, v[:, part]) for metrics, v in parts]

    def _times(
        self, block: NDArray[np.uint8], most: NDArray[np.uint64], unit: int, offsets: Ints
    ) -> tuple[Ints, Ints, Ints, NDArray[np.bool_]]:
        """The earliest and the latest time of each message, those of all readings (ns UTC), and
        which messages have none after `most`. A device's time is so many units of ns, and an
        offset.
        """
        if isinstance(self.step, Span):
            steps = self.step.read(block).astype(np.int64)
        else:
            steps = np.arange(self.rows, dtype=np.int64)[np.newaxis] * self.step
        least, greatest = steps.min(axis=1), steps.max(axis=1)
        t0 = self.t0.read(block)[:, 0].astype(np.uint64)
        good = (t0 <= most) & (greatest.astype(np.uint64) <= most - t0)
        t = t0.astype(np.int64) * unit + offsets
        each = (t[:, np.newaxis] + steps * unit).ravel()
        return t + least * unit, t + greatest * unit, each, good

    def _strips_of(self, fields: Sequence[Field]) -> Sequence["Strip"]:
        """All columns in strips; none if columns of this shape are not what the schema says."""
        if self._strips[0] is not fields:  # those that were asked for last
            suits = len(fields) == len(self.columns) and all(map(_suit, self.columns, fields))
            self._strips = fields, strips(self.columns, fields) if suits else ()
        return self._strips[1]


def data_spans(raw: bytes, data: Data) -> list[Span] | None:
    """Where seq, time, offsets if there are any, and columns stand, in this order; None if they
    have no fixed place.
    """
    if data.valid is not None:
        return None
    places = dict(pairs(raw, 0))
    starts = [places[SEQ], places[T0]]
    if type(data.step) is CBORTag:
        starts.append(places[STEP])
    found = [span_at(raw, at) for at in (*starts, *items(raw, places[COLUMNS]))]
    known = [span for span in found if span is not None]
    if len(known) < len(found) or known[0] != min(known) or any(span.tiny for span in known[:2]):
        return None
    rows = {span.rows for span in known[2:]}
    return known if len(rows) == 1 and _fair(rows.pop(), data.step) else None


def _fair(rows: int, step: Any) -> bool:
    """Whether there is a time for every row, neither too many of them nor too far apart."""
    if rows > MOST_ROWS:
        return False
    if type(step) is CBORTag:
        return step.tag in OFFSETS
    return rows == 1 if step is None else is_uint(step) and (rows == 1 or step <= MOST_STEP)


def _suit(span: Span, field: Field) -> bool:
    if span.tiny:
        return field.kind is not Kind.TEXT
    if span.tag is not None:
        return span.tag == field.type
    return field.kind is Kind.NUMBER and (field.type not in RANGES or not span.is_float)


def _bounds(bursts: Sequence[Burst], **how: int) -> Iterator[int]:
    """`_bound` of each; most have the same base."""
    base, most = None, 0
    for burst in bursts:
        if burst.base is not base:
            base, most = burst.base, _bound(burst.base, **how)
        yield most


def _bound(base: Timebase, *, unit: int, latest: int) -> int:
    """The greatest time of a device's clock that fits; below 0 if there is none."""
    most = INT64_MAX if base.clock is Clock.UNKNOWN else min(latest, INT64_MAX)
    return (most - max(base.offset, 0)) // unit


class Strip(NamedTuple):
    """Columns of one type that follow one another at even distances."""

    spans: Sequence[Span]
    fields: Sequence[Field]
    metrics: tuple[Metric, ...]

    def read(self, block: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values as `core.columns` makes them, shape (columns, times of all messages), and which
        messages need no closer look. float32 stays what it is until it is folded.
        """
        span, field = self.spans[0], self.fields[0]
        raw, sound = self._raw(block), np.ones(len(block), np.bool_)
        if field.kind is Kind.BOOLEAN:
            truth, known = booleans(raw)
            sound &= _throughout(known)
            return truth.reshape(len(self.spans), -1), sound
        if span.tiny:
            raw, known = numbers(raw)
            sound &= _throughout(known)
        if span.tag is None and field.type in RANGES:
            low, high = RANGES[field.type]
            sound &= _throughout((raw >= low) & (raw <= high))
        value: NDArray[Any]
        if _plain(field) and not span.is_float and field.type in RANGES:
            value = raw.astype(np.uint64 if field.type == UINT64 else np.int64)
        else:
            short = raw.dtype.kind == "f" and raw.dtype.itemsize == 4 and _plain(field)
            value = raw.astype(np.float32 if short else np.float64, copy=False)
            if not _plain(field):
                scales = self._each([field.scale for field in self.fields])
                value = value * scales + self._each([field.offset for field in self.fields])
            sound &= _throughout(np.isfinite(value))
        return value.reshape(len(self.spans), -1), sound

    def _raw(self, block: NDArray[np.uint8]) -> NDArray[Any]:
        """The numbers as they came, shape (columns, messages, rows)."""
        first, count = self.spans[0], len(self.spans)
        if count == 1:
            return first.read(block)[np.newaxis]
        apart = self.spans[1].at - first.at
        begin = first.at + first.size - apart  # each with what stands before it
        strip = block[:, begin : begin + count * apart].reshape(len(block), count, apart)
        found = np.ascontiguousarray(strip[:, :, -first.size :].swapaxes(0, 1)).view(first.dtype)
        return -1 - found.astype(np.int64) if first.negative else found

    def _each(self, numbers: list[float]) -> NDArray[np.float64]:
        return np.array(numbers)[:, np.newaxis, np.newaxis]


def _throughout(good: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """In which messages all numbers are good: (columns, messages, rows) of them. Mostly in all,
    and to see that takes a fiftieth of the time.
    """
    if good.all():
        return np.ones(good.shape[1], np.bool_)
    found: NDArray[np.bool_] = np.logical_and.reduce(good, axis=(0, 2))
    return found


def strips(spans: Sequence[Span], fields: Sequence[Field]) -> list[Strip]:
    """All columns, in as few strips as they make."""
    found: list[tuple[list[Span], list[Field]]] = []
    for span, field in zip(spans, fields, strict=True):
        if found and _continue(*found[-1], span, field):
            found[-1][0].append(span)
            found[-1][1].append(field)
        else:
            found.append(([span], [field]))
    return [
        Strip(some, those, tuple((field.metric, field.kind, field.unit) for field in those))
        for some, those in found
    ]


def _continue(spans: Sequence[Span], fields: Sequence[Field], span: Span, field: Field) -> bool:
    """Whether a column is one more of a strip."""
    last, before = spans[-1], fields[-1]
    apart = spans[1].at - spans[0].at if len(spans) > 1 else span.at - last.at
    return span == last._replace(at=last.at + apart) and (field.type, _plain(field)) == (
        before.type,
        _plain(before),
    )


def _plain(field: Field) -> bool:
    return field.scale == 1 and field.offset == 0
