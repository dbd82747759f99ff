"""Chunks: the readings of one series, compressed, bit for bit (docs/storage.md, Chunks)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.core.between import Between, Part, end_of
from gateway.core.floats import encode_floats, read_floats
from gateway.core.integers import encode_integers, read_integers
from gateway.core.octets import Source, deflated, varint
from gateway.core.readings import Clock

VERSION = 1
MAX_READINGS = 1 << 20
"""Readings in one body: a column of equal values claims any number of them in a few bytes."""

_DTYPES = tuple(map(np.dtype, (np.float64, np.int64, np.uint64, np.bool_, np.object_)))
_FLOAT, _BOOL, _TEXT = 0, 3, 4
_CLOCKS = tuple(sorted(Clock))
_BOOT_BYTES = 8


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
    return bytes([VERSION]) + varint(len(runs)) + b"".join(map(_encode_run, runs))


def decode(body: bytes, between: Between | None = None) -> list[Run]:
    """The runs of a chunk, or of each what lies between two times.

    Raises ValueError if it is damaged or of an unknown version; the values after those times are
    not looked at.
    """
    source = Source(body)
    version = source.byte()
    if version != VERSION:
        raise ValueError(f"a chunk of version {version}")
    left = MAX_READINGS
    runs = []
    for _ in range(source.varint()):
        run, n = _read_run(source, between, most=left)
        left -= n
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
    parts = [head, run.boot, varint(len(unit)), unit, varint(len(run.t))]
    if len(run.t):
        parts += [encode_integers(run.t, orders=(1, 2)), _encode_values(run.v, kind)]
    return b"".join(parts)


def _read_run(source: Source, between: Between | None, *, most: int) -> tuple[Run, int]:
    """What lies between two times of the next run, and how many readings that has."""
    head = source.byte()
    kind, number = head & 7, head >> 3 & 3
    if kind >= len(_DTYPES) or number >= len(_CLOCKS) or head >> 6:
        raise ValueError(f"a run that begins with {head}")
    clock, boot = _CLOCKS[number], source.take(_BOOT_BYTES) if head >> 5 else b""
    unit = source.take(source.varint()).decode()
    n = source.varint()
    if n > most:
        raise ValueError(f"{n} readings, at most {most}")
    if not n:
        return Run(unit, clock, boot, np.empty(0, np.int64), np.empty(0, _DTYPES[kind])), 0
    t = read_integers(source, n).view(np.int64)
    part = slice(0, n) if between is None else between.part(t)
    return Run(unit, clock, boot, t[part], _read_values(source, n, part, kind=kind)), n


def _encode_values(v: NDArray[Any], kind: int) -> bytes:
    if kind == _FLOAT:
        return encode_floats(np.ascontiguousarray(v))
    if kind == _TEXT:
        return _encode_texts(v.tolist())
    if kind == _BOOL:
        return encode_integers(v.astype(np.int64), orders=(0,))
    return encode_integers(v, orders=(0, 1))


def _read_values(source: Source, n: int, part: Part, *, kind: int) -> NDArray[Any]:
    """Some of n values."""
    if kind == _FLOAT:
        return read_floats(source, n, part)
    if kind == _TEXT:
        return _read_texts(source, n, part)
    words = read_integers(source, n, end_of(part, n))[part]
    if kind == _BOOL:
        if (words > 1).any():
            raise ValueError("a boolean that is neither 0 nor 1")
        return words.astype(np.bool_)
    return words.view(_DTYPES[kind])


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
            varint(len(raws)),
            encode_integers(sizes, orders=(0,)),
            deflated(joined),
            encode_integers(chosen, orders=(0, 1)),
        )
    )


def _read_texts(source: Source, n: int, part: Part) -> NDArray[Any]:
    count = source.varint()
    if not 0 < count <= n:
        raise ValueError(f"{count} distinct texts in {n} readings")
    sizes = read_integers(source, count).tolist()
    joined = source.inflated(sum(sizes))
    texts = np.empty(count, np.object_)
    at = 0
    for i, size in enumerate(sizes):
        texts[i] = joined[at : at + size].decode()
        at += size
    codes = read_integers(source, n, end_of(part, n))[part]
    if (codes >= count).any():
        raise ValueError("a text that is not among the distinct ones")
    return texts[codes]
