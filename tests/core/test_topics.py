import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.broker import Address, Unsendable, parse_url
from gateway.core.readings import Batch, Clock, Column, Kind, SeriesKey
from gateway.core.topics import (
    CommandTopic,
    ConfigTopic,
    Topics,
    Upstream,
    check_topic,
    is_backfill,
    result_body,
    topic_at,
)
from gateway.errors import ConfigError

TOPICS = Topics("site/sensors", "gw-1")
UP = Upstream(TOPICS, state_ms=60_000)
SUMMARY = {"v": 1, "dev": "d", "m": "temp", "u": "Cel", "w": "10s", "t0": 0, "t1": 10_000, "n": 2}
NAMES = st.from_regex(r"[A-Za-z0-9._:-]{1,20}", fullmatch=True)


def test_the_table_of_topics() -> None:
    assert TOPICS.gateway_status == "site/sensors/gw-1/status"
    assert TOPICS.status("d") == "site/sensors/gw-1/d/status"
    assert TOPICS.summary("d", "m", window="10s") == "site/sensors/gw-1/d/m/summary/10s"
    assert TOPICS.state("d") == "site/sensors/gw-1/d/state"
    assert TOPICS.readings("d") == "site/sensors/gw-1/d/readings"
    assert TOPICS.alert("d") == "site/sensors/gw-1/d/alert"
    assert TOPICS.result("d") == "site/sensors/gw-1/d/result"
    assert TOPICS.command_filter == "site/sensors/gw-1/+/command/+"
    assert TOPICS.config_filter == "site/sensors/gw-1/+/config"


@pytest.mark.parametrize(
    "root", ["", "a+", "#", "a/#", "a\0b", "a\nb", "/a", "a/", "a//b", "$SYS", "x" * 2000]
)
def test_a_root_that_is_no_topic_is_refused(root: str) -> None:
    with pytest.raises(ConfigError, match=r"mqtt\.root"):
        Topics(root, "gw-1")


@pytest.mark.parametrize("gateway", ["", "a/b", "+", "a#", "\0", "$x"])
def test_a_gateway_id_that_is_no_level_is_refused(gateway: str) -> None:
    with pytest.raises(ConfigError, match=r"gateway\.id"):
        Topics("sensors", gateway)


@given(device=NAMES, op=st.from_regex(r"[^/+#\x00]{1,20}", fullmatch=True))
def test_a_command_topic_is_read_back(device: str, op: str) -> None:
    parsed = TOPICS.parse(f"{TOPICS.base}/{device}/command/{op}")
    assert isinstance(parsed, CommandTopic)
    assert parsed.device == device
    assert str(parsed.op) == op


@pytest.mark.parametrize(
    ("level", "op"),
    [("7", 7), ("0", 0), ("07", "07"), ("-1", "-1"), ("relay", "relay"), ("٣", "٣"),
     (str(2**64 - 1), 2**64 - 1), (str(2**64), str(2**64)), ("9" * 5000, "9" * 5000)],
    ids=range(9),
)  # fmt: skip
def test_digits_are_a_number(level: str, op: str | int) -> None:
    assert TOPICS.parse(f"{TOPICS.base}/d/command/{level}") == CommandTopic("d", op)


def test_a_config_topic_is_read() -> None:
    assert TOPICS.parse(f"{TOPICS.base}/d/config") == ConfigTopic("d")


@pytest.mark.parametrize(
    "topic",
    ["", "site/sensors/gw-1", "site/sensors/gw-1/status", "site/sensors/gw-2/d/config",
     "sensors/gw-1/d/config", "site/sensors/gw-1/d/command", "site/sensors/gw-1/d/command/",
     "site/sensors/gw-1//command/x", "site/sensors/gw-1/d/command/x/y",
     "site/sensors/gw-1//config", "x/site/sensors/gw-1/d/config"],
)  # fmt: skip
def test_other_topics_ask_for_nothing(topic: str) -> None:
    assert TOPICS.parse(topic) is None


def test_a_summary_row() -> None:
    put = UP.summary(5, 11_000, SUMMARY)
    assert (put.id, put.t) == (5, 11_000)
    assert put.topic == "site/sensors/gw-1/d/temp/summary/10s"
    assert json.loads(put.payload) == SUMMARY
    assert (put.ends, put.window_ms, put.retain, put.backfill) == (10_000, 10_000, False, False)
    assert put.expires is None
    assert not put.replaces


def test_a_revision_is_backfill_from_the_start() -> None:
    put = UP.summary(5, 11_000, {**SUMMARY, "rev": 2})
    assert put.backfill
    assert topic_at(put, 11_000).endswith("/summary/10s/backfill")


