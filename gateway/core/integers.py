"""Columns of 64-bit integers in chunks (docs/storage.md, Chunks).

All arithmetic wraps around, so that any value is safe.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.core.octets import MASK, Source, deflated, varint

Words = NDArray[np.uint64]
Signed = NDArray[np.int64]


def encode_integers(values: NDArray[Any], *, orders: Sequence[int]) -> bytes:
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
    head = b"".join(varint(_zigzag(start)) for start in (*starts, int(centre) & MASK))
    if not divisor:
        return bytes([order]) + head
    if 1 < divisor <= MASK >> 1:
        rest = rest // divisor
    else:
        divisor = 1
    folded = (rest << 1 ^ rest >> 63).view(np.uint64)
    width = (int(folded.max()).bit_length() + 7) // 8
    planes = folded.astype("<u8", copy=False).view(np.uint8).reshape(-1, 8)[:, :width].T
    body = b"".join(deflated(plane.tobytes()) for plane in planes)
    return bytes([order | width << 2]) + head + varint(divisor) + body


def read_integers(source: Source, n: int, end: int | None = None) -> Words:
    """The first `end` of n 64-bit integers, n > 0. Raises ValueError if they are damaged."""
    head = source.byte()
    order, width = head & 3, head >> 2
    if order > 2 or order >= n or width > 8:
        raise ValueError(f"integers that begin with {head}")
    starts = [_unzigzag(source.varint()) for _ in range(order)]
    centre = _unzigzag(source.varint())
    words = np.empty(n if end is None else max(end, order), np.uint64)
    for place, start in enumerate(starts):
        words[place] = start
    if width:
        _read_rest(source, n - order, width=width, centre=centre, into=words[order:])
    else:
        words[order:] = centre
    for first in reversed(range(order)):
        np.add.accumulate(words[first:], out=words[first:])
    return words[:end]


def _read_rest(source: Source, m: int, *, width: int, centre: int, into: Words) -> None:
    """Read the first of m words, as many as there is room for."""
    divisor, few = source.varint(), len(into)
    if width == 1:  # a byte is always in the table: without a look at each, take is quicker
        _narrow(divisor, centre).take(_read_plane(source, m, few), out=into, mode="wrap")
        return
    planes = np.zeros((few, 8), np.uint8)
    for place in range(width):
        planes[:, place] = _read_plane(source, m, few)
    folded: Words = planes.view("<u8").reshape(few).astype(np.uint64)
    into[:] = _unfolded(folded) * np.uint64(divisor) + np.uint64(centre)


def _read_plane(source: Source, m: int, few: int) -> NDArray[np.uint8]:
    return np.frombuffer(source.inflated(m, few), np.uint8)


def _unfolded(folded: Words) -> Words:
    """Words as `_zigzag` folded them, unfolded."""
    sign: Words = np.negative(folded & np.uint64(1))
    return folded >> np.uint64(1) ^ sign


_UNFOLDED = _unfolded(np.arange(256, dtype=np.uint64))


@lru_cache(maxsize=64)
def _narrow(divisor: int, centre: int) -> Words:
    """What each byte of a single plane stands for; the chunks of a series have the same."""
    return _UNFOLDED * np.uint64(divisor) + np.uint64(centre)


def _zigzag(word: int) -> int:
    """A 64-bit word as a number that is small if the word, taken as signed, is near 0."""
    return (word << 1 ^ (MASK if word >> 63 else 0)) & MASK


def _unzigzag(folded: int) -> int:
    return folded >> 1 ^ (MASK if folded & 1 else 0)
