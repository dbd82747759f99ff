"""SENML messages: RFC 8428 packs with CBOR labels (docs/wire.md §4)."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.core.decimals import INT64_MIN, Number, add, read_number, read_time
from gateway.core.messages import NAME
from gateway.core.readings import (
    INT64_MAX,
    NS_PER_S,
    Batch,
    Clock,
    Column,
    Kind,
    SeriesKey,
)
from gateway.errors import Reason, Rejected

MAX_RECORDS = 4096
MAX_SERIES = 64
MAX_UNIT = 64
VERSION = 10
RELATIVE_BELOW_NS = 2**28 * NS_PER_S

BVER, BN, BT, BU, BV = -1, -2, -3, -4, -5
N, U, V, VS, VB, T, VD = 0, 1, 2, 3, 4, 6, 8
_VALUES = (V, VS, VB, VD)
# Labels that have a number must be sent as that number.
_NUMBERED = frozenset(
    {"bver", "bn", "bt", "bu", "bv", "bs", "n", "u", "v", "vs", "vb", "s", "t", "ut", "vd"}
)


@dataclass(frozen=True, slots=True)
class _Base:
    """The base fields in force."""

    name: str = ""
    time: int = 0
    unit: str = ""
    value: Number = 0


class _Reading(NamedTuple):
    key: SeriesKey
    unit: str
    t: int
    v: Any


@dataclass(slots=True)
class _Series:
    unit: str = ""
    t: list[int] = field(default_factory=list)
    v: list[Any] = field(default_factory=list)


def read_senml(
    pack: Sequence[Mapping[Any, Any]],
    *,
    device: str,
    received: int,
    latest: int | None,
    speaks_for_others: bool,
) -> Batch:
    """The readings of a pack, grouped by series, each in the order of its records.

    received: ns UTC, what relative times count from. latest: the greatest permitted time, ns UTC,
    or None. Numbers of a series are int64 or uint64 if all its records are integers, else float64.
    Raises Rejected.
    """
    if len(pack) > MAX_RECORDS:
        raise Rejected(Reason.TOO_MANY, f"{len(pack)} records, more than {MAX_RECORDS}")
    base = _Base()
    found: dict[SeriesKey, _Series] = {}
    for record in pack:
        _check_labels(record)
        base = _rebase(base, record)
        reading = _read_record(record, base, device=device, received=received)
        if reading is None:
            continue
        if reading.key.device != device and not speaks_for_others:
            raise Rejected(Reason.FOREIGN_DEVICE, f"a reading of {reading.key.device}")
        if latest is not None and reading.t > latest:
            raise Rejected(Reason.BAD_TIME, f"{reading.t - latest} ns too far in the future")
        _gather(found, reading)
    columns = [
        Column(key, series.unit, np.array(series.t, np.int64), _array(series.v, key.kind))
        for key, series in found.items()
    ]
    return Batch(columns, Clock.DEVICE)


def _check_labels(record: Mapping[Any, Any]) -> None:
    for label in record:
        if type(label) is int:
            continue
        if type(label) is not str:
            raise _bad("a label is neither an integer nor a text")
        if label.endswith("_"):
            raise _bad(f"the label {label[:32]} must be understood and is not")
        if label in _NUMBERED:
            raise _bad(f"the label {label} must be sent as its number")


def _rebase(base: _Base, record: Mapping[Any, Any]) -> _Base:
    """The base fields in force from this record on."""
    changes: dict[str, Any] = {}
    if BVER in record and not (type(record[BVER]) is int and 0 < record[BVER] <= VERSION):
        raise _bad(f"the version is not in 1 … {VERSION}")
    if BN in record:
        changes["name"] = _read_text(record[BN], "base name")
    if BT in record:
        changes["time"] = read_time(record[BT])
    if BU in record:
        changes["unit"] = _read_unit(record[BU])
    if BV in record:
        value = changes["value"] = read_number(record[BV])
        if isinstance(value, float) and not math.isfinite(value):
            raise Rejected(Reason.BAD_VALUE, "the base value is not finite")
    return replace(base, **changes) if changes else base


def _read_record(
    record: Mapping[Any, Any], base: _Base, *, device: str, received: int
) -> _Reading | None:
    """The reading of a record; None if it holds no value (sums only, base fields only, NaN)."""
    present = [label for label in _VALUES if label in record]
    if len(present) > 1:
        raise _bad("a record with more than one value")
    unit = _read_unit(record[U]) if U in record else base.unit
    name = base.name + (_read_text(record[N], "name") if N in record else "")
    time = base.time + (read_time(record[T]) if T in record else 0)
    if not present:
        return None
    kind, value = _read_value(present[0], record[present[0]], base.value)
    if value is None:
        return None
    t = time + received if time < RELATIVE_BELOW_NS else time
    if not INT64_MIN <= t <= INT64_MAX:
        raise Rejected(Reason.BAD_TIME, "a time beyond 64 bits of nanoseconds")
    owner, metric = _split(name, device)
    return _Reading(SeriesKey(owner, metric, kind), unit, t, value)


def _split(name: str, device: str) -> tuple[str, str]:
    """`DEVICE/METRIC` or `METRIC`."""
    owner, slash, metric = name.partition("/")
    if not slash:
        owner, metric = device, name
    if not (NAME.fullmatch(owner) and NAME.fullmatch(metric)):
        raise _bad(f"{name[:140]!r} is neither DEVICE/METRIC nor METRIC")
    return owner, metric


def _read_value(label: int, raw: Any, base: Number) -> tuple[Kind, Any]:
    """The kind, and int, float, bool or str; None for a NaN."""
    if label == V:
        return Kind.NUMBER, add(base, read_number(raw))
    if label == VB and type(raw) is bool:
        return Kind.BOOLEAN, raw
    if label == VS and type(raw) is str:
        return Kind.TEXT, raw
    if label == VD and type(raw) is bytes:
        return Kind.TEXT, base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    raise _bad(f"the value with label {label} has the wrong type")


def _read_text(raw: Any, what: str) -> str:
    if type(raw) is not str:
        raise _bad(f"the {what} is not a text")
    return raw


def _read_unit(raw: Any) -> str:
    unit = _read_text(raw, "unit")
    if len(unit) > MAX_UNIT:
        raise _bad(f"a unit of more than {MAX_UNIT} characters")
    return unit


def _gather(found: dict[SeriesKey, _Series], reading: _Reading) -> None:
    series = found.get(reading.key)
    if series is None:
        if len(found) == MAX_SERIES:
            raise Rejected(Reason.TOO_MANY, f"more than {MAX_SERIES} series")
        series = found[reading.key] = _Series()
    if reading.unit and series.unit not in ("", reading.unit):
        raise _bad(f"{reading.key.metric} with two units")
    series.unit = series.unit or reading.unit
    series.t.append(reading.t)
    series.v.append(reading.v)


def _array(values: list[Any], kind: Kind) -> NDArray[Any]:
    if kind is Kind.BOOLEAN:
        return np.array(values, np.bool_)
    if kind is Kind.TEXT:
        return np.array(values, np.object_)
    if any(type(value) is float for value in values):
        return np.array(values, np.float64)
    if max(values) <= INT64_MAX:
        return np.array(values, np.int64)
    return np.array(values, np.uint64 if min(values) >= 0 else np.float64)


def _bad(text: str) -> Rejected:
    return Rejected(Reason.BAD_SENML, text)
