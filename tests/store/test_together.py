"""Messages of the journal that are read together are what they are one by one."""

from collections import defaultdict
from typing import Any

import cbor2
import numpy as np
import pytest
from cbor2 import CBORTag
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.columns import Field, Layout
from gateway.core.entry import Entry
from gateway.core.readings import Batch, Clock, SeriesKey
from gateway.errors import StoreCorrupt
from gateway.store import together
from gateway.store.journal import decode
from gateway.store.together import batches

T0 = 1_790_000_000_000
BOOT, OTHER = bytes(range(8)), bytes(8)
FIELDS = Field("a", "Cel", 77, 0.01), Field("b", "", 86), Field("c", "", 0)
SHORT = Field("a", "Cel", 85)
LAYOUTS = {1: Layout(1, 3, FIELDS[:1], b"1"), 2: Layout(1, 3, FIELDS[:2], b"2"),
           3: Layout(2, 6, FIELDS, b"3"), 4: Layout(3, 3, (SHORT,), b"4")}  # fmt: skip


class Book:
    """Streams 1 and 2 are of one device; the clock of BOOT is known by now, OTHER's is not."""

    def layout(self, schema: int) -> Layout:
        return LAYOUTS[schema]

    def device(self, stream: int) -> str:
        return {1: "one", 2: "one", 3: "two"}[stream]

    def offset(self, _stream: int, boot: bytes) -> int | None:
        return 10**18 if boot == BOOT else None


def data(stream: int, seq: int, schema: int, columns: list[Any], **more: Any) -> Entry:
    keys = {0: 16, 1: seq, 2: LAYOUTS[schema].sid, 3: T0 + seq, 5: columns}
    keys |= {4: 1000} if isinstance(columns[0], CBORTag) else {}
    raw = cbor2.dumps(keys)
    return Entry(stream, seq, seq, raw, 1, Clock.DEVICE, 0, schema, b"")._replace(**more)


def pack(stream: int, seq: int, names: list[str], values: list[float]) -> Entry:
    records = [{0: name, 2: value, 6: -1.5} for name, value in zip(names, values, strict=True)]
    raw = cbor2.dumps({0: 17, 1: seq, 2: records})
    return Entry(stream, seq, seq, raw, 1, Clock.DEVICE, 10**9 * seq, 0, b"")


SEQ = st.sampled_from([5, 700, 701, 70_000])
STREAM = st.integers(1, 3)
INT16 = st.integers(-32768, 32767)
NUMBER = st.floats(allow_infinity=False) | st.integers(-300, 300)
CLOCKS = st.sampled_from(
    [{}, {}, {}, {"clock": Clock.MAPPED, "offset": -5000}, {"clock": Clock.UNKNOWN, "boot": BOOT},
     {"clock": Clock.UNKNOWN, "boot": OTHER}]
)  # fmt: skip


@st.composite
def one_entry(draw: st.DrawFn) -> Entry:
    stream, seq, more = draw(STREAM), draw(SEQ), draw(CLOCKS)
    kind = draw(
        st.sampled_from(["a", "a", "ab", "arrays", "short", "abc", "pack", "proxy", "none"])
    )
    if kind == "a":
        return data(stream, seq, 1, [draw(INT16)], **more)
    if kind == "ab":
        return data(stream, seq, 2, [draw(INT16), draw(NUMBER)], **more)
    if kind == "arrays":
        a = np.array(draw(st.lists(INT16, min_size=3, max_size=3)), "<i2")
        b = np.array(draw(st.lists(st.floats(width=64, allow_infinity=False), min_size=3,
                                   max_size=3)), "<f8")  # fmt: skip
        return data(stream, seq, 2, [CBORTag(77, a.tobytes()), CBORTag(86, b.tobytes())], **more)
    if kind == "short":
        shorts = st.lists(st.floats(width=32, allow_infinity=False), min_size=3, max_size=3)
        column = CBORTag(85, np.array(draw(shorts), "<f4").tobytes())
        return data(stream, seq, 4, [column], **more)
    if kind == "abc":
        return data(stream, seq, 3, [draw(INT16), draw(NUMBER), draw(st.booleans())], **more)
    if kind == "none":
        return Entry(stream, seq, seq, b"\xa0", 0, Clock.DEVICE, 0, 0, b"")
    values = [draw(st.floats(allow_nan=False, allow_infinity=False)) for _ in range(2)]
    return pack(stream, seq, ["a", "one/a" if kind == "proxy" else "b"], values)


def by_series(found: list[Batch]) -> dict[SeriesKey, list[Any]]:
    """Every reading of each series in its order, with all that is known of it, bit for bit."""
    series = defaultdict(list)
    for batch in found:
        for column in batch.columns:
            for t, v in zip(column.t.tolist(), column.v, strict=True):
                series[column.key].append(
                    (t, v.dtype, v.tobytes(), column.unit, batch.clock, batch.boot)
                )
    return series


@settings(max_examples=300, deadline=None)
@given(st.lists(one_entry(), max_size=40), st.integers(1, 50), st.integers(1, 8))
def test_together_they_are_what_they_are_one_by_one(
    entries: list[Entry], at_once: int, alike: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(together, "MOST_MESSAGES", at_once)
        patch.setattr(together, "MOST_ALIKE", alike)
        found = list(batches(entries, Book()))
    assert by_series(found) == by_series([decode(one, Book()) for one in entries])


def test_messages_alike_become_few_batches_that_hold_no_more_than_they_show() -> None:
    entries = [data(stream, 700 + n, 1, [n]) for n in range(100, 160) for stream in (1, 3)]
    first, second, *rest = list(batches(entries, Book()))
    assert [len(first), len(second), [len(one) for one in rest]] == [1, 1, [59, 59]]
    for batch in rest:
        assert batch.columns[0].t.base is batch.columns[0].v.base is None


def test_little_is_taken_at_a_time() -> None:
    taken = 0

    def endless():  # type: ignore[no-untyped-def]
        nonlocal taken
        while True:
            taken += 1
            yield data(1, 700 + taken, 1, [taken])

    found = batches(endless(), Book())
    for _ in range(20):
        next(found)
    assert taken <= 2 * together.MOST_MESSAGES + 20 * together.MOST_ALIKE


@pytest.mark.parametrize(
    "broken",
    [
        data(1, 900, 1, [1])._replace(schema=7),
        data(1, 900, 1, [1])._replace(stream=7),
        data(1, 900, 1, [1])._replace(message=b"\xa1"),
        data(1, 900, 2, [1, 2.5])._replace(schema=1),
    ],
)
def test_what_cannot_be_read_any_more_is_damage(broken: Entry) -> None:
    entries = [data(1, 800, 1, [1]), data(1, 801, 2, [1, 2.5]), broken]
    with pytest.raises(StoreCorrupt, match=f"message 900 of stream {broken.stream}"):
        list(batches(entries, Book()))
