"""A second decoder of what is on disk, written from docs/storage.md and docs/wire.md alone.

It shares nothing with the gateway, so that an error there cannot hide here.
"""

import json
import zlib
from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import cbor2
import numpy as np
from cbor2 import CBORTag

TYPES = {
    64: "u1", 69: "<u2", 70: "<u4", 71: "<u8",
    72: "i1", 77: "<i2", 78: "<i4", 79: "<i8",
    84: "<f2", 85: "<f4", 86: "<f8",
}  # fmt: skip
UNKNOWN = 2
SERIES = {float: 0, bool: 1, str: 2}
CHUNK_TYPES = ("<f8", "<i8", "<u8", "?", "O")


class Damaged(Exception):
    """Bytes that are not what their checksum or their format says."""


class Entry(NamedTuple):
    """One message of a journal row. kind: its type on the wire (16 DATA …)."""

    stream: int
    seq: int
    last: int
    readings: int
    schema: int
    clock: int
    offset: int
    boot: bytes
    content: dict[int, Any]


class Run(NamedTuple):
    """Readings of one metric: t in ns UTC, or raw ns of `boot` if the clock is unknown."""

    metric: str
    kind: int
    clock: int
    boot: bytes
    t: list[int]
    v: list[Any]


class Schema(NamedTuple):
    resolution: int
    fields: list[dict[str, Any]]


