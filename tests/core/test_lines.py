"""The text form of events."""

import json

import pytest

from gateway.core.lines import line, moment
from tests.events import alert, status, summary
from tests.text_form import parse_text

START = 1_732_380_000_000


def test_a_summary_is_read_back():
    event = summary(1)
    text = line("summary", event.payload)
    payload = json.loads(event.payload)
    assert parse_text(text).items() <= payload.items()


@pytest.mark.parametrize(
    ("kind", "payload", "text"),
    [
        ("status", {"dev": "d", "state": "online", "t": START}, "2024-11-23T16:40:00Z d online"),
        (
            "status",
            {"dev": "d", "state": "asleep", "t": START, "until": START + 60_000},
            "2024-11-23T16:40:00Z d asleep (until 2024-11-23T16:41:00Z)",
        ),
        (
            "alert",
            {"dev": "d", "name": 5, "detail": {"x": 1}, "t": START},
            '2024-11-23T16:40:00Z d alert 5 {"x":1}',
        ),
        (
            "alert",
            {"dev": "d", "name": "hot", "state": "open", "text": "too hot", "t": START},
            "2024-11-23T16:40:00Z d alert hot open too hot",
        ),
        (
            "reading",
            {"dev": "d", "m": "t", "u": "Cel", "t": START + 0.5, "value": 21.5},
            "2024-11-23T16:40:00.000500Z d t 21.5 Cel",
        ),
        ("reading", {"dev": "d", "m": "t", "u": "", "t": None, "value": True}, "- d t true"),
    ],
)
def test_a_line_of_each_kind(kind, payload, text):
    assert line(kind, json.dumps(payload)) == text


def test_a_moment_has_a_fraction_only_if_it_needs_one():
    assert moment(0) == "1970-01-01T00:00:00Z"
    assert moment(-1) == "1969-12-31T23:59:59.999000Z"


def test_what_the_tests_make_up_can_be_written():
    assert line("status", status(1).payload)
    assert line("alert", alert(1).payload)
