"""Schemas: what the columns of a DATA message mean (docs/wire.md §4)."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gateway.core.messages import Schema, is_name, is_number, is_text
from gateway.core.readings import Kind
from gateway.errors import WireError

MAX_COLUMNS = 64
MAX_UNIT = 64

BOOLEAN, TEXT = 0, 1

# RFC 8746 tags of little-endian typed arrays; the integers' least and greatest values.
DTYPES: dict[int, np.dtype[Any]] = {
    tag: np.dtype(code)
    for tag, code in {
        64: "u1", 69: "<u2", 70: "<u4", 71: "<u8",
        72: "i1", 77: "<i2", 78: "<i4", 79: "<i8",
        84: "<f2", 85: "<f4", 86: "<f8",
    }.items()
}  # fmt: skip
RANGES: dict[int, tuple[int, int]] = {
    tag: (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    for tag, dtype in DTYPES.items()
    if dtype.kind != "f"
}


@dataclass(frozen=True, slots=True)
class Field:
    """One column of a schema: `value = raw * scale + offset`.

    type: the RFC 8746 tag of the typed array, or 0 boolean, 1 text. unit: "" if there is none.
    """

    metric: str
    unit: str
    type: int
    scale: float = 1.0
    offset: float = 0.0

    @property
    def kind(self) -> Kind:
        if self.type == BOOLEAN:
            return Kind.BOOLEAN
        return Kind.TEXT if self.type == TEXT else Kind.NUMBER


_KNOWN: dict[tuple[Field, ...], tuple[Field, ...]] = {}
_MOST_KNOWN = 1024


@dataclass(frozen=True, slots=True)
class Layout:
    """A valid schema. resolution: times count in 10**-resolution seconds (3, 6 or 9).

    Devices of one make share their fields, so that one look tells that they are alike.
    """

    sid: int
    resolution: int
    fields: tuple[Field, ...]
    fingerprint: bytes


def read_schema(schema: Schema) -> Layout:
    """Check a SCHEMA message. Raises WireError if it is invalid."""
    if len(schema.fields) > MAX_COLUMNS:
        raise WireError(f"a schema of {len(schema.fields)} fields, more than {MAX_COLUMNS}")
    fields = tuple(_read_field(source) for source in schema.fields)
    if len({field.metric for field in fields}) < len(fields):
        raise WireError("a schema names a metric twice")
    return Layout(schema.sid, schema.resolution, _shared(fields), schema.fingerprint)


def _read_field(source: dict[Any, Any]) -> Field:
    if not all(type(key) is int for key in source):
        raise WireError("a key of a field is not an integer")
    metric: Any = source.get(0)
    unit: Any = source.get(1, "")
    type_: Any = source.get(2)
    if not is_name(metric):
        raise WireError("a field has no valid metric (key 0)")
    if not (is_text(unit) and len(unit) <= MAX_UNIT):
        raise WireError(f"the unit of {metric} is not a text of at most {MAX_UNIT} characters")
    if type(type_) is not int or not (type_ in DTYPES or type_ in (BOOLEAN, TEXT)):
        raise WireError(f"the type of {metric} is unknown")
    scale, offset = source.get(3, 1), source.get(4, 0)
    if not (is_number(scale) and is_number(offset)):
        raise WireError(f"scale or offset of {metric} is not a finite number")
    if type_ in (BOOLEAN, TEXT):
        return Field(metric, unit, type_)
    return Field(metric, unit, type_, float(scale), float(offset))


def layout_to_json(layout: Layout) -> str:
    """The fields of a layout as compact JSON."""
    fields = [asdict(field) for field in layout.fields]
    return json.dumps(fields, separators=(",", ":"), allow_nan=False)


def layout_from_json(text: str, *, sid: int, resolution: int, fingerprint: bytes) -> Layout:
    """The reverse of `layout_to_json`. Raises ValueError, TypeError for other text."""
    fields = tuple(Field(**field) for field in json.loads(text))
    return Layout(sid, resolution, _shared(fields), fingerprint)


def _shared(fields: tuple[Field, ...]) -> tuple[Field, ...]:
    """The same for all schemas with such fields."""
    if len(_KNOWN) >= _MOST_KNOWN:
        _KNOWN.clear()
    return _KNOWN.setdefault(fields, fields)
