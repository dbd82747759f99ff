import math
import struct
from typing import Any

import numpy as np
import pytest
from cbor2 import CBORTag
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.cbor import decode, encode
from gateway.core.columns import (
    Field,
    Layout,
    layout_from_json,
    layout_to_json,
    read_data,
    read_schema,
)
from gateway.core.messages import BadBody, Data, Schema, parse
from gateway.core.readings import Batch, Clock, Kind, SeriesKey, Timebase
from gateway.errors import Reason, Rejected, WireError

CODES = {64: "B", 69: "H", 70: "I", 71: "Q", 72: "b", 77: "h", 78: "i", 79: "q",
         84: "e", 85: "f", 86: "d"}  # fmt: skip
FLOATS = {84, 85, 86}
BASE = Timebase(Clock.MAPPED, 1_767_225_600 * 10**9)


def layout(*fields: Field, resolution: int = 3) -> Layout:
    return Layout(1, resolution, fields, b"\0\0\0\1")


def read(fields: Layout, *, latest: int | None = None, base: Timebase = BASE, **keys: Any) -> Batch:
    values = {"seq": 1, "sid": 1, "t0": 0, **keys}
    return read_data(Data(**values), fields, device="d", timebase=base, latest=latest)


def refused(fields: Layout, **keys: Any) -> Reason:
    with pytest.raises(Rejected) as caught:
        read(fields, **keys)
    return caught.value.reason


# A reference that reads row by row, in plain Python.


