import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.messages import (
    Ack,
    Bye,
    Command,
    Data,
    Error,
    Event,
    Gap,
    Hello,
    Message,
    Need,
    Timesync,
    Welcome,
)
from gateway.core.session import LAW, Duplicate, Refused, Role, Session, State
from gateway.errors import CloseCode, Reason, SessionError, WireError

EPOCH = bytes(8)
HELLO = Hello(version=[1, 0], device="d", epoch=EPOCH, lo=1, hi=0, boot=None, mono_ms=None,
              max_message=1024, position=None, config_version=None, schemas=None,
              capabilities=0, token=None)  # fmt: skip


def welcome(state: int = 1, committed: int = 0, limit: int = 32) -> Welcome:
    return Welcome(version=[1, 0], store_id=EPOCH, state=state, committed=committed, limit=limit,
                   max_message=16384, unix_ms=1, mono_ms=None, ping_s=30, wanted=None,
                   queued=None, ack_delay_ms=None)  # fmt: skip


def pair(committed: int = 0, limit: int = 32) -> tuple[Session, Session]:
    device, gateway = Session(Role.DEVICE), Session(Role.GATEWAY)
    gateway.receive(device.send(HELLO))
    device.receive(gateway.send(welcome(committed=committed, limit=limit)))
    return device, gateway


def event(seq: int) -> Event:
    return Event(seq=seq, name="x", detail=None)


def raw(**keys: object) -> bytes:
    return cbor2.dumps({int(name[1:]): value for name, value in keys.items()})


def test_both_ends_hold_the_same_picture() -> None:
    device, gateway = pair(committed=7, limit=39)
    gateway.receive(device.send(event(8)))
    device.receive(gateway.send(Ack(committed=8, limit=40, rejects=None)))
    for end in (device, gateway):
        assert (end.state, end.committed, end.limit, end.next) == (State.LIVE, 8, 40, 9)


def test_a_refused_device_says_hello_again() -> None:
    device, gateway = Session(Role.DEVICE), Session(Role.GATEWAY)
    gateway.receive(device.send(HELLO))
    device.receive(gateway.send(welcome(state=3, committed=5, limit=0)))
    assert device.state is gateway.state is State.OPENING
    assert gateway.receive(device.send(HELLO)) == HELLO


@given(st.sampled_from(list(LAW)), st.sampled_from([HELLO, welcome(), Need(sids=[1]), event(1)]))
def test_nothing_is_sent_that_the_table_does_not_name(state: State, message: Message) -> None:
    session = Session(Role.DEVICE)
    session.state = state
    if (Role.DEVICE, type(message)) in LAW[state]:
        session.send(message)
    else:
        with pytest.raises(SessionError):
            session.send(message)


def test_a_number_is_taken_once() -> None:
    device, gateway = pair()
    data = device.send(event(1))
    assert gateway.receive(data) == event(1)
    assert gateway.receive(data) == Duplicate(1)


def test_many_numbers_follow_as_far_as_the_limit() -> None:
    device, gateway = pair(limit=10)
    assert gateway.follow(1, 3) == 3
    assert gateway.follow(3, 2) == gateway.follow(5, 1) == 0
    assert gateway.follow(4, 20) == 7
    assert gateway.follow(11, 1) == 0
    assert gateway.next == 11
    device.receive(gateway.send(Ack(committed=10, limit=20, rejects=None)))
    gateway.receive(device.send(Bye(reason=0, sleep_ms=None)))
    assert gateway.follow(11, 1) == 0


def test_a_number_beyond_the_next_one_is_out_of_sequence_even_past_the_limit() -> None:
    _, gateway = pair(limit=2)
    with pytest.raises(SessionError) as raised:
        gateway.receive(raw(k0=18, k1=9, k2="x"))
    assert raised.value.close_code is CloseCode.SEQUENCE


def test_the_limit_bounds_numbers_but_not_the_last_one_of_a_gap() -> None:
    _, gateway = pair(limit=2)
    gateway.receive(raw(k0=18, k1=1, k2="x"))
    gap = gateway.receive(raw(k0=20, k1=2, k2=100, k3=1))
    assert isinstance(gap, Gap)
    with pytest.raises(SessionError) as raised:
        gateway.receive(raw(k0=18, k1=101, k2="x"))
    assert raised.value.close_code is CloseCode.PAST_LIMIT


