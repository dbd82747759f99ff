from typing import Any

import pytest

from gateway.core import messages
from gateway.core.messages import (
    BY_TYPE,
    FIRST_SEQUENCED,
    MAX_SEQ,
    Ack,
    BadBody,
    Data,
    Event,
    Gap,
    Hello,
    Welcome,
    parse,
    to_map,
)

HELLO = {0: 1, 2: [1, 0], 3: "sn-0042", 4: bytes(8), 5: 1, 6: 0}
ID = bytes(range(8))


def test_types_are_those_of_the_page() -> None:
    names = ["hello", "welcome", "ack", "timesync", "need", "error", "bye", "schema", "dack"]
    late = ["data", "senml", "event", "result", "gap", "command", "config"]
    assert {number: cls.__name__.lower() for number, cls in BY_TYPE.items()} == {
        **dict(enumerate(names, 1)),
        **dict(enumerate(late, FIRST_SEQUENCED)),
    }


def test_a_map_and_its_message_are_the_same() -> None:
    source = {**HELLO, 7: ID, 8: 5, 9: 2048, 10: [ID, 7], 11: 3, 12: {1: b"abcd"}, 13: 3, 14: "t"}
    message = parse(Hello, source)
    assert (message.device, message.boot, message.position) == ("sn-0042", ID, [ID, 7])
    assert to_map(message) == source


def test_optional_keys_have_defaults_and_are_left_out() -> None:
    message = parse(Hello, HELLO)
    assert (message.max_message, message.capabilities, message.token) == (1024, 0, None)
    assert to_map(message) == HELLO


def test_unknown_and_private_keys_are_ignored() -> None:
    assert parse(Ack, {0: 3, 2: 1, 77: "x", -1: 0}) == Ack(committed=1)


def test_messages_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Ack(committed=1).committed = 2  # type: ignore[misc]


@pytest.mark.parametrize("key", [2, 3, 4, 5, 6])
def test_a_missing_key_is_a_bad_body(key: int) -> None:
    with pytest.raises(BadBody, match=f"key {key}"):
        parse(Hello, {number: value for number, value in HELLO.items() if number != key})


@pytest.mark.parametrize(
    "change",
    [{2: [1]}, {2: [1, -1]}, {2: [1, 0, 0]}, {2: (1, 0)}, {3: ""}, {3: "a b"}, {3: "a\n"},
     {3: b"a"}, {3: "é"}, {3: "a" * 65}, {4: bytes(7)}, {4: "12345678"}, {5: 0}, {5: True},
     {5: 1.0}, {5: 2}, {5: MAX_SEQ + 2}, {6: MAX_SEQ + 1}, {6: -1}, {7: None}, {8: -1},
     {9: 2**64}, {10: [ID]}, {10: [7, ID]}, {12: {0: b"abcd"}}, {12: {65536: b"abcd"}},
     {12: {1: b"abc"}}, {12: []}, {13: "3"}, {14: b"t"}],
)  # fmt: skip
def test_a_wrong_value_is_a_bad_body(change: dict[int, Any]) -> None:
    with pytest.raises(BadBody):
        parse(Hello, {**HELLO, **change})


def test_an_empty_queue_at_the_last_number_is_possible() -> None:
    message = parse(Hello, {**HELLO, 5: MAX_SEQ + 1, 6: MAX_SEQ})
    assert message.lo == message.hi + 1


@pytest.mark.parametrize("seq", [0, -1, MAX_SEQ + 1, True, 1.0, "1", None])
def test_a_seq_is_a_number_from_1_to_2_53(seq: Any) -> None:
    assert not messages.is_seq(seq)
    with pytest.raises(BadBody):
        parse(Event, {0: 18, 1: seq, 2: 1})


def test_a_gap_does_not_end_before_it_begins() -> None:
    assert parse(Gap, {0: 20, 1: 5, 2: 5, 3: 1}).last == 5
    with pytest.raises(BadBody):
        parse(Gap, {0: 20, 1: 5, 2: 4, 3: 1})


@pytest.mark.parametrize("state", [-1, 4, True, 1.0])
def test_a_welcome_has_one_of_four_states(state: Any) -> None:
    source = {0: 2, 2: [1, 0], 3: ID, 4: 3, 5: 1, 6: 0, 7: 16384, 8: 5, 10: 30}
    assert parse(Welcome, source).state == 3
    with pytest.raises(BadBody):
        parse(Welcome, {**source, 4: state})


@pytest.mark.parametrize(
    ("clock", "good"), [(0, True), (ID, True), (False, False), (1, False), (bytes(7), False)]
)
def test_a_clock_is_unix_or_a_boot(clock: Any, good: bool) -> None:
    source = {0: 16, 1: 1, 2: 1, 3: 0, 5: [1], 7: clock}
    if good:
        assert parse(Data, source).clock == clock
        assert to_map(parse(Data, source)) == source
        return
    with pytest.raises(BadBody):
        parse(Data, source)
