"""Chunks: the readings of one series, compressed, lossless bit for bit (docs/storage.md, Chunks).

Every column comes down to 64-bit integers, and all arithmetic on them wraps around, so that any
value is safe. Floats are integers over a power of ten where that gives back the same bits.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.core.readings import Clock

VERSION = 1
MAX_READINGS = 1 << 20
"""Readings in one body: a column of equal values claims any number of them in a few bytes."""

Words = NDArray[np.uint64]
Signed = NDArray[np.int64]
Floats = NDArray[np.float64]

_DTYPES = tuple(map(np.dtype, (np.float64, np.int64, np.uint64, np.bool_, np.object_)))
_FLOAT, _BOOL, _TEXT = 0, 3, 4
_BOOT_BYTES = 8
_MASK = 2**64 - 1
_MAX_DIGITS = 9
_EXACT = 2.0**53
_SCALED, _PRODUCT, _SINGLE, _CORRECTED = 1, 2, 4, 8
_SAMPLE = 32
_INFLATION = 1040
"""Deflate never makes more than 1032 bytes out of one."""


class Run(NamedTuple):
    """Consecutive readings that share everything but time and value.

    boot: b"" or 8 bytes. t: (n,) int64, ns UTC (raw ns of the boot if the clock is unknown).
    v: (n,) float64, int64, uint64, bool or object (str).
    """

    unit: str
    clock: Clock
    boot: bytes
    t: NDArray[np.int64]
    v: NDArray[Any]


def encode(runs: Sequence[Run]) -> bytes:
    """The body of a chunk. Raises ValueError for runs that none can hold."""
    if sum(len(run.t) for run in runs) > MAX_READINGS:
        raise ValueError(f"more than {MAX_READINGS} readings in a chunk")
    return bytes([VERSION]) + _varint(len(runs)) + b"".join(map(_encode_run, runs))


def decode(body: bytes) -> list[Run]:
    """The runs of a chunk. Raises ValueError if it is damaged or of an unknown version."""
    source = _Source(body)
    version = source.byte()
    if version != VERSION:
        raise ValueError(f"a chunk of version {version}")
    left = MAX_READINGS
    runs = []
    for _ in range(source.varint()):
        run = _decode_run(source, most=left)
        left -= len(run.t)
        runs.append(run)
    if source.left:
        raise ValueError(f"{source.left} bytes follow the chunk")
    return runs


def _encode_run(run: Run) -> bytes:
    if run.v.dtype not in _DTYPES or run.t.dtype != np.int64:
        raise ValueError(f"no column of type {run.v.dtype} over {run.t.dtype}")
    if run.t.ndim != 1 or run.t.shape != run.v.shape:
        raise ValueError(f"{run.t.shape} times for {run.v.shape} values")
    if len(run.boot) not in (0, _BOOT_BYTES):
        raise ValueError(f"a boot of {len(run.boot)} bytes")
    kind = _DTYPES.index(run.v.dtype)
    unit = run.unit.encode()
    head = bytes([kind | run.clock << 3 | bool(run.boot) << 5])
    parts = [head, run.boot, _varint(len(unit)), unit, _varint(len(run.t))]
    if len(run.t):
        parts += [_integers(run.t, orders=(1, 2)), _encode_values(run.v, kind)]
    return b"".join(parts)


def _decode_run(source: "_Source", *, most: int) -> Run:
    head = source.byte()
    kind, clock = head & 7, head >> 3 & 3
    if kind >= len(_DTYPES) or clock > max(Clock) or head >> 6:
        raise ValueError(f"a run that begins with {head}")
    boot = source.take(_BOOT_BYTES) if head >> 5 else b""
    unit = source.take(source.varint()).decode()
    n = source.varint()
    if n > most:
        raise ValueError(f"{n} readings, at most {most}")
    if not n:
        return Run(unit, Clock(clock), boot, np.empty(0, np.int64), np.empty(0, _DTYPES[kind]))
    t = _read_integers(source, n).view(np.int64)
    return Run(unit, Clock(clock), boot, t, _decode_values(source, n, kind=kind))


def _encode_values(v: NDArray[Any], kind: int) -> bytes:
    if kind == _FLOAT:
        return _encode_floats(np.ascontiguousarray(v))
    if kind == _TEXT:
        return _encode_texts(v.tolist())
    if kind == _BOOL:
        return _integers(v.astype(np.int64), orders=(0,))
    return _integers(v, orders=(0, 1))


def _decode_values(source: "_Source", n: int, *, kind: int) -> NDArray[Any]:
    if kind == _FLOAT:
        return _decode_floats(source, n)
    if kind == _TEXT:
        return _decode_texts(source, n)
    words = _read_integers(source, n)
    if kind == _BOOL:
        if int(words.max()) > 1:
            raise ValueError("a boolean that is neither 0 nor 1")
        return words.astype(np.bool_)
    return words.view(_DTYPES[kind])


# Integers ----------------------------------------------------------------------------------


def _integers(values: NDArray[Any], *, orders: Sequence[int]) -> bytes:
    """At least one 64-bit integer, by the order of differences that makes them smallest."""
    words = np.ascontiguousarray(values).view(np.uint64)
    fitting = [order for order in orders if order < len(words)] or [0]
    return min((_differences(words, order) for order in fitting), key=len)


def _differences(words: Words, order: int) -> bytes:
    starts = []
    for _ in range(order):
        starts.append(int(words[0]))
        words = np.diff(words)
    signed = words.view(np.int64)
    middle = len(signed) // 2
    centre = np.partition(signed, middle)[middle]
    rest: Signed = (words - centre.view(np.uint64)).view(np.int64)
    divisor = int(np.gcd.reduce(np.abs(rest).view(np.uint64)))
    head = b"".join(_varint(_zigzag(start)) for start in (*starts, int(centre) & _MASK))
    if not divisor:
        return bytes([order]) + head
    if 1 < divisor <= _MASK >> 1:
        rest = rest // divisor
    else:
        divisor = 1
    folded = (rest << 1 ^ rest >> 63).view(np.uint64)
    width = (int(folded.max()).bit_length() + 7) // 8
    planes = folded.astype("<u8", copy=False).view(np.uint8).reshape(-1, 8)[:, :width].T
    body = b"".join(_deflated(plane.tobytes()) for plane in planes)
    return bytes([order | width << 2]) + head + _varint(divisor) + body


def _read_integers(source: "_Source", n: int) -> Words:
    """n 64-bit integers, n > 0."""
    head = source.byte()
    order, width = head & 3, head >> 2
    if order > 2 or order >= n or width > 8:
        raise ValueError(f"integers that begin with {head}")
    starts = [_unzigzag(source.varint()) for _ in range(order)]
    centre = np.uint64(_unzigzag(source.varint()))
    m = n - order
    words = np.full(m, centre)
    if width:
        words += _read_planes(source, m, width=width, divisor=source.varint())
    for start in reversed(starts):
        words = np.cumsum(np.concatenate((np.array([start], np.uint64), words)))
    return words


def _read_planes(source: "_Source", m: int, *, width: int, divisor: int) -> Words:
    planes = np.zeros((m, 8), np.uint8)
    for place in range(width):
        planes[:, place] = np.frombuffer(source.inflated(m), np.uint8)
    folded = planes.view("<u8").reshape(m).astype(np.uint64, copy=False)
    rest: Words = folded >> np.uint64(1) ^ np.uint64(0) - (folded & np.uint64(1))
    return rest * np.uint64(divisor)


def _zigzag(word: int) -> int:
    """A 64-bit word as a number that is small if the word, taken as signed, is near 0."""
    return (word << 1 ^ (_MASK if word >> 63 else 0)) & _MASK


def _unzigzag(folded: int) -> int:
    return folded >> 1 ^ (_MASK if folded & 1 else 0)


# Floats ------------------------------------------------------------------------------------


def _encode_floats(v: Floats) -> bytes:
    with np.errstate(all="ignore"):  # whatever overflows is found not to fit
        scaled = _scaled(v)
    if scaled is not None and not scaled[0] & _CORRECTED:
        return scaled
    plain = bytes([0]) + _integers(v, orders=(0, 1))
    return plain if scaled is None else min(scaled, plain, key=len)


def _scaled(v: Floats) -> bytes | None:
    """Floats as integers over a power of ten, and what remains as corrections of their bits."""
    single = bool(
        (v.astype(np.float32).astype(np.float64).view(np.int64) == v.view(np.int64)).all()
    )
    found = _decimals(v, precision=2.0**-24 if single else 2.0**-52)
    if found is None:
        return None
    digits, k = found
    flags, head = _SCALED | single * _SINGLE, bytes([digits])
    off = _bits_off(v, k / 10.0**digits, single=single)
    if off.any():
        step = int(np.gcd.reduce(np.abs(k))) or 1
        steps = k // step
        off_product = _bits_off(v, steps * (step / 10**digits), single=single)
        if np.count_nonzero(off_product) < np.count_nonzero(off):
            k, off, flags, head = steps, off_product, flags | _PRODUCT, head + _varint(step)
    body = _integers(k, orders=(0, 1))
    if off.any():
        flags, body = flags | _CORRECTED, body + _integers(off, orders=(0,))
    return bytes([flags]) + head + body


def _decimals(v: Floats, *, precision: float) -> tuple[int, Signed] | None:
    """The least d and int64 k such that v is about k / 10**d, or None if there is none."""
    peak = float(np.abs(v).max())
    for digits in range(_MAX_DIGITS + 1):
        power = 10.0**digits
        if not peak * power < _EXACT:
            return None
        doubt = peak * power * precision
        doubt = 2 * doubt if doubt < 0.1 else 0.0
        if _are_whole(v[:_SAMPLE] * power, doubt) and _are_whole(x := v * power, doubt):
            return digits, np.rint(x).astype(np.int64)
    return None


def _are_whole(x: Floats, doubt: float) -> bool:
    return bool((np.abs(x - np.rint(x)) <= doubt).all())


def _bits_off(v: Floats, guess: Floats, *, single: bool) -> Words:
    if single:
        guess = guess.astype(np.float32).astype(np.float64)
    return v.view(np.uint64) - guess.view(np.uint64)


def _decode_floats(source: "_Source", n: int) -> Floats:
    flags = source.byte()
    if not flags:
        return _read_integers(source, n).view(np.float64)
    digits = source.byte()
    if not flags & _SCALED or flags >> 4 or digits > _MAX_DIGITS:
        raise ValueError(f"floats that begin with {flags}, {digits}")
    step = source.varint() if flags & _PRODUCT else 0
    k = _read_integers(source, n).view(np.int64)
    v = k * (step / 10**digits) if flags & _PRODUCT else k / 10.0**digits
    if flags & _SINGLE:
        with np.errstate(over="ignore"):
            v = v.astype(np.float32).astype(np.float64)
    if flags & _CORRECTED:
        v = (v.view(np.uint64) + _read_integers(source, n)).view(np.float64)
    return v


# Texts and bytes ---------------------------------------------------------------------------


def _encode_texts(texts: list[Any]) -> bytes:
    """Distinct texts in the order of their first appearance, and which of them each row holds."""
    if set(map(type, texts)) != {str}:
        raise ValueError("a column of texts holds something else")
    codes = {text: code for code, text in enumerate(dict.fromkeys(texts))}
    raws = [text.encode() for text in codes]
    joined = b"".join(raws)
    sizes = np.array(list(map(len, raws)), np.int64)
    chosen = np.array([codes[text] for text in texts], np.int64)
    return b"".join(
        (
            _varint(len(raws)),
            _integers(sizes, orders=(0,)),
            _deflated(joined),
            _integers(chosen, orders=(0, 1)),
        )
    )


def _decode_texts(source: "_Source", n: int) -> NDArray[Any]:
    count = source.varint()
    if not 0 < count <= n:
        raise ValueError(f"{count} distinct texts in {n} readings")
    sizes = _read_integers(source, count).tolist()
    joined = source.inflated(sum(sizes))
    texts = np.empty(count, np.object_)
    at = 0
    for i, size in enumerate(sizes):
        texts[i] = joined[at : at + size].decode()
        at += size
    codes = _read_integers(source, n)
    if int(codes.max()) >= count:
        raise ValueError("a text that is not among the distinct ones")
    return texts[codes]


def _deflated(raw: bytes) -> bytes:
    """Length and deflated bytes, or 0 and the bytes as they are if that is shorter."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    packed = packer.compress(raw) + packer.flush()
    return _varint(len(packed)) + packed if len(packed) < len(raw) else b"\0" + raw