def entries(header: bytes, body: bytes, crc: int) -> list[Entry]:
    """The messages of a journal row."""
    if zlib.crc32(header + body) != crc:
        raise Damaged("a journal row does not match its checksum")
    content = header[1:]
    if header[0] & 2:
        content, body = zlib.decompress(content, -15), zlib.decompress(body, -15)
    bases, rows, lengths = cbor2.loads(content)
    rows = list(zip(*rows, strict=True)) if header[0] & 4 else rows
    counts = [row[6] if len(row) > 6 else 1 for row in rows]
    if header[0] & 4:
        sizes = [size // n for size, n in zip(lengths, counts, strict=True) for _ in range(n)]
        body = unwoven(body, sizes)
    ends = list(accumulate(lengths, initial=0))
    if ends[-1] != len(body):
        raise Damaged("the lengths in a journal header do not add up to its body")
    found = []
    for i, (stream, seq, more, readings, schema, base, *_) in enumerate(rows):
        content = body[ends[i] : ends[i + 1]]
        size, each = len(content) // counts[i], (more + 1) // counts[i]
        for n in range(counts[i]):
            message = cbor2.loads(content[n * size : (n + 1) * size])
            first = seq + n * each
            found.append(
                Entry(stream, first, first + each - 1, readings, schema, *bases[base], message)
            )
    return found


def unwoven(body: bytes, sizes: list[int]) -> bytes:
    """Messages that were written byte by byte together with those of their size."""
    messages: dict[int, bytes] = {}
    at = 0
    for size in dict.fromkeys(sizes):
        numbers = [n for n, each in enumerate(sizes) if each == size]
        end = at + len(numbers) * size
        messages |= {n: body[at + k : end : len(numbers)] for k, n in enumerate(numbers)}
        at = end
    return b"".join(messages[n] for n in range(len(sizes)))


def runs(entry: Entry, schema: Schema | None) -> Iterator[Run]:
    """The readings of a message, a run per column; SENML a run per record."""
    if not entry.readings:
        return
    if entry.content[0] == 17:
        yield from _senml(entry)
        return
    assert schema is not None
    columns, t0, step = entry.content[5], entry.content[3], entry.content.get(4)
    sizes = [len(_open(column)) for column in columns if isinstance(column, CBORTag | list)]
    if isinstance(step, CBORTag):
        sizes.append(len(_open(step)))
    n = max(sizes, default=1)
    steps = _open(step) if isinstance(step, CBORTag) else [i * (step or 0) for i in range(n)]
    unit = 10 ** (9 - schema.resolution)
    times = [(t0 + more) * unit + entry.offset for more in steps]
    bitmaps = entry.content.get(6) or {}
    for i, (column, field) in enumerate(zip(columns, schema.fields, strict=True)):
        raw = _open(column) if isinstance(column, CBORTag | list) else [column] * n
        bits = bitmaps.get(i)
        there = [
            row
            for row in range(n)
            if raw[row] is not None
            and raw[row] == raw[row]
            and (bits is None or bits[row // 8] >> row % 8 & 1)
        ]
        if there:
            values = [_scaled(raw[row], field) for row in there]
            kind = {0: 1, 1: 2}.get(field["type"], 0)
            t = [times[row] for row in there]
            yield Run(field["metric"], kind, entry.clock, entry.boot, t, values)


def _open(column: CBORTag | list[Any]) -> list[Any]:
    if isinstance(column, list):
        return column
    return np.frombuffer(column.value, TYPES[column.tag]).tolist()  # type: ignore[no-any-return]


def _scaled(raw: Any, field: dict[str, Any]) -> Any:
    if field["type"] in (0, 1):
        return raw
    if field["scale"] == 1 and field["offset"] == 0:
        return float(raw) if field["type"] >= 84 else int(raw)
    return raw * field["scale"] + field["offset"]


def _senml(entry: Entry) -> Iterator[Run]:
    """As far as the campaign's devices use it: names without a slash, absolute whole seconds."""
    for record in entry.content[2]:
        v = next(record[label] for label in (2, 3, 4) if label in record)
        v = float(v) if isinstance(v, float) else v
        kind = SERIES.get(type(v), 0)
        yield Run(record[0], kind, entry.clock, b"", [record[6] * 10**9], [v])


class Source:
    """Bytes that are read from the front."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise Damaged("a chunk ends too early")
        self.at += size
        return self.data[self.at - size : self.at]

    def varint(self) -> int:
        number = shift = 0
        while True:
            (part,) = self.take(1)
            number |= (part & 127) << shift
            shift += 7
            if part < 128:
                return number

    def zigzag(self) -> int:
        """As an unsigned 64-bit word."""
        folded = self.varint()
        return (folded >> 1) ^ (2**64 - 1 if folded & 1 else 0)

    def unpacked(self, size: int) -> bytes:
        packed = self.varint()
        raw = zlib.decompress(self.take(packed), -15) if packed else self.take(size)
        if len(raw) != size:
            raise Damaged("a chunk holds less than it says")
        return raw

    def integers(self, n: int) -> list[int]:
        """Unsigned 64-bit words; all arithmetic wraps around."""
        (head,) = self.take(1)
        order, width = head & 3, head >> 2
        starts = [self.zigzag() for _ in range(order)]
        centre = self.zigzag()
        words = [centre] * (n - order)
        if width:
            divisor = self.varint()
            planes = [self.unpacked(n - order) for _ in range(width)]
            for row in range(n - order):
                folded = sum(plane[row] << 8 * place for place, plane in enumerate(planes))
                rest = (folded >> 1) ^ (2**64 - 1 if folded & 1 else 0)
                words[row] = (centre + rest * divisor) % 2**64
        for start in reversed(starts):
            words = [word % 2**64 for word in accumulate(words, initial=start)]
        return words

    def floats(self, n: int) -> list[float]:
        (flags,) = self.take(1)
        if not flags & 1:
            return np.array(self.integers(n), "<u8").view("<f8").tolist()  # type: ignore[no-any-return]
        (digits,) = self.take(1)
        step = self.varint() if flags & 2 else 0
        k = np.array(self.integers(n), "<u8").view("<i8")
        v = k * (step / 10**digits) if step else k / 10.0**digits
        if flags & 4:
            v = v.astype("<f4").astype("<f8")
        if flags & 8:
            v = (v.view("<u8") + np.array(self.integers(n), "<u8")).view("<f8")
        return v.tolist()  # type: ignore[no-any-return]

    def texts(self, n: int) -> list[str]:
        sizes = self.integers(self.varint())
        ends = list(accumulate(sizes, initial=0))
        joined = self.unpacked(ends[-1])
        known = [joined[a:b].decode() for a, b in pairwise(ends)]
        return [known[code] for code in self.integers(n)]

    def values(self, kind: int, n: int) -> list[Any]:
        if kind == 0:
            return self.floats(n)
        if kind == 4:
            return self.texts(n)
        words = self.integers(n)
        if kind == 1:
            return [_signed(word) for word in words]
        return [bool(word) for word in words] if kind == 3 else words


def chunk(body: bytes, crc: int, *, metric: str, kind: int) -> Iterator[Run]:
    """The readings of a chunk."""
    if zlib.crc32(body) != crc:
        raise Damaged("a chunk does not match its checksum")
    source = Source(body)
    if source.take(1) != b"\1":
        raise Damaged("a chunk of an unknown version")
    for _ in range(source.varint()):
        (head,) = source.take(1)
        boot = source.take(8) if head >> 5 & 1 else b""
        source.take(source.varint())
        n = source.varint()
        t = [_signed(word) for word in source.integers(n)] if n else []
        yield Run(metric, kind, head >> 3 & 3, boot, t, source.values(head & 7, n) if n else [])
    if source.at != len(body):
        raise Damaged("bytes follow a chunk")


def _signed(word: int) -> int:
    return word - 2**64 if word >> 63 else word


def schema(resolution: int, fields: str) -> Schema:
    return Schema(resolution, json.loads(fields))
