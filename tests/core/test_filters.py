"""The query of `/events`."""

from urllib.parse import urlencode

import pytest

from gateway.core.filters import LOGGED, BadQuery, Filter, Subscription, parse_subscription
from tests.events import alert, status, summary


def test_an_empty_query_asks_for_everything_that_is_logged():
    asked = parse_subscription("")
    assert asked == Subscription()
    assert asked.filter.kinds == LOGGED
    assert asked.filter.everything


def test_all_parameters_are_read():
    asked = parse_subscription(
        "device=a&device=b%20c&metric=m&kind=summary&kind=reading&window=10s&window=1m"
        "&format=text&last_event_id=k-1&since=1732380000000.5&snapshot=0&strict=1"
    )
    assert asked == Subscription(
        filter=Filter(
            devices=frozenset({"a", "b c"}),
            metrics=frozenset({"m"}),
            windows=frozenset({"10s", "1m"}),
            kinds=frozenset({"summary", "reading"}),
        ),
        text=True,
        last_event_id="k-1",
        since=1732380000000.5,
        snapshot=False,
        strict=True,
    )


@pytest.mark.parametrize("name", ["a", "a" * 256, "\u00a0", "👩\u200d🚒", "\U000e0fff"])
def test_names_may_hold_all_but_control_characters(name):
    assert parse_subscription(urlencode({"device": name})).filter.devices == {name}


@pytest.mark.parametrize("text", ["", "nonsense", "K-9"])
def test_a_malformed_cursor_is_not_refused_here(text):
    assert parse_subscription(f"last_event_id={text}").last_event_id == (text or None)


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("colour=red", "colour"),
        ("kind=", "kind"),
        ("kind=heartbeat", "kind"),
        ("kind=summary,alert", "kind"),
        ("device=", "device"),
        ("device=a%00", "device"),
        ("device=%C2%85", "device"),
        ("metric=" + "m" * 257, "metric"),
        ("window=10", "window"),
        ("window=0s", "window"),
        ("window=1.5s", "window"),
        ("window=10s%0A", "window"),
        ("format=xml", "format"),
        ("format=", "format"),
        ("format=json&format=text", "format"),
        ("since=yesterday", "since"),
        ("since=-1", "since"),
        ("since=nan", "since"),
        ("since=1e3", "since"),
        ("snapshot=2", "snapshot"),
        ("snapshot=true", "snapshot"),
        ("strict=yes", "strict"),
        ("last_event_id=a&last_event_id=b", "last_event_id"),
        ("device=%ff", "query"),
        ("&".join(["kind=alert"] * 65), "query"),
        ("&".join(["kind=alert"] * 186), "query"),
        ("device=" + "a" * 2048, "query"),
    ],
)
def test_what_is_wrong_is_named(query, parameter):
    with pytest.raises(BadQuery) as caught:
        parse_subscription(query)
    assert caught.value.parameter == parameter
    assert caught.value.message


def test_as_much_as_is_allowed():
    asked = parse_subscription("&".join(f"device=d{i}" for i in range(64)))
    assert len(asked.filter.devices) == 64
    query = "device=" + "&device=".join(["a" * 250] * 7)
    assert len(
        parse_subscription(query + "&device=" + "b" * (2048 - 8 - len(query))).filter.devices
    )


def test_a_filter_lets_pass_what_it_names():
    where = Filter(devices=frozenset({"d1"}), metrics=frozenset({"m"}), windows=frozenset({"10s"}))
    assert where.matches(summary(1))
    assert not where.matches(summary(1, device="d2"))
    assert not where.matches(summary(1, metric="x"))
    assert not where.matches(summary(1, window="1m"))
    assert not where.everything


def test_events_without_a_metric_pass_filters_on_metrics():
    where = Filter(metrics=frozenset({"m"}), windows=frozenset({"10s"}))
    assert where.matches(status(1))
    assert where.matches(alert(1))
    assert not Filter(kinds=frozenset({"summary"})).matches(status(1))
