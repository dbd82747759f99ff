import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from cbor2 import CBORTag
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.cbor import decode, encode
from gateway.core.messages import BadBody, Senml, parse
from gateway.core.readings import Batch, Clock, Kind, SeriesKey
from gateway.core.senml import read_senml
from gateway.errors import Reason, Rejected, WireError

NOW = 1_767_225_600 * 10**9


def read(*pack: dict[Any, Any], others: bool = False, latest: int | None = None) -> Batch:
    return read_senml(pack, device="d", received=NOW, latest=latest, speaks_for_others=others)


def refused(*pack: dict[Any, Any], **options: Any) -> Reason:
    with pytest.raises(Rejected) as caught:
        read(*pack, **options)
    return caught.value.reason


def decimal(exponent: int, mantissa: int) -> CBORTag:
    return CBORTag(4, [exponent, mantissa])


def one(record: dict[Any, Any]) -> tuple[int, Any]:
    (column,) = read(record).columns
    return column.t.item(), column.v.item()


@given(st.integers(-64, 64), st.integers(-(2**63), 2**63 - 1))
@settings(max_examples=150)
def test_a_decimal_value_is_the_nearest_double(exponent: int, mantissa: int) -> None:
    exact = Fraction(mantissa) * Fraction(10) ** exponent
    assert one({0: "x", 2: decimal(exponent, mantissa)}) == (NOW, float(exact))


@given(st.integers(-64, 0), st.integers(-(2**63), 2**63 - 1), st.integers(-(2**40), 2**40))
@settings(max_examples=150)
def test_base_and_value_are_added_before_rounding(exponent: int, mantissa: int, base: int) -> None:
    exact = base + Fraction(mantissa) * Fraction(10) ** exponent
    assert one({-5: base, 0: "x", 2: decimal(exponent, mantissa)})[1] == float(exact)


@given(st.integers(2**28, 9_223_372_036), st.integers(0, 854_775_807))
@settings(max_examples=100)
def test_absolute_times_are_exact(seconds: int, nanos: int) -> None:
    assert one({0: "x", 2: 1, -3: seconds, 6: decimal(-9, nanos)})[0] == seconds * 10**9 + nanos
    assert one({0: "x", 2: 1, 6: seconds})[0] == seconds * 10**9


@given(st.floats(2**28, 4e9))
@settings(max_examples=100)
def test_float_times_are_within_half_a_nanosecond(seconds: float) -> None:
    assert abs(one({0: "x", 2: 1, 6: seconds})[0] - Fraction(seconds) * 10**9) <= Fraction(1, 2)


LABELS = st.sampled_from([-6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, "n", "a_", "a"])
DECIMALS = st.builds(CBORTag, st.just(4), st.lists(st.integers(-70, 70), max_size=3))
ITEMS = (
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.floats()
    | st.sampled_from(["", "a", "d/", "d/a", "e/a", "a b"]) | st.binary(max_size=3) | DECIMALS
)  # fmt: skip


@given(st.lists(st.dictionaries(LABELS, ITEMS, max_size=4), max_size=4), st.booleans())
@settings(max_examples=400, deadline=None)
def test_any_pack_is_read_or_rejected(pack: list[dict[Any, Any]], others: bool) -> None:
    try:
        source = parse(Senml, decode(encode({0: 17, 1: 1, 2: pack})))
        batch = read(*source.pack, others=others)
    except (WireError, BadBody, Rejected):
        return
    assert batch.clock is Clock.DEVICE
    assert len(batch) <= len(pack)
    assert len({column.key for column in batch.columns}) == len(batch.columns)
    for column in batch.columns:
        assert column.t.dtype == np.int64
        assert column.key.kind is not Kind.NUMBER or np.isfinite(column.v).all()


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([1, 2], np.int64), ([-1, 2**63 - 1], np.int64), ([0, 2**63], np.uint64),
     ([-1, 2**63], np.float64), ([1, 0.5], np.float64), ([decimal(0, 5)], np.float64)],
)  # fmt: skip
def test_integers_stay_integers_while_one_type_holds_them(values: list[Any], dtype: Any) -> None:
    (column,) = read(*({0: "x", 2: value} for value in values)).columns
    assert column.v.dtype == dtype


def test_series_keep_the_order_of_their_records() -> None:
    batch = read({0: "a", 2: 1, 6: 5}, {0: "b", 2: 2}, {0: "a", 2: 3, 6: -5})
    assert [column.key for column in batch.columns] == [
        SeriesKey("d", "a", Kind.NUMBER),
        SeriesKey("d", "b", Kind.NUMBER),
    ]
    assert batch.columns[0].v.tolist() == [1, 3]
    assert batch.columns[0].t.tolist() == [NOW + 5 * 10**9, NOW - 5 * 10**9]


def test_only_readings_are_checked_for_their_device() -> None:
    assert refused({-2: "e/", 0: "a", 2: 1}) is Reason.FOREIGN_DEVICE
    assert len(read({-2: "e/", -3: 0}, {-2: "d/", 0: "a", 2: 1})) == 1
    assert read({0: "e/a", 2: 1}, others=True).columns[0].key.device == "e"


def test_the_rfc_8428_example_of_many_records() -> None:
    """RFC 8428 §5.1.3, with labels as numbers."""
    batch = read(
        {-2: "urn:dev:ow:10e2073a0108006:", -3: 1.276020076001e9, -4: "A", -1: 5,
         0: "voltage", 1: "V", 2: 120.1},
        {0: "current", 6: -5, 2: 1.2},
        {0: "current", 6: -4, 2: 1.3},
        {0: "current", 2: 1.7},
    )  # fmt: skip
    voltage, current = batch.columns
    assert (voltage.key.metric, voltage.unit) == ("urn:dev:ow:10e2073a0108006:voltage", "V")
    assert (current.unit, current.v.tolist()) == ("A", [1.2, 1.3, 1.7])
    base = 1_276_020_076_001_000_000
    assert [round((t - base) / 1e9, 6) for t in current.t.tolist()] == [-5, -4, 0]


def test_a_value_of_nan_is_missing_and_an_infinite_one_rejected() -> None:
    assert len(read({0: "x", 2: math.nan})) == 0
    assert refused({0: "x", 2: math.inf}) is Reason.BAD_VALUE


def test_the_limit_of_time_holds_for_relative_times_too() -> None:
    assert len(read({0: "x", 2: 1, 6: 10}, latest=NOW + 10**10)) == 1
    assert refused({0: "x", 2: 1, 6: 11}, latest=NOW + 10**10) is Reason.BAD_TIME
