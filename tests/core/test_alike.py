"""Messages decoded together are what they are when they are read one by one."""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from cbor2 import CBORTag
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import cbor
from gateway.core.alike import ENOUGH, MOST_SHAPES, TOGETHER, Shapes, decode, shape_of
from gateway.core.clock import Now
from gateway.core.columns import read_data
from gateway.core.data_shapes import OFFSETS, data_spans
from gateway.core.layouts import BOOLEAN, DTYPES, RANGES, Field, Layout
from gateway.core.messages import Data, Senml, parse
from gateway.core.readings import INT64_MAX, Batch, Clock, Timebase
from gateway.core.senml import read_senml
from gateway.core.shapes import DEVICE, Burst, Table
from gateway.errors import Rejected
from tests.core.test_frames import frame

NOW = Now(1_790_000_000_000_000_000, 0)
T0 = NOW.unix // 10**6
FIRST = 70_000
TAGS = sorted(DTYPES)
TINY = st.integers(-24, 23)
TINY_ANY = st.one_of(TINY, st.booleans())
SCALES = [(1.0, 0.0), (0.01, -40.0), (1e300, 0.0)]


def layout(*fields: Field, resolution: int = 3) -> Layout:
    return Layout(1, resolution, fields, b"mark")


def message(seq: int, columns: list[Any], *, t0: int = T0, **more: Any) -> bytes:
    keys = {int(name[1:]): value for name, value in more.items()}
    return cbor.encode({0: 16, 1: seq, 2: 1, 3: t0, 5: columns, **keys})


def data(raw: bytes) -> Data:
    return parse(Data, cbor.decode(raw))


def burst(raws: list[bytes], form: Layout, base: Timebase) -> Burst:
    shape = shape_of(raws[0], data(raws[0]))
    assert shape is not None
    assert [shape.number(raw) for raw in raws] == [data(raw).seq for raw in raws]
    return Burst(shape, form, NOW, data(raws[0]).seq, base=base).add(b"".join(raws), len(raws))


def columns_of(decoded: Sequence[Table]) -> list[tuple[Any, Any, Any]]:
    """Metric, times and values of each column, in the order of the message."""
    return [
        (metric, table.times.t, v)
        for table in decoded
        for metric, v in zip(table.metrics, table.v, strict=True)
    ]


def check_times(decoded: Sequence[Table]) -> None:
    """That what is said of the times of readings is so."""
    for table in decoded:
        t, low, high, newest = table.times
        assert (low, high, newest) == (t.min(), t.max(), np.flatnonzero(t == t.max())[-1])


def one_by_one(raws: list[bytes], form: Layout, base: Timebase, latest: int) -> list[Batch]:
    return [read_data(data(raw), form, device="d", timebase=base, latest=latest) for raw in raws]


@st.composite
def bursts(draw: st.DrawFn) -> tuple[list[bytes], Layout, Timebase]:
    """Messages of one shape, with any numbers, and a schema that may not suit them."""
    rows = draw(st.sampled_from([1, 1, 2, 5]))
    count = draw(st.integers(1, 4))
    tags = draw(
        st.lists(
            st.sampled_from(draw(st.sampled_from([TAGS, TAGS[:2], [85]]))), min_size=1, max_size=5
        )
    )
    scalar = rows == 1 and draw(st.booleans())
    if scalar:
        tags = [draw(st.sampled_from([tag, tag, BOOLEAN])) for tag in tags]
    fields, columns = [], []
    for n, tag in enumerate(tags):
        scale, offset = (1.0, 0.0) if tag == BOOLEAN else draw(st.sampled_from(SCALES))
        type_ = draw(st.sampled_from([tag, tag, tag, draw(st.sampled_from(TAGS))]))
        fields.append(Field(f"m{n}", "", type_, scale, offset))
        columns.append(draw(_column(tag, rows, count, scalar=scalar)))
    resolution = draw(st.sampled_from([3, 6]))
    steps = draw(_steps(rows, count, scalar=scalar))
    t0 = draw(st.sampled_from([T0, T0 * 1000, 2**40, 2**63]))
    raws = [
        message(FIRST + n, [column[n] for column in columns], t0=t0 + n, k7=0, **steps[n])
        for n in range(count)
    ]
    base = draw(
        st.sampled_from(
            [
                Timebase(Clock.DEVICE),
                Timebase(Clock.MAPPED, -(10**18)),
                Timebase(Clock.UNKNOWN, 0, b"12345678"),
            ]
        )
    )
    return raws, layout(*fields, resolution=resolution), base


