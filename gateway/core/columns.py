"""The readings of DATA messages (docs/wire.md §4)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from cbor2 import CBORTag
from numpy.typing import NDArray

from gateway.core.layouts import (
    BOOLEAN,
    DTYPES,
    RANGES,
    TEXT,
    Field,
    Layout,
    layout_from_json,
    layout_to_json,
    read_schema,
)
from gateway.core.messages import Data, is_uint
from gateway.core.readings import (
    INT64_MAX,
    Batch,
    Clock,
    Column,
    Kind,
    SeriesKey,
    Timebase,
)
from gateway.errors import Reason, Rejected

__all__ = ["Field", "Layout", "layout_from_json", "layout_to_json", "read_data", "read_schema"]

MAX_ROWS = 4096
INT64_MIN = -INT64_MAX - 1

_UINT64 = 71
_ABSENT = type(None)
_SCALARS: dict[int, frozenset[type]] = {
    BOOLEAN: frozenset({bool, _ABSENT}),
    TEXT: frozenset({str, _ABSENT}),
    **{tag: frozenset({int, _ABSENT}) for tag in RANGES},
    **{tag: frozenset({int, float, _ABSENT}) for tag in DTYPES if tag not in RANGES},
}


def read_data(
    data: Data, layout: Layout, *, device: str, timebase: Timebase, latest: int | None
) -> Batch:
    """The readings of a DATA message; columns without any reading are left out.

    latest: the greatest permitted time, ns UTC (None, or an unknown clock: no check).
    Raises Rejected if the body does not fit the layout or holds an impossible value or time.
    """
    if len(data.columns) != len(layout.fields):
        raise Rejected(
            Reason.BAD_SHAPE, f"{len(data.columns)} columns for {len(layout.fields)} fields"
        )
    raws = list(map(_open_column, data.columns, layout.fields))
    step = _open_step(data.step)
    n = _row_count([*raws, step], stepped=step is not None)
    bitmaps = data.valid or {}
    _check_bitmaps(bitmaps, columns=len(raws), n=n)
    if timebase.clock is Clock.UNKNOWN:
        latest = None
    unit = 10 ** (9 - layout.resolution)
    t = _times(data.t0, step, n, unit=unit, offset=timebase.offset, latest=latest)
    columns = []
    with np.errstate(over="ignore", invalid="ignore"):  # infinite results are looked for
        for index, (raw, field) in enumerate(zip(raws, layout.fields, strict=True)):
            present, v = _values(raw, field, n, bitmaps.get(index))
            if len(v):
                key = SeriesKey(device, field.metric, field.kind)
                columns.append(Column(key, field.unit, t if present is None else t[present], v))
    return Batch(columns, timebase.clock, timebase.boot)


def _open_column(raw: Any, field: Field) -> Any:
    """A typed array as ndarray, a plain array or a scalar as it is; types are checked."""
    if type(raw) is CBORTag:
        if raw.tag != field.type or raw.tag not in DTYPES:
            raise Rejected(Reason.BAD_TAG, f"tag {raw.tag} in {field.metric} of type {field.type}")
        return _typed_array(raw)
    types = set(map(type, raw)) if type(raw) is list else {type(raw)}
    if CBORTag in types:
        raise Rejected(Reason.BAD_TAG, f"a tag among the scalars of {field.metric}")
    if not types <= _SCALARS[field.type]:
        raise Rejected(Reason.BAD_VALUE, f"{field.metric} holds values of another type")
    return raw


def _open_step(step: Any) -> NDArray[Any] | int | None:
    """Key 4: a step, or offsets as an array of integers."""
    if type(step) is CBORTag:
        if step.tag not in RANGES:
            raise Rejected(Reason.BAD_TAG, f"tag {step.tag} in the offsets")
        return _typed_array(step)
    if step is None or is_uint(step):
        return step  # type: ignore[no-any-return]
    raise Rejected(Reason.BAD_BODY, "key 4 is neither a step nor a typed array")


def _typed_array(tag: CBORTag) -> NDArray[Any]:
    dtype = DTYPES[tag.tag]
    if type(tag.value) is not bytes:
        raise Rejected(Reason.BAD_TAG, f"tag {tag.tag} does not hold a byte string")
    if len(tag.value) % dtype.itemsize:
        raise Rejected(
            Reason.BAD_SHAPE, f"{len(tag.value)} bytes are no array of {dtype.itemsize}-byte items"
        )
    return np.frombuffer(tag.value, dtype)


def _row_count(parts: Sequence[Any], *, stepped: bool) -> int:
    lengths = {len(part) for part in parts if isinstance(part, list | np.ndarray)}
    if len(lengths) > 1:
        raise Rejected(Reason.BAD_SHAPE, f"arrays of different lengths: {sorted(lengths)}")
    n = lengths.pop() if lengths else 1
    if n > MAX_ROWS:
        raise Rejected(Reason.TOO_MANY, f"{n} rows, more than {MAX_ROWS}")
    if n > 1 and not stepped:
        raise Rejected(Reason.BAD_SHAPE, f"{n} rows without a step or offsets")
    return n


def _check_bitmaps(bitmaps: dict[int, bytes], *, columns: int, n: int) -> None:
    for index, bits in bitmaps.items():
        if index >= columns:
            raise Rejected(Reason.BAD_SHAPE, f"a bitmap for column {index} of {columns}")
        if len(bits) != (n + 7) // 8:
            raise Rejected(Reason.BAD_SHAPE, f"a bitmap of {len(bits)} bytes for {n} rows")


def _times(
    t0: int, step: NDArray[Any] | int | None, n: int, *, unit: int, offset: int, latest: int | None
) -> NDArray[np.int64]:
    """int64 ns, shape (n,). The bounds are checked with unbounded integers beforehand."""
    if n == 0:
        return np.empty(0, np.int64)
    if not isinstance(step, np.ndarray):
        step = step if step is not None and n > 1 else 0
        low, high = 0, (n - 1) * step
    else:
        low, high = int(step.min()), int(step.max())
    first, last = (t0 + low) * unit + offset, (t0 + high) * unit + offset
    if first < INT64_MIN or last > INT64_MAX or last - first > INT64_MAX:
        raise Rejected(Reason.BAD_TIME, "a time beyond 64 bits of nanoseconds")
    if latest is not None and last > latest:
        raise Rejected(Reason.BAD_TIME, f"a time {last - latest} ns too far in the future")
    if not isinstance(step, np.ndarray):
        return first + np.arange(n, dtype=np.int64) * (step * unit)
    wide = step if step.dtype.kind == "u" else step.astype(np.int64)
    return first + (wide - wide.dtype.type(low)).astype(np.int64) * unit


def _values(
    raw: Any, field: Field, n: int, bits: bytes | None
) -> tuple[NDArray[np.bool_] | None, NDArray[Any]]:
    """Which rows hold a reading (None: all), and their values."""
    present = None if bits is None else _unpack(bits, n)
    if isinstance(raw, np.ndarray):
        v = raw if present is None else raw[present]
    else:
        rows = raw if type(raw) is list else [raw] * n
        if None in rows:
            there = np.array([row is not None for row in rows], np.bool_)
            present = there if present is None else present & there
        if present is not None:
            rows = [row for row, keep in zip(rows, present.tolist(), strict=True) if keep]
        v = _from_scalars(rows, field)
    if v.dtype.kind == "f" and (missing := np.isnan(v)).any():
        v = v[~missing]
        present = np.ones(n, np.bool_) if present is None else present
        present[present] = ~missing
    return present, _scaled(v, field)


def _unpack(bits: bytes, n: int) -> NDArray[np.bool_]:
    unpacked = np.unpackbits(np.frombuffer(bits, np.uint8), count=n, bitorder="little")
    return unpacked.astype(np.bool_)


def _from_scalars(rows: list[Any], field: Field) -> NDArray[Any]:
    if field.type == BOOLEAN:
        return np.array(rows, np.bool_)
    if field.type == TEXT:
        return np.array(rows, np.object_)
    if field.type not in RANGES:
        return np.array(rows, np.float64)
    low, high = RANGES[field.type]
    if rows and not (low <= min(rows) and max(rows) <= high):
        raise Rejected(Reason.BAD_VALUE, f"{field.metric} holds a value out of its range")
    return np.array(rows, DTYPES[field.type])


def _scaled(v: NDArray[Any], field: Field) -> NDArray[Any]:
    """Values as float64; integers without scale and offset as int64 or uint64."""
    if field.kind is not Kind.NUMBER:
        return v
    plain = field.scale == 1 and field.offset == 0
    if plain and v.dtype.kind != "f":
        return v.astype(np.uint64 if field.type == _UINT64 else np.int64)
    wide = v.astype(np.float64)
    value = wide if plain else wide * field.scale + field.offset
    if not np.isfinite(value).all():
        raise Rejected(Reason.BAD_VALUE, f"{field.metric} holds an infinite value")
    return value