@pytest.mark.parametrize(
    ("window_ms", "after", "old"),
    [(10_000, 60_000, False), (10_000, 60_001, True),
     (60_000, 120_000, False), (60_000, 120_001, True), (10_000, -5, False)],
)  # fmt: skip
def test_a_window_that_ended_long_ago_is_backfill(window_ms: int, after: int, old: bool) -> None:
    end = 1_000_000
    body = {**SUMMARY, "t0": end - window_ms, "t1": end}
    assert is_backfill(UP.summary(1, end, body), end + after) is old


def test_only_summaries_are_backfill() -> None:
    put = UP.alert(1, 0, {"v": 1, "dev": "d"})
    assert topic_at(put, 10**15) == "site/sensors/gw-1/d/alert"


def test_status_and_state_are_retained_and_replace_older_ones() -> None:
    status = UP.status(1, 5, {"v": 1, "dev": "d", "state": "online"})
    state = UP.state(2, 5, "d", {"temp": 21.5})
    for put in (status, state):
        assert put.retain
        assert put.replaces
    assert status.expires is None
    assert state.expires == 60_005
    assert json.loads(state.payload) == {"temp": 21.5}


def test_a_result_goes_to_the_device_unless_it_is_asked_elsewhere() -> None:
    body = result_body(n=3, device="d", op="relay", state="done", result=True)
    plain = UP.result(1, 0, body, None)
    asked = UP.result(1, 0, body, {"response_topic": "me/answers", "correlation": "00ff"})
    assert plain.topic == "site/sensors/gw-1/d/result"
    assert asked.topic == "me/answers"
    assert json.loads(asked.properties)["correlation"] == "00ff"
    assert "correlation" not in json.loads(plain.properties)
    assert json.loads(plain.payload) == {
        "v": 1, "n": 3, "dev": "d", "op": "relay", "state": "done", "result": True
    }  # fmt: skip


@pytest.mark.parametrize(
    "wanted", ["", "a/+", "#", "$SYS/x", "a\0", "site/sensors/gw-1/d/command/relay",
               "site/sensors/gw-1/d/config"],
)  # fmt: skip
def test_an_answer_never_becomes_a_command(wanted: str) -> None:
    assert TOPICS.answer("d", wanted) == "site/sensors/gw-1/d/result"


def batch(clock: Clock = Clock.DEVICE) -> Batch:
    t = np.array([1_700_000_000_000_000_001, 1_700_000_001_500_000_000], np.int64)
    return Batch(
        [
            Column(SeriesKey("d", "temp", Kind.NUMBER), "Cel", t, np.array([21.5, 22.0])),
            Column(SeriesKey("d", "door", Kind.BOOLEAN), "", t[:1], np.array([True])),
            Column(SeriesKey("d", "text", Kind.TEXT), "", t[:1], np.array(["a"], object)),
        ],
        clock,
        b"\1" * 8,
    )


def test_readings_become_a_senml_pack() -> None:
    put = UP.readings(1, 0, batch())
    assert put.topic == "site/sensors/gw-1/d/readings"
    assert json.loads(put.properties) == {"content_type": "application/senml+json"}
    assert json.loads(put.payload) == [
        {"bt": 1_700_000_000, "n": "d/temp", "u": "Cel", "t": 1e-9, "v": 21.5},
        {"n": "d/temp", "u": "Cel", "t": 1.5, "v": 22.0},
        {"n": "d/door", "t": 1e-9, "vb": True},
        {"n": "d/text", "t": 1e-9, "vs": "a"},
    ]


def test_readings_of_unknown_time_must_be_understood_as_such() -> None:
    records = json.loads(UP.readings(1, 0, batch(Clock.UNKNOWN)).payload)
    assert all(record["boot_"] == "01" * 8 for record in records)
    assert all("bt" not in record for record in records)


@pytest.mark.parametrize(
    ("url", "address"),
    [("mqtt://broker", Address("broker", 1883, False)),
     ("mqtts://broker", Address("broker", 8883, True)),
     ("mqtt://[::1]:5/", Address("::1", 5, False))],
)  # fmt: skip
def test_an_address_is_read(url: str, address: Address) -> None:
    assert parse_url(url) == address


@pytest.mark.parametrize(
    "url", ["", "broker", "http://a", "mqtt://", "mqtt://a:0", "mqtt://a:x", "mqtt://u:p@a",
            "mqtt://a/topic", "mqtt://a?x=1"],
)  # fmt: skip
def test_a_bad_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"mqtt\.url"):
        parse_url(url)


def test_an_address_shows_ipv6_in_brackets() -> None:
    assert str(parse_url("mqtt://[::1]:5")) == "[::1]:5"


def test_a_plain_topic_can_be_sent() -> None:
    check_topic("a/b c/ü")
    with pytest.raises(Unsendable):
        check_topic("a/#")
