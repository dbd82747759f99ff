"""The order of arrivals survives any wait for schemas."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.clock import Now
from gateway.core.columns import Layout
from gateway.core.layouts import read_schema
from gateway.core.messages import Data, Event, Gap, Schema
from gateway.core.session import Refused
from gateway.core.uplink import HOLD, Arrival, Uplink

SIDS = st.integers(0, 3)


def at(mono: int) -> Now:
    return Now(mono, mono)


def layout(sid: int) -> Layout:
    return read_schema(Schema(sid=sid, fields=[{0: "m", 2: 86}], fingerprint=b"mark"))


def arrival(seq: int, sid: int, mono: int = 0) -> Arrival:
    """Data of a schema, or an event for sid 0."""
    message = Data(seq=seq, sid=sid, t0=0, columns=[1.0]) if sid else Event(seq=seq, name="x")
    return Arrival(message, b"", at(mono))


def test_data_of_an_unknown_schema_holds_back_all_that_follows() -> None:
    layouts: dict[int, Layout] = {}
    uplink = Uplink(layouts)
    assert uplink.take(arrival(1, 0)) != []
    assert uplink.take(arrival(2, 1)) == []
    assert uplink.take(arrival(3, 0)) == []
    assert list(uplink.release(at(HOLD - 1))) == []
    layouts[1] = layout(1)
    assert [one.seq for one in uplink.release(at(0))] == [2, 3]


def test_after_ten_seconds_it_is_refused_under_its_number() -> None:
    uplink = Uplink({})
    uplink.take(arrival(1, 1))
    uplink.take(arrival(2, 0))
    first, second = uplink.release(at(HOLD))
    assert isinstance(first.message, Refused)
    assert (first.seq, second.seq) == (1, 2)


def test_each_schema_is_asked_for_once() -> None:
    uplink = Uplink({})
    uplink.take(arrival(1, 2))
    uplink.take(arrival(2, 1))
    assert uplink.wanted() == [1, 2]
    assert uplink.wanted() == []


def test_what_waits_is_dropped_with_the_connection() -> None:
    uplink = Uplink({})
    uplink.take(arrival(1, 1))
    uplink.drop()
    assert list(uplink.release(at(HOLD))) == []


def test_a_gap_occupies_up_to_its_last() -> None:
    gap = Arrival(Gap(seq=2, last=9, reason=0), b"", at(0))
    assert (gap.seq, gap.last) == (2, 9)


@given(st.lists(st.tuples(SIDS, st.sets(SIDS.filter(bool), max_size=1)), max_size=30))
def test_order_and_number_are_kept(steps: list[tuple[int, set[int]]]) -> None:
    layouts: dict[int, Layout] = {}
    uplink = Uplink(layouts)
    passed: list[Arrival] = []
    for seq, (sid, learned) in enumerate(steps, 1):
        passed += uplink.take(arrival(seq, sid))
        for sid_learned in learned:
            layouts.setdefault(sid_learned, layout(sid_learned))
        passed += uplink.release(at(0))
    passed += uplink.release(at(HOLD))
    assert [one.seq for one in passed] == list(range(1, len(steps) + 1))
