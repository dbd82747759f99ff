"""Columns of floats in chunks, bit for bit (docs/storage.md, Chunks).

Floats are integers over a power of ten where that gives back the same bits.
"""

import numpy as np
from numpy.typing import NDArray

from gateway.core.between import Part, end_of
from gateway.core.integers import Signed, Words, encode_integers, read_integers
from gateway.core.octets import Source, varint

Floats = NDArray[np.float64]

_MAX_DIGITS = 9
_EXACT = 2.0**53
_SCALED, _PRODUCT, _SINGLE, _CORRECTED = 1, 2, 4, 8
_SAMPLE = 32


def encode_floats(v: Floats) -> bytes:
    """At least one float, in the shortest of the ways to write them."""
    with np.errstate(all="ignore"):  # whatever overflows is found not to fit
        scaled = _scaled(v)
    if scaled is not None and not scaled[0] & _CORRECTED:
        return scaled
    plain = bytes([0]) + encode_integers(v, orders=(0, 1))
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
            k, off, flags, head = steps, off_product, flags | _PRODUCT, head + varint(step)
    body = encode_integers(k, orders=(0, 1))
    if off.any():
        flags, body = flags | _CORRECTED, body + encode_integers(off, orders=(0,))
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


def read_floats(source: Source, n: int, part: Part) -> Floats:
    """Some of n floats, n > 0. Raises ValueError if they are damaged."""
    end = end_of(part, n)
    flags = source.byte()
    if not flags:
        return read_integers(source, n, end)[part].view(np.float64)
    digits = source.byte()
    if not flags & _SCALED or flags >> 4 or digits > _MAX_DIGITS:
        raise ValueError(f"floats that begin with {flags}, {digits}")
    step = source.varint() if flags & _PRODUCT else 0
    if step >= _EXACT:
        raise ValueError(f"a step of {step}")
    k = read_integers(source, n, end)[part].view(np.int64)
    v = k * (step / 10**digits) if flags & _PRODUCT else k / 10.0**digits
    if flags & _SINGLE:
        with np.errstate(over="ignore"):
            v = v.astype(np.float32).astype(np.float64)
    if flags & _CORRECTED:
        v = (v.view(np.uint64) + read_integers(source, n, end)[part]).view(np.float64)
    return v
