"""What a snapshot shows."""

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.filters import Filter
from gateway.core.live import Live, Snapshot
from tests.events import NOW, alert, status, summary

ALL = Filter()


def shown(live: Live, where: Filter = ALL) -> list[list[dict]]:
    return [[json.loads(row) for row in rows] for rows in live.snapshot(where)]


def test_the_newest_window_of_each_series_and_length_is_shown():
    live = Live([summary(1), summary(2), summary(3, window="1m"), summary(4, metric="x")])
    summaries, _, _ = shown(live)
    assert [(row["m"], row["w"], row["t0"] - NOW) for row in summaries] == [
        ("m", "10s", 2000),
        ("m", "1m", 3000),
        ("x", "10s", 4000),
    ]
    assert live.head == 4


def test_a_revision_replaces_its_own_window_and_no_newer_one():
    live = Live([summary(1), summary(2)])
    live.apply(summary(3, t0=NOW + 1000, rev=2, mean=9))
    assert shown(live)[0][0]["mean"] == 21.43
    live.apply(summary(4, t0=NOW + 2000, rev=2, mean=8))
    assert shown(live)[0][0]["mean"] == 8
    assert live.head == 4


def test_a_summary_of_the_future_gives_way_once_the_clock_went_back():
    live = Live([summary(1, t0=NOW + 10**9)._replace(t=0)])
    live.apply(summary(2, t0=NOW)._replace(t=NOW + 15_000))
    assert shown(live)[0][0]["t0"] == NOW


def test_the_status_of_each_device_and_the_open_alerts():
    live = Live([status(1), status(2, state="lost"), status(3, device="d2")])
    live.apply(alert(4))
    live.apply(alert(5, name="cold"))
    live.apply(alert(6, state="closed"))
    _, statuses, alerts = shown(live)
    assert [(row["dev"], row["state"]) for row in statuses] == [("d1", "lost"), ("d2", "online")]
    assert [row["name"] for row in alerts] == ["cold"]


def test_an_alert_changes_its_state_until_it_is_over():
    live = Live()
    for number, state in enumerate(("short", "full", "short"), 1):
        live.apply(alert(number, name="disk", state=state))
        assert [row["state"] for row in shown(live)[2]] == [state]
    live.apply(alert(4, name="disk", state="plenty"))
    assert shown(live)[2] == []


def test_each_metric_has_its_own_alert_of_a_name():
    live = Live()
    for number, (metric, state) in enumerate((("a", "open"), ("b", "open"), ("a", "closed")), 1):
        live.apply(alert(number, state=state)._replace(metric=metric))
    assert len(shown(live)[2]) == 1


def test_an_alert_without_a_state_is_over_as_it_is_told():
    live = Live([alert(1, state=None)._replace(payload='{"v":1,"dev":"d1","name":5}')])
    assert shown(live)[2] == []


def test_a_removed_device_is_forgotten_but_for_its_summaries():
    live = Live([summary(1), status(2), alert(3), status(4, device="d2")])
    live.forget("d1")
    summaries, statuses, alerts = shown(live)
    assert (len(summaries), len(statuses), len(alerts)) == (1, 1, 0)


def test_a_filter_narrows_the_snapshot():
    live = Live([summary(1), summary(2, device="d2"), status(3), status(4, device="d2")])
    summaries, statuses, _ = shown(live, Filter(devices=frozenset({"d2"})))
    assert [row["dev"] for row in (*summaries, *statuses)] == ["d2", "d2"]
    assert shown(live, Filter(kinds=frozenset({"status"})))[0] == []


def test_the_newest_summary_is_the_one_that_ends_last():
    live = Live([summary(1), summary(2, window="1m", t0=NOW, t1=NOW + 60_000)])
    assert json.loads(live.newest_summary("d1", "m"))["w"] == "1m"
    assert live.newest_summary("d1", "x") is None
    live = Live([summary(1, t0=NOW, t1=NOW + 60_000, window="1m"), summary(2, t1=NOW + 60_000)])
    assert json.loads(live.newest_summary("d1", "m"))["w"] == "10s"


def test_the_head_may_be_beyond_what_was_loaded():
    assert Live([summary(3)], head=9).head == 9
    assert Live().head == 0


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))
def test_chunks_hold_every_row_once_and_only_the_last_ends_it(n, m, k):
    rows = [
        [f'"{kind}{i}"' for i in range(count)] for kind, count in zip("abc", (n, m, k), strict=True)
    ]
    chunks = [json.loads(chunk.json()) for chunk in Snapshot(*rows).chunks(5)]
    for key, expected in zip(("summaries", "status", "alerts"), rows, strict=True):
        assert [row for c in chunks for row in c[key]] == [json.loads(row) for row in expected]
    assert all(sum(len(c[key]) for key in ("summaries", "status", "alerts")) <= 5 for c in chunks)
    assert [c["more"] for c in chunks] == [True] * (len(chunks) - 1) + [False]
    assert len(chunks) == max(1, -(-(n + m + k) // 5))