def _steps(rows: int, count: int, *, scalar: bool) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Key 4 of each message: the same step, or an array of offsets."""
    same = st.sampled_from([1, 1000, 2**32] if rows > 1 else [None, 0, 2**62])
    kinds = [same.map(lambda step: [{} if step is None else {"k4": step}] * count)]
    if not scalar:
        kinds += [
            _column(tag, rows, count, scalar=False).map(lambda some: [{"k4": one} for one in some])
            for tag in OFFSETS
        ]
    return st.one_of(kinds)


def _column(tag: int, rows: int, count: int, *, scalar: bool) -> st.SearchStrategy[list[Any]]:
    if scalar:
        kinds = [st.floats()] if tag not in RANGES else [st.integers(256, 65_535), TINY, TINY_ANY]
        if tag == BOOLEAN:
            kinds = [st.booleans(), st.booleans(), TINY_ANY]
        return st.one_of(st.lists(kind, min_size=count, max_size=count) for kind in kinds)
    size = rows * DTYPES[tag].itemsize
    if tag in RANGES:
        one = st.binary(min_size=size, max_size=size)
    else:
        number = st.floats(width=8 * DTYPES[tag].itemsize)  # type: ignore[arg-type]
        one = st.lists(number, min_size=rows, max_size=rows).map(
            lambda values: np.array(values, DTYPES[tag]).tobytes()
        )
    return st.lists(one.map(lambda raw: CBORTag(tag, raw)), min_size=count, max_size=count)


@given(bursts())
def test_together_they_are_what_they_are_one_by_one(
    case: tuple[list[bytes], Layout, Timebase],
) -> None:
    raws, form, base = case
    together = burst(raws, form, base)
    latest = NOW.unix + 10**15
    decode([together], latest=latest)
    try:
        batches = one_by_one(raws, form, base, latest)
    except Rejected:
        assert together.decoded is None
        return
    whole = all(len(batch) == together.shape.readings for batch in batches)
    if together.decoded is None:
        assert not whole or base.offset < 0 or _overflows(raws)
        return
    assert whole
    found = together.decoded
    for n, (metric, times, values) in enumerate(columns_of(found)):
        columns = [batch.columns[n] for batch in batches]
        field = form.fields[n]
        assert metric == (field.metric, field.kind, field.unit)
        assert columns[0].key.metric == field.metric
        v = np.concatenate([column.v for column in columns])
        assert values.dtype in (v.dtype, np.float32)
        assert values.astype(v.dtype).tobytes() == v.tobytes()
        t = np.concatenate([column.t for column in columns])
        assert times.dtype == np.int64
        assert times.tolist() == t.tolist()
    check_times(found)


def _overflows(raws: list[bytes]) -> bool:
    """A float of two or four bytes may be too wide for a closer look at once."""
    return any(data(raw).t0 >= 2**62 for raw in raws)


def test_bursts_of_many_devices_are_decoded_together_and_told_apart() -> None:
    form = layout(Field("v", "", 86))
    several = [
        burst([message(FIRST + n, [float(d * 10 + n)], k7=0) for n in range(d + 1)], form,
              Timebase(Clock.DEVICE))
        for d in range(4)
    ]  # fmt: skip
    assert len({one.shape for one in several}) == 1
    decode(several, latest=INT64_MAX)
    for d, one in enumerate(several):
        assert one.decoded is not None
        assert columns_of(one.decoded)[0][2].tolist() == [float(d * 10 + n) for n in range(d + 1)]


def test_one_that_needs_a_closer_look_does_not_keep_the_others() -> None:
    form = layout(Field("v", "", 86))
    base = Timebase(Clock.DEVICE)
    good = burst([message(FIRST, [1.5], k7=0)], form, base)
    missing = burst([message(FIRST, [float("nan")], k7=0)], form, base)
    future = burst([message(FIRST, [1.5], t0=T0 + 10**9, k7=0)], form, base)
    other = burst([message(FIRST, [1.5], k7=0)], layout(Field("v", "", 64)), base)
    decode([good, missing, future, other], latest=NOW.unix)
    assert [one.decoded is not None for one in (good, missing, future, other)] == [
        *(True, False, False, False)
    ]


@pytest.mark.parametrize(
    "raw",
    [
        message(7, [1.5], k7=0),
        message(FIRST, [1.5], t0=7, k7=0),
        message(FIRST, [None], k7=0),
        message(FIRST, ["x"], k7=0),
        message(FIRST, [[1.5, 2.5]], k4=1),
        message(FIRST, [CBORTag(64, b"")]),
        message(FIRST, [CBORTag(85, b"123")]),
        message(FIRST, [CBORTag(64, b"12")]),
        message(FIRST, [CBORTag(64, b"12"), CBORTag(64, b"123")], k4=1),
        message(FIRST, [CBORTag(64, b"12"), 1.5], k4=1),
        message(FIRST, [CBORTag(64, b"12")], k4=CBORTag(64, b"123")),
        message(FIRST, [CBORTag(64, b"12")], k4=CBORTag(72, b"12")),
        message(FIRST, [CBORTag(64, b"1")], k4=CBORTag(71, bytes(8))),
        message(FIRST, [CBORTag(64, b"12")], k4=2**62),
        message(FIRST, [1.5], k4=CBORTag(64, b"12")),
        message(FIRST, [1.5], k4=-1),
        message(FIRST, [1.5], k4="1"),
        message(FIRST, [1.5], k4=True),
        message(FIRST, [1.5], k6={0: b"\x01"}),
    ],
)
def test_messages_without_a_shape(raw: bytes) -> None:
    assert shape_of(raw, data(raw)) is None


ODD_STEPS = st.one_of(
    st.none(), st.integers(-2, 5), st.booleans(), st.just("1"), st.floats(),
    st.builds(CBORTag, st.sampled_from([0, *TAGS]), st.sampled_from([b"", b"12", bytes(8)])),
)  # fmt: skip
ODD_COLUMNS = st.one_of(
    st.floats(), st.integers(-300, 300), st.booleans(), st.just("x"), st.none(),
    st.builds(CBORTag, st.sampled_from([0, *TAGS]), st.sampled_from([b"", b"12", bytes(8)])),
)  # fmt: skip


@given(ODD_STEPS, st.lists(ODD_COLUMNS, min_size=1, max_size=3), st.sampled_from([0, 1, *TAGS]))
def test_what_is_rejected_by_itself_is_not_taken_among_others(
    step: Any, columns: list[Any], type_: int
) -> None:
    raw, form = message(FIRST, columns, k4=step, k7=0), layout(Field("v", "", type_))
    shape = shape_of(raw, data(raw))
    if shape is None:
        return
    one = Burst(shape, form, NOW, FIRST).add(raw, 1)
    decode([one], latest=INT64_MAX)
    try:
        one_by_one([raw], form, DEVICE, INT64_MAX)
    except Rejected:
        assert one.decoded is None


def test_whatever_else_differs_is_another_message() -> None:
    raw = message(FIRST, [1.5], k7=0)
    shape = shape_of(raw, data(raw))
    assert shape is not None
    spans = data_spans(raw, data(raw))
    assert spans is not None
    numbers = {*range(spans[0].at, spans[0].at + 4), *range(spans[1].at, spans[1].at + 8)}
    numbers |= set(range(spans[2].at, spans[2].at + 8))
    for at in range(len(raw)):
        changed = bytearray(raw)
        changed[at] ^= 1
        assert bool(shape.number(bytes(changed))) == (at in numbers), at
        block = np.frombuffer(changed, np.uint8).reshape(1, -1)
        assert shape.run(block)[1] == (at in numbers), at
    assert shape.number(raw + b"x") == 0
    assert shape.number(raw[:-1]) == 0


def test_where_no_message_has_a_shape_it_is_tried_ever_more_rarely() -> None:
    shapes, text = Shapes(), message(FIRST, ["x"], k7=0)
    tried = 0
    for _ in range(1000):
        shapes.learn(text, data(text))
        tried += shapes._plain == 0
    assert tried < 12
    raw = message(FIRST, [1.5], k7=0)
    for _ in range(300):
        shapes.learn(raw, data(raw))
    assert shapes.find(frame(raw), 0) is not None


@pytest.mark.parametrize("items", [[7, -1, 23, -24, 0], [True, False, True]])
def test_items_of_one_byte(items: list[Any]) -> None:
    form = layout(Field("v", "", BOOLEAN if items[0] is True else 72))
    one = burst([message(FIRST + n, [item], k7=0) for n, item in enumerate(items)], form, DEVICE)
    decode([one], latest=INT64_MAX)
    assert one.decoded is not None
    assert columns_of(one.decoded)[0][2].tolist() == items


@pytest.mark.parametrize("item", [7, True])
def test_a_byte_that_is_no_whole_item_fits_no_shape(item: Any) -> None:
    """Else a message that cannot be read would be taken as one that can."""
    raw = message(FIRST, [item], k7=0)
    shape, at = shape_of(raw, data(raw)), len(raw) - 3
    assert shape is not None
    assert raw[at] == cbor.encode(item)[0]
    for byte in range(256):
        changed = raw[:at] + bytes([byte]) + raw[at + 1 :]
        tiny = byte < 24 or 32 <= byte < 56 or byte in (0xF4, 0xF5)
        assert bool(shape.number(changed)) == tiny, byte
        assert shape.run(np.frombuffer(changed, np.uint8).reshape(1, -1))[1] == tiny, byte


def test_a_connection_knows_few_shapes_and_learns_seldom() -> None:
    shapes = Shapes()
    for width in range(1, 200):
        raw = message(FIRST, [CBORTag(64, bytes(width))], k4=1)
        for _ in range(MOST_SHAPES + 1):
            shapes.learn(raw, data(raw))
        found = shapes.find(frame(raw), 0)
        assert found is not None
        assert (found.first, found.messages) == (FIRST, raw)
    assert len(shapes._by_size) <= MOST_SHAPES
    many = Shapes()
    raws = [message(FIRST, [CBORTag(64, bytes(width))], k4=1) for width in range(1, 1000)]
    for raw in raws:
        many.learn(raw, data(raw))
    assert len(many._by_size) < 64


ODD = ("another number", "another schema", "another size", "a ping")


@given(st.integers(1, 12), st.sampled_from(ODD), st.integers(0, 12), st.binary(max_size=9))
def test_messages_are_found_up_to_the_first_that_does_not_follow(
    count: int, odd: str, after: int, cut: bytes
) -> None:
    raws = [message(FIRST + n, [n / 2], k7=0) for n in range(count)]
    shapes = Shapes()
    shapes.learn(raws[0], data(raws[0]))
    other = {
        "another number": frame(message(FIRST + count + 1, [0.5], k7=0)),
        "another schema": frame(message(FIRST + count, [0.5], k2=3, k7=0)),
        "another size": frame(message(FIRST + count, [0.5, 0.5], k7=0)),
        "a ping": frame(b"", opcode=9),
    }
    more = [message(FIRST + count + n, [0.5], k7=0) for n in range(after)]
    stream = b"ab" + b"".join(frame(raw, key=bytes([1, 2, n, 4])) for n, raw in enumerate(raws))
    found = shapes.find(stream + other[odd] + b"".join(map(frame, more)) + cut, 2)
    assert found is not None
    assert found.first == FIRST
    assert raws[0] == found.messages[: len(raws[0])]
    assert b"".join(raws).startswith(found.messages)
    assert found.step * count == len(stream) - 2
    if count >= TOGETHER:
        assert found.messages == b"".join(raws)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_number_that_begins_anew_does_not_follow(size: int) -> None:
    """As many bytes hold no greater number; one that is sent in them is wrong."""
    shapes, last = Shapes(), 256**size - 1
    one = message(last, [1.5], k7=0)
    shapes.learn(one, data(one))
    raws = [
        one.replace(last.to_bytes(size, "big"), (n % (last + 1)).to_bytes(size, "big"), 1)
        for n in range(last - 5, last + 5)
    ]
    found = shapes.find(b"".join(map(frame, raws)), 0)
    assert found is not None
    assert (found.first, found.n, found.messages) == (last - 5, 6, b"".join(raws[:6]))


def test_nothing_is_found_of_another_size_or_kind() -> None:
    shapes = Shapes()
    raw = message(FIRST, [1.5], k7=0)
    assert shapes.find(frame(raw), 0) is None
    shapes.learn(raw, data(raw))
    for other in (message(FIRST, [1.5], k2=3, k7=0), message(FIRST, [1.5, 2.5], k7=0)):
        assert shapes.find(frame(other), 0) is None
        assert shapes.find(frame(other) * TOGETHER, 0) is None


def test_a_number_with_all_its_bytes() -> None:
    raw = message(2**40 + 1, [1.5], k7=0)
    shape = shape_of(raw, data(raw))
    assert shape is not None
    assert shape.number(raw.replace(struct.pack(">Q", 2**40 + 1), struct.pack(">Q", 5))) == 5


# -- packs -----------------------------------------------------------------------------------

VALUES = st.one_of(
    TINY,
    st.floats(width=32), st.integers(256, 65_535), st.integers(2**40, 2**64 - 1),
    st.integers(-60_000, -300),
)  # fmt: skip
TIMES = st.one_of(
    st.floats(-(10.0**6), 10.0**6),
    st.floats(1.7e9, 1.8e9),
    st.floats(),
    st.integers(256, 65_535),
    st.integers(10**9, 2 * 10**9),
    TINY,
)


@st.composite
def packs(draw: st.DrawFn) -> list[bytes]:
    """Packs of the same names and units; each number is of one kind in all of them."""
    names = draw(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4))
    forms: list[dict[int, Any]] = []
    for n, name in enumerate(names):
        form: dict[int, Any] = {0: name, draw(st.sampled_from([2, 2, 4])): None}
        if draw(st.booleans()):
            form[6] = None
        if n == 0 and draw(st.booleans()):
            form[-3] = None
        if n == 0 and draw(st.booleans()):
            form |= {-2: "x.", -4: "Cel"}
        if draw(st.booleans()):
            form[1] = "V"
        forms.append(form)
    count = draw(st.integers(1, 4))
    filled: list[list[dict[int, Any]]] = [[] for _ in range(count)]
    for form in forms:
        numbers = {label: draw(_alike(label, count)) for label, v in form.items() if v is None}
        for n in range(count):
            filled[n].append({k: numbers[k][n] if k in numbers else v for k, v in form.items()})
    return [cbor.encode({0: 17, 1: FIRST + n, 2: pack}) for n, pack in enumerate(filled)]


@st.composite
def _alike(draw: st.DrawFn, label: int, count: int) -> list[Any]:
    """Values that take the same bytes on the wire but for their own."""
    if label == 4:
        others = draw(st.sampled_from([st.booleans(), TINY_ANY]))
        return [draw(st.booleans()), *(draw(others) for _ in range(count - 1))]
    first = draw(VALUES if label == 2 else TIMES)
    if isinstance(first, float):
        kind = st.floats(width=32) if label == 2 else st.one_of(st.floats(1.7e9, 1.8e9), TIMES)
        return [first, *(float(draw(kind)) for _ in range(count - 1))]
    low, high = next(
        (low, high)
        for low, high in [
            *((256, 65_535), (65_536, 2**32 - 1), (2**32, 2**64 - 1), (-65_536, -257), (-24, 23))
        ]
        if low <= first <= high
    )
    return [first, *(draw(st.integers(low, high)) for _ in range(count - 1))]


def pack(raw: bytes) -> Senml:
    return parse(Senml, cbor.decode(raw))


def read(raw: bytes, *, latest: int | None) -> Batch:
    return read_senml(
        pack(raw).pack, device="d", received=NOW.unix, latest=latest, speaks_for_others=False
    )


@given(packs())
def test_packs_together_are_what_they_are_one_by_one(raws: list[bytes]) -> None:
    shape = shape_of(raws[0], pack(raws[0]))
    if shape is None:
        with pytest.raises(Rejected):
            read(raws[0], latest=None)
        return
    assert [shape.number(raw) for raw in raws] == [FIRST + n for n in range(len(raws))]
    together = Burst(shape, None, NOW, FIRST).add(b"".join(raws), len(raws))
    latest = NOW.unix + 10**15
    decode([together], latest=latest)
    try:
        batches = [read(raw, latest=latest) for raw in raws]
    except Rejected:
        assert together.decoded is None
        return
    if together.decoded is None:
        return
    assert sum(map(len, batches)) == shape.readings * len(raws)
    for n, (metric, times, values) in enumerate(columns_of(together.decoded)):
        columns = [batch.columns[n] for batch in batches]
        assert {(c.key.metric, c.key.kind, c.unit) for c in columns} == {metric}
        v = np.concatenate([column.v for column in columns])
        assert (values.dtype, values.tobytes()) == (v.dtype, v.tobytes())
        assert times.tolist() == np.concatenate([column.t for column in columns]).tolist()
    check_times(together.decoded)


def test_plain_packs_are_decoded_together() -> None:
    raws = [
        cbor.encode({0: 17, 1: FIRST + n, 2: [{0: "a", 1: "V", 2: n + 0.5}, {0: "b", 2: -0.5}]})
        for n in range(3)
    ]
    shape = shape_of(raws[0], pack(raws[0]))
    assert shape is not None
    assert shape.brief
    together = Burst(shape, None, NOW, FIRST).add(b"".join(raws), len(raws))
    decode([together], latest=NOW.unix)
    assert together.decoded is not None
    assert [values.tolist() for _, _, values in columns_of(together.decoded)] == [
        [0.5, 1.5, 2.5],
        [-0.5, -0.5, -0.5],
    ]


@pytest.mark.parametrize(("base", "time"), [(8e9, 8e9), (-8e9, -8e9), (8e9, 1e9)])
def test_times_that_are_too_far_together_are_read_one_by_one(base: float, time: float) -> None:
    def record(base: float, time: float) -> bytes:
        return cbor.encode({0: 17, 1: FIRST, 2: [{-3: base, 0: "a", 2: 1.5, 6: time}]})

    raw = record(1.7e9, 1e9)
    shape = shape_of(raw, pack(raw))
    assert shape is not None
    far = record(base, time)
    assert shape.number(far) == FIRST
    burst = Burst(shape, None, NOW, FIRST).add(far, 1)
    decode([burst], latest=INT64_MAX)
    assert burst.decoded is None


@pytest.mark.parametrize(
    "record",
    [
        *({0: "a", 2: 1.5, 5: 1.5}, {0: "a", 3: "x"}, {0: "a", 4: 1}, {0: "a", 2: True}),
        *({0: "d/a", 2: 1.5}, {0: "a", 2: 1.5, -5: 1.5}, {0: "a", 2: CBORTag(4, [-1, 300])}),
        *({0: "a", 2: 1.5, "x": 1}, {0: "a"}, {0: "a", 1: "x" * 65, 2: 1.5}),
    ],
)
def test_packs_without_a_shape(record: dict[Any, Any]) -> None:
    raw = cbor.encode({0: 17, 1: FIRST, 2: [record]})
    assert shape_of(raw, pack(raw)) is None


def test_arrays_do_not_hold_the_readings_of_all_bursts() -> None:
    rows, most, form = 1000, 2 * ENOUGH, layout(Field("a", "Cel", 85))
    column = CBORTag(85, np.arange(rows, dtype="<f4").tobytes())
    raws = [[message(FIRST + 16 * n, [column], t0=T0 + n, k4=1, k7=0)] * 16 for n in range(8)]
    several = [burst(some, form, Timebase(Clock.DEVICE)) for some in raws]
    decode(several, latest=NOW.unix + 10**15)
    for n, one in enumerate(several):
        assert one.decoded is not None
        ((_, t, v),) = columns_of(one.decoded)
        assert t.tolist() == [(T0 + n + row) * 10**6 for row in range(rows)] * 16
        assert v.tolist() == list(range(rows)) * 16
        for array in (t, v):
            held = array if array.base is None else array.base
            assert held.nbytes < most * array.itemsize < 8 * array.nbytes
