"""A second decoder of chunks, in plain Python, written from docs/storage.md alone."""

import struct
import zlib

TYPES = ("float64", "int64", "uint64", "bool", "text")
ONES = 2**64 - 1


class Reader:
    def __init__(self, body):
        self.body, self.at = body, 0

    def take(self, size):
        assert self.at + size <= len(self.body)
        self.at += size
        return self.body[self.at - size : self.at]

    def byte(self):
        return self.take(1)[0]

    def varint(self):
        number, shift = 0, 0
        while True:
            part = self.byte()
            number += (part & 0x7F) << shift
            shift += 7
            if part < 0x80:
                assert number <= ONES
                return number

    def svarint(self):
        return unzigzag(self.varint())

    def packed(self, size):
        length = self.varint()
        if not length:
            return self.take(size)
        raw = zlib.decompress(self.take(length), wbits=-15)
        assert len(raw) == size
        return raw

    def integers(self, n):
        head = self.byte()
        order, width = head & 3, head >> 2
        assert order < min(n, 3)
        assert width <= 8
        starts = [self.svarint() for _ in range(order)]
        centre, divisor = self.svarint(), self.varint() if width else 0
        m = n - order
        planes = [self.packed(m) for _ in range(width)]
        found = []
        for i in range(m):
            f = sum(plane[i] << 8 * place for place, plane in enumerate(planes))
            found.append((centre + signed(unzigzag(f)) * divisor) & ONES)
        for start in reversed(starts):
            words = [start]
            for difference in found:
                words.append((words[-1] + difference) & ONES)
            found = words
        return found

    def floats(self, n):
        flags = self.byte()
        if not flags & 1:
            assert not flags
            return self.integers(n)
        digits = self.byte()
        assert digits <= 9
        assert flags < 16
        step = self.varint() if flags & 2 else 0
        k = [float(signed(word)) for word in self.integers(n)]
        power = float(10**digits)
        v = [x * (step / power) if flags & 2 else x / power for x in k]
        if flags & 4:
            v = [single(x) for x in v]
        corrections = self.integers(n) if flags & 8 else [0] * n
        return [(bits(x) + off) & ONES for x, off in zip(v, corrections, strict=True)]

    def texts(self, n):
        sizes = self.integers(self.varint())
        joined = Reader(self.packed(sum(sizes)))
        distinct = [joined.take(size).decode() for size in sizes]
        return [distinct[code] for code in self.integers(n)]

    def run(self):
        head = self.byte()
        assert head < 64
        boot = self.take(8) if head & 32 else b""
        unit = self.take(self.varint()).decode()
        n = self.varint()
        kind = TYPES[head & 7]
        if not n:
            return unit, head >> 3 & 3, boot, kind, [], []
        t = [signed(word) for word in self.integers(n)]
        if kind == "float64":
            v = self.floats(n)
        elif kind == "text":
            v = self.texts(n)
        else:
            v = self.integers(n)
        return unit, head >> 3 & 3, boot, kind, t, v


def unzigzag(z):
    return (z >> 1) ^ (ONES if z & 1 else 0)


def signed(word):
    return word - 2**64 if word >> 63 else word


def bits(x):
    return struct.unpack("<Q", struct.pack("<d", x))[0]


def single(x):
    try:
        return struct.unpack("<f", struct.pack("<f", x))[0]
    except OverflowError:
        return float("inf") if x > 0 else float("-inf")


def read(body):
    """Runs as (unit, clock, boot, type, times, values); numbers other than text are words."""
    reader = Reader(body)
    assert reader.byte() == 1
    runs = [reader.run() for _ in range(reader.varint())]
    assert reader.at == len(body)
    return runs