def test_a_smaller_limit_is_ignored() -> None:
    device, gateway = pair(limit=32)
    device.receive(gateway.send(Ack(committed=0, limit=3, rejects=None)))
    assert device.limit == 32


def test_a_gap_that_is_partly_committed_counts_for_the_rest() -> None:
    _, gateway = pair(committed=5)
    gap = gateway.receive(raw(k0=20, k1=3, k2=9, k3=1))
    assert isinstance(gap, Gap)
    assert (gap.seq, gap.last, gateway.next) == (6, 9, 10)
    assert gateway.receive(raw(k0=20, k1=3, k2=9, k3=1)) == Duplicate(3)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (raw(k0=77, k1=1), Reason.UNKNOWN_TYPE),
        (raw(k0=21, k1=1, k2="op"), Reason.UNKNOWN_TYPE),
        (raw(k0=16, k1=1), Reason.BAD_BODY),
        (raw(k0=20, k1=1, k2=0, k3=1), Reason.BAD_BODY),
        (raw(k0=17, k1=1, k2=[]), Reason.BAD_BODY),
    ],
)
def test_a_wrong_body_is_refused_and_takes_its_number(message: bytes, reason: Reason) -> None:
    _, gateway = pair()
    refused = gateway.receive(message)
    assert isinstance(refused, Refused)
    assert (refused.reason, gateway.next) == (reason, 2)


@pytest.mark.parametrize("seq", [0, -1, 2**53, "1", None, 1.0, True])
def test_a_sequenced_message_needs_a_number(seq: object) -> None:
    _, gateway = pair()
    with pytest.raises(WireError):
        gateway.receive(raw(k0=18, k1=seq, k2="x"))


def test_sequenced_messages_wait_for_the_welcome() -> None:
    gateway = Session(Role.GATEWAY)
    with pytest.raises(WireError):
        gateway.receive(raw(k0=18, k1=1, k2="x"))
    gateway.receive(Session(Role.DEVICE).send(HELLO))
    with pytest.raises(WireError):
        gateway.receive(raw(k0=18, k1=1, k2="x"))


def test_a_second_hello_is_malformed() -> None:
    _, gateway = pair()
    with pytest.raises(WireError):
        gateway.receive(Session(Role.DEVICE).send(HELLO))


def test_another_version_is_told_so() -> None:
    other = Session(Role.DEVICE).send(HELLO)
    source = cbor2.loads(other) | {2: [2, 0]}
    with pytest.raises(SessionError) as raised:
        Session(Role.GATEWAY).receive(cbor2.dumps(source))
    assert raised.value.close_code is CloseCode.VERSION


def test_unknown_unsequenced_types_and_the_other_direction_are_ignored() -> None:
    _, gateway = pair()
    for message in (raw(k0=13), raw(k0=3, k2=1), raw(k0=5, k2=[1])):
        assert gateway.receive(message) is None


def test_after_bye_nothing_counts() -> None:
    device, gateway = pair()
    gateway.receive(device.send(Bye(reason=0, sleep_ms=None)))
    assert gateway.receive(raw(k0=18, k1=1, k2="x")) is None
    with pytest.raises(SessionError):
        device.send(event(1))


def test_downlink_messages_reach_the_device() -> None:
    device, gateway = pair()
    for message in (
        Command(seq=1, op="relay", args={"on": True}, ttl_ms=5, flags=1),
        Timesync(t1=1, t2=2, t3=3),
        Need(sids=[4]),
        Error(code=4000, text="restart", retry_ms=None),
    ):
        assert device.receive(gateway.send(message)) == message
    assert device.state is State.PARTED


def test_a_data_message_survives_the_wire() -> None:
    device, gateway = pair()
    data = Data(seq=1, sid=1, t0=5, step=10, columns=[[1, None]], valid={0: b"\x01"}, clock=0)
    assert gateway.receive(device.send(data)) == data
