import contextlib
import math
import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import cbor2
import pytest
from cbor2 import CBORTag
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core.cbor import MAX_BYTES, decode, encode
from gateway.errors import CloseCode, WireError

INTEGERS = st.integers(-(2**64), 2**64 - 1)
SCALARS = (
    st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False) | st.text() | st.binary()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(INTEGERS | st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)


def depth(value: Any) -> int:
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 0


@given(st.dictionaries(INTEGERS, VALUES, max_size=6))
@settings(max_examples=100)
def test_what_is_encoded_is_decoded_unless_it_is_too_deep(message: dict[int, Any]) -> None:
    if depth(message) <= 8:
        assert decode(encode(message)) == message
    else:
        with pytest.raises(WireError):
            decode(encode(message))


@given(st.binary(max_size=64))
@settings(max_examples=300)
@example(bytes.fromhex("a110d9d9f7a0"))
def test_random_bytes_are_decoded_or_refused(data: bytes) -> None:
    try:
        message = decode(data)
    except WireError:
        return
    assert all(type(key) is int for key in message)


TAGGED = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(SCALARS, inner, max_size=3)
        | st.builds(CBORTag, st.integers(0, 300) | st.integers(0, 2**64 - 1), inner)
    ),
    max_leaves=8,
)


@given(st.sampled_from([16, 17, 18]), st.integers(1, 8), TAGGED, st.data())
@settings(max_examples=250)
def test_hostile_bytes_never_raise_anything_else(
    kind: int, key: int, value: Any, draw: st.DataObject
) -> None:
    data = bytearray(cbor2.dumps({0: kind, key: value}))
    for _ in range(draw.draw(st.integers(0, 3))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    with contextlib.suppress(WireError):
        decode(bytes(data))


def test_every_tag_stays_inert_in_a_column() -> None:
    bodies = [b"\x00", b"\x40", b"\x61a", b"\x80", b"\x82\x01\x02", b"\xa0", b"\xf6"]
    for number in [*range(1300), 43000, 55799, 2**32, 2**64 - 1]:
        head = cbor2.dumps(CBORTag(number, 0))[:-1]
        for body in bodies:
            column = decode(b"\xa2\x00\x10\x05\x81" + head + body)[5][0]
            assert type(column) is CBORTag
            assert column.tag == number
            with pytest.raises(WireError):
                decode(b"\xa2\x00\x12\x03\x81" + head + body)


def test_no_built_in_tag_of_the_library_is_forgotten() -> None:
    """All tags of two bytes beyond those of the test above."""
    for number in range(1300, 65_536):
        column = decode(b"\xa2\x00\x10\x05\xd9" + number.to_bytes(2, "big") + b"\x82\x01\x02")[5]
        assert type(column) is CBORTag
        assert (column.tag, list(column.value)) == (number, [1, 2])


@pytest.mark.parametrize("levels", range(1, 12))
@pytest.mark.parametrize("core", ["80", "a0", "00"])
def test_depth_counts_containers_from_the_message_on(levels: int, core: str) -> None:
    data = bytes.fromhex("a2001203" + "81" * levels + core)
    if 1 + levels + (core != "00") <= 8:
        assert decode(data)[0] == 18
    else:
        with pytest.raises(WireError):
            decode(data)


@pytest.mark.parametrize("tags", [1, 7, 30])
def test_tags_do_not_count_as_depth(tags: int) -> None:
    data = bytes.fromhex("a2001005" + "81" * 6 + "c1" * tags + "80")
    assert decode(data)[0] == 16
    with pytest.raises(WireError):
        decode(bytes.fromhex("a2001005" + "81" * 6 + "c1" * tags + "8180"))


def test_indefinite_lengths_only_in_the_value_of_key_2_of_senml() -> None:
    assert decode(bytes.fromhex("a200110281bf00617402fb3ff0000000000000ff")) == {
        0: 17,
        2: [{0: "t", 2: 1.0}],
    }
    # Key 2 may be written longer, and may come first.
    assert decode(bytes.fromhex("a21800111802 9fa10201ff"))[2] == [{2: 1}]
    assert decode(bytes.fromhex("a2029fa10201ff0011"))[2] == [{2: 1}]
    for other in ("a200120281bf0001ff", "a300110281a10001039fff", "bf00110281a10001ff"):
        with pytest.raises(WireError):
            decode(bytes.fromhex(other))


def test_length_is_bounded() -> None:
    size = MAX_BYTES - len(encode({0: 18, 3: bytes(300)})) + 300
    assert len(encode({0: 18, 3: bytes(size)})) == MAX_BYTES
    assert decode(encode({0: 18, 3: bytes(size)}))[3] == bytes(size)
    with pytest.raises(WireError):
        decode(encode({0: 18, 3: bytes(size + 1)}))


def test_errors_ask_for_close_4500() -> None:
    with pytest.raises(WireError) as caught:
        decode(b"\x80")
    assert caught.value.close_code == CloseCode.MALFORMED


@pytest.mark.parametrize("value", [0.0, 1.0, 1.5, math.inf, -math.inf, math.nan])
def test_floats_are_always_eight_bytes(value: float) -> None:
    assert encode({1: value}) == b"\xa1\x01\xfb" + struct.pack(">d", value)


def test_numbers_of_an_enum_are_plain() -> None:
    assert decode(encode({2: CloseCode.RESTART})) == {2: 4000}


@pytest.mark.parametrize(
    "value",
    [2**64, -(2**64) - 1, datetime(2026, 1, 1, tzinfo=UTC), Decimal(1), {1}, 1j, bytearray(2),
     [2**64], {2**64: 1}, {"a": [Decimal(1)]}, CBORTag(1, 2**64)],
)  # fmt: skip
def test_only_plain_values_are_encoded(value: Any) -> None:
    with pytest.raises(ValueError, match=r"plain|64 bits"):
        encode({1: value})


def test_a_tag_given_on_purpose_is_encoded() -> None:
    assert encode({5: [CBORTag(77, b"\x01\x00")]}) == bytes.fromhex("a10581d84d420100")