def _varint(number: int) -> bytes:
    """LEB128: seven bits a byte, the least first; all bytes but the last have their top bit."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


@dataclass(slots=True)
class _Source:
    """Bytes that are read from the front; ValueError where they do not suffice."""

    data: bytes
    at: int = 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise ValueError(f"{size} bytes where {self.left} are left")
        self.at += size
        return self.data[self.at - size : self.at]

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        number = 0
        for shift in range(0, 70, 7):
            part = self.byte()
            number |= (part & 127) << shift
            if part < 128 and number <= _MASK:
                return number
        raise ValueError("an integer beyond 64 bits")

    def inflated(self, size: int) -> bytes:
        """`size` bytes, as `_deflated` wrote them."""
        packed = self.varint()
        if not packed:
            return self.take(size)
        source = self.take(packed)
        if size > packed * _INFLATION:
            raise ValueError(f"{size} bytes out of {packed}")
        unpacker = zlib.decompressobj(-15)
        try:
            raw = unpacker.decompress(source, size or 1)
        except zlib.error as error:
            raise ValueError(f"a damaged chunk: {error}") from error
        if len(raw) != size or not unpacker.eof or unpacker.unused_data:
            raise ValueError(f"a damaged chunk: {len(raw)} of {size} bytes")
        return raw