def expected(message: Data, fields: Layout, base: Timebase) -> list[tuple[str, list[Any]]]:
    lists = [rows(column) for column in message.columns]
    n = next((len(found) for found in lists if found is not None), 1)
    if isinstance(message.step, CBORTag):
        offsets = rows(message.step)
        n = len(offsets or [])
    else:
        offsets = [i * (message.step or 0) for i in range(n)]
    unit = 10 ** (9 - fields.resolution)
    result = []
    for index, (column, field) in enumerate(zip(message.columns, fields.fields, strict=True)):
        bits = (message.valid or {}).get(index)
        readings = []
        for row in range(n):
            if bits is not None and not bits[row // 8] >> row % 8 & 1:
                continue
            values = lists[index]
            value = column if values is None else values[row]
            if value is None or (type(value) is float and math.isnan(value)):
                continue
            if field.kind is Kind.NUMBER and (
                field.type in FLOATS or (field.scale, field.offset) != (1.0, 0.0)
            ):
                value = float(value) * field.scale + field.offset
            readings.append(((message.t0 + (offsets or [])[row]) * unit + base.offset, value))
        if readings:
            result.append((field.metric, readings))
    return result


def rows(column: Any) -> list[Any] | None:
    if isinstance(column, CBORTag):
        size = struct.calcsize("<" + CODES[column.tag])
        return list(struct.unpack(f"<{len(column.value) // size}{CODES[column.tag]}", column.value))
    return column if isinstance(column, list) else None


@st.composite
def messages(draw: st.DrawFn) -> tuple[Data, Layout]:
    n = draw(st.sampled_from([0, 1, 1, 2, 3, 8, 9, 20]))
    fields, columns, valid = [], [], {}
    for index in range(draw(st.integers(1, 4))):
        type_ = draw(st.sampled_from([0, 1, *CODES]))
        fields.append(draw(field(f"m{index}", type_)))
        columns.append(draw(column(type_, n)))
        if draw(st.booleans()):
            valid[index] = draw(st.binary(min_size=(n + 7) // 8, max_size=(n + 7) // 8))
    tag = draw(st.sampled_from([64, 69, 70, 72, 77, 78]))
    offsets = draw(st.lists(value(tag), min_size=n, max_size=n))
    step = CBORTag(tag, struct.pack(f"<{n}{CODES[tag]}", *offsets))
    if any(isinstance(found, list | CBORTag) for found in columns) or n == 1:
        step = draw(st.just(step) | st.integers(0, 2**31))
    message = Data(
        seq=1, sid=1, t0=draw(st.integers(0, 2**32)), step=step, columns=columns, valid=valid
    )
    return message, layout(*fields, resolution=draw(st.sampled_from([3, 6, 9])))


@st.composite
def field(draw: st.DrawFn, metric: str, type_: int) -> Field:
    if type_ < 2 or draw(st.booleans()):
        return Field(metric, "", type_)
    numbers = st.floats(-1e3, 1e3)
    return Field(metric, "", type_, draw(numbers), draw(numbers))


def value(type_: int) -> st.SearchStrategy[Any]:
    if type_ == 0:
        return st.booleans()
    if type_ == 1:
        return st.text(max_size=4)
    if type_ in FLOATS:
        width: Any = {84: 16, 85: 32, 86: 64}[type_]
        limit = {84: 60000.0, 85: 2.0**100, 86: 2.0**900}[type_]
        return st.floats(-limit, limit, width=width) | st.just(math.nan)
    bits = 8 * struct.calcsize("<" + CODES[type_])
    if CODES[type_].isupper():
        return st.integers(0, 2**bits - 1)
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@st.composite
def column(draw: st.DrawFn, type_: int, n: int) -> Any:
    shapes = ["scalar", "plain"] if type_ < 2 else ["scalar", "plain", "typed"]
    match draw(st.sampled_from(shapes)):
        case "scalar":
            return draw(st.none() | value(type_))
        case "plain":
            return draw(st.lists(st.none() | value(type_), min_size=n, max_size=n))
    values = draw(st.lists(value(type_), min_size=n, max_size=n))
    return CBORTag(type_, struct.pack(f"<{n}{CODES[type_]}", *values))


@given(messages())
@settings(max_examples=150, deadline=None)
def test_readings_are_those_of_the_reference(made: tuple[Data, Layout]) -> None:
    message, fields = made
    batch = read_data(message, fields, device="d", timebase=BASE, latest=None)
    found = [
        (column.key.metric, list(zip(column.t.tolist(), column.v.tolist(), strict=True)))
        for column in batch.columns
    ]
    assert found == expected(message, fields, BASE)
    assert all(column.t.dtype == np.int64 for column in batch.columns)


@given(st.data(), st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_any_body_is_read_or_rejected(data: st.DataObject, count: int) -> None:
    anything = st.recursive(
        st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.builds(CBORTag, st.sampled_from([2, 4, 64, 71, 77, 79, 86]), st.binary() | inner)
        ),
        max_leaves=5,
    )
    fields = layout(
        *(Field(f"m{i}", "", data.draw(st.sampled_from([0, 1, *CODES]))) for i in range(count))
    )
    source = {0: 16, 1: 1, 2: 1, 3: data.draw(st.integers(0, 2**64 - 1)),
              4: data.draw(anything), 5: data.draw(st.lists(anything, max_size=3)),
              6: data.draw(st.dictionaries(st.integers(0, 3), st.binary(max_size=2)))}  # fmt: skip
    try:
        batch = read_data(
            parse(Data, decode(encode(source))), fields, device="d", timebase=BASE, latest=None
        )
    except (BadBody, WireError, Rejected):
        return
    assert all(np.isfinite(c.v).all() for c in batch.columns if c.key.kind is Kind.NUMBER)


def test_a_batch_says_whose_clock_it_was() -> None:
    base = Timebase(Clock.UNKNOWN, 0, b"boot-one")
    batch = read(layout(Field("m", "V", 85)), base=base, t0=7, columns=[1.5], latest=0)
    assert (batch.clock, batch.boot) == (Clock.UNKNOWN, b"boot-one")
    assert batch.columns[0].key == SeriesKey("d", "m", Kind.NUMBER)
    assert batch.columns[0].unit == "V"
    assert batch.span() == (7_000_000, 7_000_000)


def test_a_constant_column_cannot_pass_the_row_limit() -> None:
    fields = layout(Field("m", "", 64))
    assert len(read(fields, step=CBORTag(64, bytes(4096)), columns=[1])) == 4096
    assert refused(fields, step=CBORTag(64, bytes(4097)), columns=[1]) is Reason.TOO_MANY


def test_negative_times_reach_down_to_the_least_int64() -> None:
    fields, least = layout(Field("m", "", 64), resolution=9), Timebase(Clock.DEVICE, -(2**63))
    assert read(fields, base=least, columns=[1]).columns[0].t.tolist() == [-(2**63)]
    step = CBORTag(72, b"\xff")
    assert refused(fields, base=least, step=step, columns=[1]) is Reason.BAD_TIME
    greatest = CBORTag(71, struct.pack("<2Q", 2**63 - 1, 0))
    assert read(fields, base=least, step=greatest, columns=[1]).span() == (-(2**63), -1)
    far = CBORTag(71, struct.pack("<2Q", 2**64 - 1, 0))
    assert refused(fields, base=least, step=far, columns=[1]) is Reason.BAD_TIME


def test_a_masked_row_may_hold_any_number_but_no_other_type() -> None:
    fields = layout(Field("m", "", 64))
    assert len(read(fields, step=1, columns=[[1, 999]], valid={0: b"\x01"})) == 1
    assert refused(fields, step=1, columns=[[1, "x"]], valid={0: b"\x01"}) is Reason.BAD_VALUE


FIELD = {0: "m", 1: "V", 2: 77}


def schema(*fields: dict[Any, Any], **keys: Any) -> Schema:
    return Schema(**{"sid": 1, "fields": list(fields), "fingerprint": b"abcd", **keys})


def test_a_schema_becomes_a_layout() -> None:
    found = read_schema(schema({**FIELD, 3: 2, 4: -40}, {0: "s", 2: 1, 3: 7}, resolution=6))
    assert found == Layout(1, 6, (Field("m", "V", 77, 2.0, -40.0), Field("s", "", 1)), b"abcd")


def test_a_layout_survives_json() -> None:
    found = read_schema(schema({**FIELD, 1: "µV", 3: 0.1}, {0: "b", 2: 0}))
    text = layout_to_json(found)
    assert layout_from_json(text, sid=1, resolution=3, fingerprint=b"abcd") == found


@pytest.mark.parametrize(
    "change",
    [{0: None}, {0: ""}, {0: "a/b"}, {0: "m" * 65}, {1: None}, {1: "u" * 65}, {2: 2}, {2: 77.0},
     {2: True}, {2: [77]}, {3: "1"}, {3: True}, {3: math.nan}, {4: math.inf}, {"x": 1}],
)  # fmt: skip
def test_a_field_that_breaks_the_rules_is_malformed(change: dict[Any, Any]) -> None:
    read_schema(schema(FIELD))
    with pytest.raises(WireError):
        read_schema(schema({**FIELD, **change}))


def test_at_most_64_fields_and_no_metric_twice() -> None:
    many = [{**FIELD, 0: f"m{i}"} for i in range(65)]
    assert len(read_schema(schema(*many[:64])).fields) == 64
    for wrong in (many, [FIELD, FIELD]):
        with pytest.raises(WireError):
            read_schema(schema(*wrong))
