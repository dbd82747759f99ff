"""The queue of one subscriber."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import backlog as b
from gateway.core.backlog import Backlog, Item
from tests.events import EPOCH, NOW, alert, status, summary
from tests.sse_parser import Parser
from tests.text_form import parse_text


def item(event):
    return Item.of(event, EPOCH)


def drain(backlog, size=2**30):
    return Parser().feed(b"".join(backlog.take(size)))


def test_events_come_out_in_order_with_their_ids():
    backlog = Backlog(head=0)
    for event in (summary(1), status(2), alert(5)):
        assert backlog.push(item(event))
    assert [(e.name, e.id) for e in drain(backlog)] == [
        ("summary", f"{EPOCH}-1"),
        ("status", f"{EPOCH}-2"),
        ("alert", f"{EPOCH}-5"),
    ]
    assert len(backlog) == 0


def test_the_cursor_never_passes_what_waits():
    backlog = Backlog(head=4)
    assert backlog.cursor == 4
    backlog.push(item(summary(7)))
    backlog.push(item(summary(9)))
    backlog.head = 12
    assert backlog.cursor == 6
    backlog.take(1)
    assert backlog.cursor == 8
    backlog.take(1)
    assert backlog.cursor == 12


def test_up_to_the_bound_nothing_is_conflated():
    backlog = Backlog(head=0)
    for seq in range(1, b.MAX_EVENTS + 1):
        assert backlog.push(item(summary(seq, metric="m")))
    assert len(backlog) == b.MAX_EVENTS
    assert backlog.missed == 0


def test_at_the_bound_each_key_collapses_into_its_newest():
    backlog = Backlog(head=0)
    backlog.push(item(alert(1)))
    for seq in range(2, 2 + b.MAX_EVENTS):
        backlog.push(item(summary(seq, metric=f"m{seq % 2}")))
    assert backlog.missed == b.MAX_EVENTS - 2
    first, second, third = drain(backlog)
    assert first.name == "alert"
    assert [second.json["skipped"], third.json["skipped"]] == [127, 127]
    assert (second.seq, third.seq) == (b.MAX_EVENTS, b.MAX_EVENTS + 1)


def test_the_text_form_says_what_was_skipped_too():
    backlog = Backlog(head=0, text=True)
    for seq in range(1, b.MAX_EVENTS + 2):
        backlog.push(item(summary(seq)))
    (event,) = drain(backlog)
    assert parse_text(event.data)["skipped"] == b.MAX_EVENTS


def test_bytes_are_bounded_too():
    backlog = Backlog(head=0)
    long = "x" * (b.MAX_BYTES // 10)
    for seq in range(1, 12):
        backlog.push(item(summary(seq, last=long)))
    assert len(backlog) < 11
    assert backlog.missed + len(backlog) == 11


def test_the_newest_is_the_one_of_the_latest_window_not_of_the_latest_revision():
    backlog = Backlog(head=0)
    for seq in range(1, b.MAX_EVENTS + 1):
        backlog.push(item(summary(seq)))
    backlog.push(item(summary(b.MAX_EVENTS + 1, t0=NOW, rev=2)))
    (event,) = drain(backlog)
    assert (event.seq, event.json["skipped"]) == (b.MAX_EVENTS, b.MAX_EVENTS)
    assert backlog.cursor == b.MAX_EVENTS + 1


def test_the_bound_rises_with_the_number_of_keys():
    backlog = Backlog(head=0)
    for seq in range(1, b.MAX_KEYS + 1):
        assert backlog.push(item(summary(seq, metric=f"m{seq}")))
    assert (len(backlog), backlog.missed) == (b.MAX_KEYS, 0)
    assert backlog.push(item(summary(b.MAX_KEYS + 1, metric="m1")))
    assert (len(backlog), backlog.missed) == (b.MAX_KEYS, 1)
    assert not backlog.push(item(summary(b.MAX_KEYS + 2, metric="one too many")))


@pytest.mark.parametrize("make", [status, alert])
def test_what_never_conflates_is_bounded_by_cutting(make):
    backlog = Backlog(head=0)
    pushed = [backlog.push(item(make(seq))) for seq in range(1, b.MAX_URGENT + 2)]
    assert pushed == [True] * b.MAX_URGENT + [False]


def test_clear_forgets_everything():
    backlog = Backlog(head=0)
    for seq in range(1, 400):
        backlog.push(item(summary(seq)))
    backlog.clear(500)
    assert (len(backlog), backlog.cursor, backlog.missed, backlog.take(10)) == (0, 500, 0, [])


events = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", "alert"]), st.integers(0, 30), st.integers(0, 9)),
    max_size=120,
)


@settings(max_examples=150)
@given(events)
def test_whatever_happens_nothing_is_lost_untold(script):
    """A small bound, and takes in between: delivered plus skipped is pushed, key by key."""
    backlog = Backlog(head=0)
    pushed, out = {"a": [], "b": [], "c": [], "alert": []}, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(b, "MAX_EVENTS", 8)
        patch.setattr(b, "MAX_URGENT", 1000)
        for seq, (key, start, take) in enumerate(script, 1):
            event = alert(seq) if key == "alert" else summary(seq, metric=key, t0=start)
            pushed[key].append(seq)
            assert backlog.push(item(event))
            assert len(backlog) <= max(8, 3) + len(pushed["alert"])
            if take == 0:
                out += drain(backlog, 600)
                assert all(event.seq <= backlog.cursor for event in out)
        out += drain(backlog)
    assert [event.seq for event in out] == sorted({event.seq for event in out})
    assert [event.seq for event in out if event.name == "alert"] == pushed["alert"]
    for key in "abc":
        mine = [json.loads(event.data) for event in out if event.name == "summary"]
        mine = [payload for payload in mine if payload["m"] == key]
        assert len(mine) + sum(payload.get("skipped", 0) for payload in mine) == len(pushed[key])
    assert backlog.missed == sum(e.json.get("skipped", 0) for e in out)
