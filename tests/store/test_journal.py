"""Packing messages into journal rows, and reading them back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.cbor import decode as decode_map
from gateway.core.columns import Layout, read_data
from gateway.core.entry import Entry
from gateway.core.messages import Data, parse
from gateway.core.readings import Clock, Timebase
from gateway.errors import StoreCorrupt
from gateway.store.journal import UNKNOWN_TIME, decode, pack, unpack
from gateway.store.weave import picker, woven
from tests.store.samples import BOOT, LAYOUT, NOW, entry, gap_entry, senml_entry

SEQ = st.integers(1, 2**53 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
ENTRIES = st.lists(
    st.builds(
        lambda stream, seq, more, message, readings, clock, offset, schema, boot: Entry(
            stream, seq, seq + more, message, readings, int(clock), offset, schema, boot
        ),
        st.integers(1, 2**40),
        SEQ,
        st.integers(0, 2**53),
        st.binary(max_size=60),
        st.integers(0, 4096 * 64),
        st.sampled_from(Clock),
        INT64,
        st.integers(0, 2**31),
        st.sampled_from([b"", BOOT]),
    ),
    max_size=20,
)


@given(st.integers(2, 9), st.binary(min_size=1, max_size=9), ENTRIES)
def test_messages_alike_are_one_entry_and_come_back_one_by_one(
    count: int, message: bytes, others: list[Entry]
) -> None:
    messages = [message + bytes([n]) for n in range(count)]
    alike = Entry(7, 100, 99 + count, b"".join(messages), 3, 0, 5, 2, b"", count)
    apart = [Entry(7, 100 + n, 100 + n, messages[n], 3, 0, 5, 2, b"") for n in range(count)]
    assert unpack(*pack([alike, *others])) == [*apart, *others]
    assert len(pack([alike])[0]) < len(pack(apart)[0]) + 9


@given(st.lists(st.binary(max_size=9), max_size=40))
def test_what_is_woven_is_picked_out(messages: list[bytes]) -> None:
    sizes = [len(message) for message in messages]
    pick = picker(woven(b"".join(messages), sizes), sizes)
    assert [pick(n) for n in range(len(sizes))] == messages


def test_messages_of_one_size_stand_byte_by_byte_in_the_order_of_the_first() -> None:
    body, sizes = b"abcXYabZdefW", [3, 2, 1, 1, 1, 3, 1]
    assert woven(body, sizes) == b"adbecfXY" + b"abZW"
    assert b"".join(map(picker(b"adbecfXY" + b"abZW", sizes), range(7))) == body


@given(ENTRIES, st.data())
def test_what_is_wanted_is_unpacked(entries: list[Entry], data: st.DataObject) -> None:
    pairs = {(one.stream, one.schema) for one in entries}
    chosen = {pair for pair in sorted(pairs) if data.draw(st.booleans())}
    found = unpack(*pack(entries), lambda *pair: pair in chosen)
    assert found == [one for one in entries if (one.stream, one.schema) in chosen]


class Book:
    """A `Lookup` that knows one schema, one device and one boot."""

    def __init__(self, mapping: int | None = None) -> None:
        self.mapping = mapping

    def layout(self, schema: int) -> Layout:
        return {1: LAYOUT}[schema]

    def device(self, stream: int) -> str:
        return {1: "shed-1"}[stream]

    def offset(self, stream: int, boot: bytes) -> int | None:
        return self.mapping


@given(ENTRIES)
def test_entries_survive(entries: list[Entry]) -> None:
    assert unpack(*pack(entries)) == entries


@given(ENTRIES)
def test_the_first_byte_tells_of_unknown_time(entries: list[Entry]) -> None:
    header, _, _ = pack(entries)
    unknown = any(one.clock == Clock.UNKNOWN and one.readings for one in entries)
    assert bool(header[0] & UNKNOWN_TIME) is unknown


@given(ENTRIES.filter(bool), st.data())
def test_any_flipped_bit_is_found(entries: list[Entry], draw: st.DataObject) -> None:
    header, body, crc = pack(entries)
    whole = bytearray(header + body)
    whole[draw.draw(st.integers(0, len(whole) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    with pytest.raises(StoreCorrupt):
        unpack(bytes(whole[: len(header)]), bytes(whole[len(header) :]), crc)


@settings(max_examples=50)
@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=30), st.integers(0, 2**40))
def test_readings_are_decoded_as_they_were_committed(raws: list[int], t0: int) -> None:
    one = entry(1, t0, raws, offset=-5_000, clock=Clock.MAPPED)
    (again,) = unpack(*pack([one]))
    found = decode(again, Book(mapping=99))
    expected = read_data(
        parse(Data, decode_map(one.message)), LAYOUT,
        device="shed-1", timebase=Timebase(Clock.MAPPED, -5_000), latest=None,
    )  # fmt: skip
    assert found.clock is Clock.MAPPED
    assert len(found.columns) == len(expected.columns) == 4
    for column, other in zip(found.columns, expected.columns, strict=True):
        assert (column.key, column.unit, column.v.dtype) == (
            other.key, other.unit, other.v.dtype,
        )  # fmt: skip
        assert np.array_equal(column.t, other.t)
        assert np.array_equal(column.v, other.v)


def test_unknown_time_is_mapped_once_the_boot_is_known() -> None:
    one = entry(1, 5, [1], clock=Clock.UNKNOWN, boot=BOOT)
    before, after = decode(one, Book()), decode(one, Book(mapping=10**18))
    assert (before.clock, before.boot) == (Clock.UNKNOWN, BOOT)
    assert before.columns[0].t.tolist() == [5_000_000]
    assert after.clock is Clock.MAPPED
    assert after.columns[0].t.tolist() == [10**18 + 5_000_000]


def test_relative_times_of_a_pack_count_from_its_receipt() -> None:
    one = senml_entry(1, 10**18, [{0: "wind", 2: 3.5, 6: -2}, {0: "other/wind", 2: 4.5}])
    batch = decode(one, Book())
    assert [(column.key.device, column.t.tolist()) for column in batch.columns] == [
        ("shed-1", [10**18 - 2 * 10**9]), ("other", [10**18]),
    ]  # fmt: skip


def test_messages_without_readings() -> None:
    assert len(decode(gap_entry(3, 9), Book())) == 0


@pytest.mark.parametrize(
    "broken",
    [
        entry(1, 5, [1])._replace(schema=7),
        entry(1, 5, [1])._replace(stream=7),
        entry(1, 5, [1])._replace(message=b"\xa1"),
        gap_entry(1, 2)._replace(readings=1),
    ],
)
def test_what_cannot_be_read_any_more_is_damage(broken: Entry) -> None:
    with pytest.raises(StoreCorrupt, match=f"message 1 of stream {broken.stream}"):
        decode(broken, Book())


def test_a_header_is_small() -> None:
    header, _, _ = pack([entry(i, NOW, [1], stream=1 + i % 20) for i in range(4000, 4020)])
    assert len(header) / 20 < 14
