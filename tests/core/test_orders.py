import pytest

from gateway.core.clock import Now
from gateway.core.downlink import MOST_UNHANDLED, MOST_WAITING
from gateway.core.facts import CommandMoved, CommandPut
from gateway.core.group import Group, Rules
from gateway.core.messages import Command, Config, Message, Result
from gateway.core.orders import DEDUPE_MS, OrderRefused, Orders, Request
from gateway.core.registry import Device, Registry
from gateway.core.windows import Windows, parse_window

STORE = b"12345678"


class Site:
    """Orders for one device `d`, which is connected if `room` is a number."""

    def __init__(self, room: int | None = 1024) -> None:
        self.registry = Registry()
        self.registry.begin_numbers({"command": 0, "event": 0, "outbox": 0})
        self.device = self.registry.add_device(Device(1, "d"))
        self.windows = Windows([parse_window("10s")], 0, 0)
        self.sent: list[Message] = []
        self.room = room
        self.orders = Orders(
            self.registry,
            store_id=STORE,
            send=lambda _, message: self.sent.append(message),
            room=lambda _: self.room,
        )
        self.ms = 1_000_000

    def group(self) -> Group:
        now = Now(self.ms * 10**6, self.ms * 10**6)
        return Group(self.registry, self.windows, now=now, rules=Rules(0))

    def commit(self, group: Group) -> None:
        for then in group.after:
            then()

    def put(self, op: str | None = "relay", **more: object) -> Group:
        group = self.group()
        self.orders.put(group, Request("d", op, **more))  # type: ignore[arg-type]
        return group


def moves(group: Group) -> list[tuple[int, str]]:
    return [(fact.n, fact.state) for fact in group.facts if isinstance(fact, CommandMoved)]


def test_an_order_is_sent_only_after_its_number_is_durable() -> None:
    site = Site()
    group = site.put()
    assert moves(group) == [(1, "sent")]
    assert site.sent == []
    site.commit(group)
    assert [message.seq for message in site.sent if isinstance(message, Command)] == [1]


def test_at_most_four_are_unhandled() -> None:
    site = Site()
    for _ in range(MOST_UNHANDLED + 2):
        site.commit(site.put())
    assert len(site.sent) == MOST_UNHANDLED
    group = site.group()
    site.orders.handled(group, site.device, 1)
    site.commit(group)
    assert moves(group) == [(1, "handled"), (5, "sent")]
    assert len(site.sent) == MOST_UNHANDLED + 1


def test_what_was_not_handled_is_sent_again_under_its_number() -> None:
    site = Site()
    site.commit(site.put())
    group = site.group()
    site.orders.resend(group, site.device)
    site.commit(group)
    assert site.sent[0] == site.sent[1]


def test_an_order_that_expires_in_the_queue_is_never_sent() -> None:
    site = Site(room=None)
    site.put(ttl_ms=5)
    site.ms += 10
    site.room = 1024
    group = site.group()
    site.orders.resend(group, site.device)
    site.commit(group)
    assert moves(group) == [(1, "expired")]
    assert site.sent == []


def test_a_result_is_final_and_only_counts_for_this_store() -> None:
    site = Site()
    site.commit(site.put())
    for store, expected in ((b"87654321", []), (STORE, [(1, "done")]), (STORE, [])):
        group = site.group()
        result = Result(seq=1, command=[store, 1], status=0, value=None)
        site.orders.answered(group, site.device, result)
        assert moves(group) == expected


def test_accepted_may_still_become_done() -> None:
    site = Site()
    site.commit(site.put())
    states = []
    for status in (1, 0):
        group = site.group()
        result = Result(seq=1, command=[STORE, 1], status=status, value=None)
        site.orders.answered(group, site.device, result)
        states += moves(group)
    assert states == [(1, "accepted"), (1, "done")]


def test_a_repetition_gives_the_order_that_it_repeats() -> None:
    site = Site()
    site.put(dedupe="42")
    group = site.group()
    assert site.orders.put(group, Request("d", "relay", dedupe="42")).n == 1
    assert not any(isinstance(fact, CommandPut) for fact in group.facts)


def test_a_message_too_large_for_the_device_fails() -> None:
    site = Site(room=128)
    group = site.put(args="x" * 200)
    assert moves(group) == [(1, "failed")]
    assert site.device.downlink.waiting() == 0


def test_a_new_configuration_supersedes_one_that_waits() -> None:
    site = Site(room=None)
    site.put(op=None, args={"version": 1, "document": {"a": 1}})
    group = site.put(op=None, args={"version": 2, "document": {"a": 2}})
    assert moves(group) == [(1, "expired")]
    site.room = 1024
    group = site.group()
    site.orders.resend(group, site.device)
    site.commit(group)
    assert [m.version for m in site.sent if isinstance(m, Config)] == [2]


def test_a_queue_that_is_full_takes_no_more() -> None:
    site = Site(room=None)
    for _ in range(MOST_WAITING):
        site.put()
    with pytest.raises(OrderRefused):
        site.put()


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(OrderRefused):
        Site().orders.put(Site().group(), Request("nobody", "relay"))


@pytest.mark.parametrize(
    ("later_ms", "state"),
    [(29_999, []), (30_000, ["expired"]), (-30_000, []), (-30_001, ["expired"])],
)
def test_a_time_to_live_survives_a_step_of_the_clock(later_ms: int, state: list[str]) -> None:
    """A command must not wait for years because the clock went back."""
    site = Site(room=None)
    site.put(ttl_ms=30_000)
    site.ms += later_ms
    group = site.group()
    site.orders.expire(group, site.device)
    assert [moved for _, moved in moves(group)] == state


def test_a_time_to_live_never_grows() -> None:
    site = Site(room=None)
    site.put(ttl_ms=30_000)
    site.ms -= 20_000
    site.room = 1024
    group = site.group()
    site.orders.dispatch(group, site.device)
    site.commit(group)
    assert [message.ttl_ms for message in site.sent if isinstance(message, Command)] == [30_000]


def test_the_same_command_again_is_a_new_one_after_the_clock_went_back() -> None:
    site = Site()
    first = site.orders.put(site.group(), Request("d", "relay", dedupe="x"))
    first.state = "done"
    site.ms -= DEDUPE_MS + 1
    assert site.orders.put(site.group(), Request("d", "relay", dedupe="x")) is not first
