import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.asks import Ask, Configure, Nonsense, read
from gateway.core.broker import Delivery
from gateway.core.topics import Topics

TOPICS = Topics("sensors", "gw-1")
COMMAND = "sensors/gw-1/d/command/relay"


def delivery(topic: str = COMMAND, payload: bytes = b"", **changes: object) -> Delivery:
    return Delivery(mid=1, topic=topic, payload=payload, received=10**9, **changes)  # type: ignore[arg-type]


def ask(**changes: object) -> Ask:
    result = read(delivery(**changes), TOPICS)  # type: ignore[arg-type]
    assert isinstance(result, Ask), result
    return result


def nonsense(**changes: object) -> Nonsense:
    result = read(delivery(**changes), TOPICS)  # type: ignore[arg-type]
    assert isinstance(result, Nonsense), result
    return result


def test_a_command_without_anything() -> None:
    plain = ask()
    assert (plain.device, plain.op, plain.args, plain.flags) == ("d", "relay", None, 0)
    assert plain.ttl_ms is None
    assert plain.left(10**18) is None
    assert plain.origin == {}


def test_a_command_with_everything() -> None:
    full = ask(
        payload=b'{"on":true}',
        user={"ttl_ms": "2500", "flags": "1"},
        response_topic="me",
        correlation=b"\xab\xcd",
        expiry_s=60,
    )
    assert full.args == {"on": True}
    assert (full.flags, full.ttl_ms) == (1, 2500)
    assert full.origin == {"response_topic": "me", "correlation": "abcd"}
    assert full.dedupe == "abcd"


@pytest.mark.parametrize(
    ("ttl", "expiry", "expected"),
    [("500", 1, 500), ("5000", 1, 1000), (None, 2, 2000), ("7", None, 7), ("0", None, 0)],
)
def test_the_smaller_time_to_live_counts(
    ttl: str | None, expiry: int | None, expected: int
) -> None:
    user = {} if ttl is None else {"ttl_ms": ttl}
    assert ask(user=user, expiry_s=expiry).ttl_ms == expected


def test_time_passes_from_the_receipt_on() -> None:
    short = ask(user={"ttl_ms": "1000"})
    assert short.left(10**9) == 1000
    assert short.left(10**9 + 400_000_000) == 600
    assert short.left(3 * 10**9) == -1000


def test_a_retained_command_is_refused() -> None:
    refused = nonsense(retain=True)
    assert (refused.device, refused.op) == ("d", "relay")
    assert "retained" in refused.text


@pytest.mark.parametrize(
    "payload",
    [b"{", b"nope", b"\xff", b"NaN", b"1e999", b'"\\ud800"', b"18446744073709551616",
     b"[" * 100_000, b"[[[[[[[[1]]]]]]]]", b"9" * 5000],
    ids=range(10),
)  # fmt: skip
def test_a_payload_that_no_device_could_get_is_refused(payload: bytes) -> None:
    assert "payload" in nonsense(payload=payload).text


@pytest.mark.parametrize(
    "payload", [b"0", b'"x"', b"null", b"[]", b"[[[[[[[1]]]]]]]", b"-18446744073709551616"]
)
def test_other_json_is_taken(payload: bytes) -> None:
    ask(payload=payload)


@pytest.mark.parametrize("text", ["", "-1", "1.5", "soon", "9" * 30, "٣"])
def test_bad_numbers_are_refused(text: str) -> None:
    assert "ttl_ms" in nonsense(user={"ttl_ms": text}).text
    assert "flags" in nonsense(user={"flags": text}).text


def test_a_repetition_has_the_same_key_though_its_expiry_shrank() -> None:
    first = ask(payload=b"1", user={"a": "1", "b": "2"}, expiry_s=60)
    again = ask(payload=b"1", user={"b": "2", "a": "1"}, expiry_s=40)
    assert first.dedupe == again.dedupe


def test_what_makes_a_command_another_one_changes_its_key() -> None:
    asks = [
        ask(payload=b"1"),
        ask(payload=b"2"),
        ask(payload=b"1", user={"a": "1"}),
        ask(payload=b"1", response_topic="me"),
        ask(payload=b"1", topic="sensors/gw-1/e/command/relay"),
    ]
    assert len({one.dedupe for one in asks}) == len(asks)


def test_a_configuration_may_be_retained() -> None:
    topic = "sensors/gw-1/d/config"
    assert read(delivery(topic, b'{"a":1}', retain=True), TOPICS) == Configure("d", {"a": 1})


@pytest.mark.parametrize("payload", [b"", b"{"])
def test_a_configuration_that_is_not_json_has_nobody_to_answer(payload: bytes) -> None:
    assert nonsense(topic="sensors/gw-1/d/config", payload=payload).op is None


def test_another_topic_asks_for_nothing() -> None:
    assert nonsense(topic="elsewhere").op is None


@given(
    payload=st.binary(max_size=40),
    user=st.dictionaries(st.sampled_from(["ttl_ms", "flags", "x"]), st.text(max_size=8)),
    retain=st.booleans(),
)
def test_nothing_that_arrives_raises(payload: bytes, user: dict[str, str], retain: bool) -> None:
    read(delivery(payload=payload, user=user, retain=retain), TOPICS)
