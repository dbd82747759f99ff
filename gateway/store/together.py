"""Messages of the journal become readings again: those that are alike, together.

A shape is learnt from the first of them (`core.alike`), and messages of one device that fit it and
follow one another are decoded as one. Whatever needs a closer look is read by itself.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.core.alike import Shapes
from gateway.core.alike import decode as decode_alike
from gateway.core.clock import Now
from gateway.core.entry import Entry
from gateway.core.readings import INT64_MAX, Batch, Column, SeriesKey
from gateway.core.shapes import Burst, Shape, Table
from gateway.store.journal import (
    UNREADABLE,
    Lookup,
    decode,
    opened,
    readings_of,
    timebase,
    unreadable,
)

MOST_MESSAGES = 512
MOST_BYTES = 2**18
MOST_ALIKE = 64
"""If one of them needs a closer look, so many are read one by one."""


def batches(entries: Iterable[Entry], lookup: Lookup) -> Iterator[Batch]:
    """The readings of messages: a batch holds those of one, or of several that are alike.

    Of one series they come in the order of the messages. Only a few hundred messages are held at a
    time. Raises StoreCorrupt if one cannot be read any more.
    """
    reader = _Reader(lookup)
    for entry in entries:
        if entry.readings:
            reader.add(entry)
            if reader.full:
                yield from reader.batches()
    yield from reader.batches()


class _Alike(NamedTuple):
    """Messages that fit one shape, with no other of their device between them."""

    first: Entry
    device: str
    burst: Burst
    entries: list[Entry]

    def goes_on(self, entry: Entry, shape: Shape) -> bool:
        """Whether a message is one more of these."""
        return (
            shape is self.burst.shape
            and entry[0] == self.first[0]
            and entry[5:9] == self.first[5:9]
            and len(self.entries) < MOST_ALIKE
        )


class _Reader:
    """Gathers messages that are alike, and reads the others as they come."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._shapes: defaultdict[tuple[int, int], Shapes] = defaultdict(Shapes)
        self._apart: defaultdict[tuple[int, int], int] = defaultdict(int)
        self._begin()

    def _begin(self) -> None:
        self._parts: list[_Alike | Batch] = []
        self._open: dict[str, _Alike] = {}
        self._messages = self._bytes = 0

    @property
    def full(self) -> bool:
        return self._messages >= MOST_MESSAGES or self._bytes >= MOST_BYTES

    def add(self, entry: Entry) -> None:
        self._messages += 1
        self._bytes += len(entry.message)
        shapes = self._shapes[entry.stream, entry.schema]
        found = shapes.one(entry.message)
        try:
            if found is None:
                self._read(entry, shapes)
            else:
                self._gather(entry, found.shape)
        except UNREADABLE as error:
            raise unreadable(entry, error) from error

    def _read(self, entry: Entry, shapes: Shapes) -> None:
        message = opened(entry)
        self._parts.append(readings_of(message, entry, self._lookup))
        if entry.schema:  # what follows comes after it
            self._open.pop(self._lookup.device(entry.stream), None)
        else:  # a pack may hold series of any device
            self._open.clear()
        place = entry.stream, entry.schema
        self._apart[place] = count = self._apart[place] + 1
        if count & (count - 1) == 0:  # ever less often where it does not help
            shapes.learn(entry.message, message)

    def _gather(self, entry: Entry, shape: Shape) -> None:
        device = self._lookup.device(entry.stream)
        alike = self._open.get(device)
        if alike is None or not alike.goes_on(entry, shape):
            layout = self._lookup.layout(entry.schema) if entry.schema else None
            burst = Burst(shape, layout, Now(entry.offset, 0), entry.seq)
            burst.base = timebase(entry, self._lookup)
            alike = self._open[device] = _Alike(entry, device, burst, [])
            self._parts.append(alike)
        alike.entries.append(entry)
        alike.burst.add(entry.message, 1)

    def batches(self) -> Iterator[Batch]:
        """The readings of what was gathered."""
        parts = self._parts
        self._begin()
        decode_alike((one.burst for one in parts if isinstance(one, _Alike)), latest=INT64_MAX)
        for part in parts:
            if isinstance(part, Batch):
                yield part
            elif part.burst.decoded is not None:
                yield _batch(part, part.burst.decoded)
            else:
                yield from (decode(entry, self._lookup) for entry in part.entries)


def _batch(alike: _Alike, tables: Sequence[Table]) -> Batch:
    """Copies, so that who keeps a column does not keep what was decoded with it; doubles, as when
    they are read one by one."""
    columns = []
    for metrics, times, values in tables:
        t = times.t.copy()
        for (metric, kind, unit), v in zip(metrics, values, strict=True):
            columns.append(Column(SeriesKey(alike.device, metric, kind), unit, t, _own(v)))
    return Batch(columns, alike.burst.base.clock, alike.burst.base.boot)


def _own(v: NDArray[Any]) -> NDArray[Any]:
    return v.astype(np.float64 if v.dtype == np.float32 else v.dtype)
