"""SENML packs alike (docs/wire.md §4): the same names and units, other values and times."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.core.messages import NAME, Senml
from gateway.core.readings import INT64_MAX, NS_PER_S, Kind, Times
from gateway.core.senml import (
    BN,
    BT,
    BU,
    BVER,
    RELATIVE_BELOW_NS,
    VB,
    N,
    T,
    U,
    V,
    read_senml,
)
from gateway.core.shapes import (
    Burst,
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
from gateway.errors import Rejected

SEQ, PACK = 1, 2
MOST_SECONDS = 2.0**32
"""Two of these, and the time of receipt, are not too many nanoseconds for 64 bits."""
INDEFINITE, INDEFINITE_MAP = 0x9F, 0xBF
_LABELS = frozenset({BVER, BN, BT, BU, N, T, U, V, VB})


class Record(NamedTuple):
    """A reading of the pack: where its value and the two parts of its time stand, if it has any."""

    metric: str
    kind: Kind
    unit: str
    value: Span
    base: Span | None
    time: Span | None


@dataclass(slots=True)
class _Parts:
    """Arrays of all messages; `sound`: those that need no closer look."""

    received: NDArray[np.int64]
    block: NDArray[np.uint8]
    latest: int
    sound: NDArray[np.bool_]

    def time(self, record: Record) -> NDArray[np.int64]:
        t = np.zeros(len(self.block), np.int64)
        for span in (record.base, record.time):
            if span is not None:
                t = t + self._seconds(span)
        t = np.where(t < RELATIVE_BELOW_NS, t + self.received, t)
        self.sound &= t <= self.latest
        return t

    def value(self, record: Record) -> NDArray[Any]:
        span = record.value
        if record.kind is Kind.BOOLEAN:
            truth, known = booleans(span.read(self.block)[:, 0])
            self.sound &= known
            return truth
        raw = self._numbers(span)
        self.sound &= np.isfinite(raw) if span.is_float else raw <= INT64_MAX
        # A value counts from the base value, 0: of -0.0 that makes 0.0.
        return raw.astype(np.float64) + 0.0 if span.is_float else raw.astype(np.int64)

    def _numbers(self, span: Span) -> NDArray[Any]:
        raw = span.read(self.block)[:, 0]
        if span.tiny:
            raw, known = numbers(raw)
            self.sound &= known
        return raw

    def _seconds(self, span: Span) -> NDArray[np.int64]:
        """As `decimals.read_time` has it."""
        raw = self._numbers(span).astype(np.float64)
        good = np.abs(raw) < MOST_SECONDS
        self.sound &= good
        fraction, whole = np.modf(np.where(good, raw, 0.0))
        nanoseconds: NDArray[np.int64] = np.rint(fraction * NS_PER_S).astype(np.int64)
        return nanoseconds + whole.astype(np.int64) * NS_PER_S


class PackShape(Shape):
    """records: the readings of a pack, in its order."""

    kind = Senml.TYPE

    def __init__(self, raw: bytes, spans: Sequence[Span], records: Sequence[Record]) -> None:
        super().__init__(raw, spans)
        self.readings = len(records)
        self.series: dict[tuple[str, Kind], list[Record]] = {}
        for record in records:
            self.series.setdefault((record.metric, record.kind), []).append(record)
        self.brief = any(record.base is None and record.time is None for record in records)

    def decode(self, bursts: Sequence[Burst], *, latest: int) -> None:
        block = self.block(bursts)
        counts, starts = shares(bursts)
        received = np.repeat(np.array([burst.at.unix for burst in bursts], np.int64), counts)
        parts = _Parts(received, block, latest, np.ones(len(block), np.bool_))
        columns = {
            key: (_stack(map(parts.time, records)), _stack(map(parts.value, records)))
            for key, records in self.series.items()
        }
        fine = np.logical_and.reduceat(parts.sound, starts).tolist()
        for n, burst in enumerate(bursts):
            if fine[n]:
                part = slice(int(starts[n]), int(starts[n]) + counts[n])
                burst.decoded = [
                    Table(
                        ((*key, self._unit(key)),),
                        Times.of(t[part].ravel()),
                        v[part].reshape(1, -1),
                    )
                    for key, (t, v) in columns.items()
                ]

    def _unit(self, key: tuple[str, Kind]) -> str:
        return next((record.unit for record in self.series[key] if record.unit), "")


def _stack(columns: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """Values of one series, shape (messages, records); floats if any of them are."""
    return np.stack(list(columns), axis=1)


def pack_shape(raw: bytes, message: Senml) -> PackShape | None:
    """The shape of a pack that was read; None if such packs must be read one by one."""
    places = dict(pairs(raw, 0))
    seq = span_at(raw, places[SEQ])
    if seq is None or seq.tiny or raw[places[PACK]] == INDEFINITE or not _is_sound(message):
        return None
    spans, records = [seq], list[Record]()
    name, unit, base = "", "", None
    for record, at in zip(message.pack, items(raw, places[PACK]), strict=True):
        if not _LABELS.issuperset(record) or raw[at] == INDEFINITE_MAP:
            return None
        where = dict(pairs(raw, at))
        found = {label: span_at(raw, where[label]) for label in (BT, T, V, VB) if label in where}
        if None in found.values() or any(span.tag is not None for span in found.values() if span):
            return None
        spans += [span for span in found.values() if span is not None]
        name, unit, base = record.get(BN, name), record.get(BU, unit), found.get(BT, base)
        for label, kind in ((V, Kind.NUMBER), (VB, Kind.BOOLEAN)):
            if (value := found.get(label)) is not None:
                full = name + record.get(N, "")
                unit_of = record.get(U, unit)
                records.append(Record(full, kind, unit_of, value, base, found.get(T)))
    named = all(NAME.fullmatch(record.metric) for record in records)
    return PackShape(raw, spans, records) if records and named and seq == min(spans) else None


def _is_sound(message: Senml) -> bool:
    """Whether what all packs of this shape have in common is right."""
    try:
        read_senml(message.pack, device="-", received=0, latest=None, speaks_for_others=True)
    except Rejected:
        return False
    return True
