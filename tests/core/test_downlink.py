"""One device's orders, as a model: numbers are given once, in order, at most four under way."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.core.downlink import MOST_ANSWERS, MOST_UNHANDLED, Downlink, Order
from gateway.core.messages import Command, Config


def order(n: int, **more: object) -> Order:
    values = {"op": "x", "args": None, "flags": 0, "expires": None, "created": 0} | more
    return Order(n=n, device="d", **values)  # type: ignore[arg-type]


class Life(RuleBasedStateMachine):
    """Orders are put, numbered, handled and restored after a restart."""

    def __init__(self) -> None:
        super().__init__()
        self.downlink = Downlink()
        self.put: list[Order] = []
        self.numbers: list[int] = []

    @rule(expires=st.none() | st.integers(1, 9))
    def ask(self, expires: int | None) -> None:
        self.put.append(order(len(self.put) + 1, expires=expires))
        self.downlink.put(self.put[-1])

    @rule()
    def send(self) -> None:
        for due in self.downlink.due():
            self.downlink.number(due)
            assert due.seq is not None
            self.numbers.append(due.seq)

    @rule(data=st.data())
    def handle(self, data: st.DataObject) -> None:
        position = data.draw(st.integers(0, self.downlink.numbered))
        for news in self.downlink.handle(position):
            news.state = "handled"

    @rule(now=st.integers(1, 9))
    def expire(self, now: int) -> None:
        for over in self.downlink.expired(now):
            assert over.seq is None
            over.state = "expired"

    @rule()
    def restart(self) -> None:
        self.downlink, handled = Downlink(), self.downlink.handled
        for kept in self.put:
            if kept.state != "expired":
                self.downlink.restore(kept)
        self.downlink.handle(handled)

    @invariant()
    def numbers_rise_by_one(self) -> None:
        assert self.numbers == list(range(1, len(self.numbers) + 1))

    @invariant()
    def few_are_under_way(self) -> None:
        assert len(self.downlink.unhandled()) <= MOST_UNHANDLED

    @invariant()
    def nothing_is_forgotten(self) -> None:
        open_ = sum(one.state in ("queued", "sent") for one in self.put)
        assert self.downlink.waiting() == open_


TestLife = Life.TestCase


def test_a_device_that_knows_more_than_a_restored_store_moves_the_numbers_on() -> None:
    downlink = Downlink()
    downlink.handle(41)
    downlink.put(order(1))
    downlink.number(next(downlink.due()))
    assert downlink.unhandled()[0].seq == 42


def test_a_final_answer_counts_once() -> None:
    downlink = Downlink()
    downlink.put(order(1))
    downlink.number(next(downlink.due()))
    found = downlink.answer(1)
    assert found is not None
    found.state = "done"
    downlink.settle(found)
    assert downlink.answer(1) is None
    assert downlink.answer(2) is None


def test_answers_that_never_come_are_forgotten_in_the_end() -> None:
    downlink = Downlink()
    for n in range(MOST_ANSWERS + 1):
        downlink.put(order(n))
        downlink.number(next(downlink.due()))
        downlink.handle(n + 1)
    assert downlink.answer(1) is None
    assert downlink.answer(2) is not None


def test_messages() -> None:
    command = order(1, expires=100, flags=1)
    command.seq = 5
    assert command.message(40) == Command(seq=5, op="x", args=None, ttl_ms=60, flags=1)
    assert command.message(400) == Command(seq=5, op="x", args=None, ttl_ms=0, flags=1)
    config = order(2, op=None, args={"version": 3, "document": [1]})
    config.seq = 6
    assert config.message(0) == Config(seq=6, version=3, document=[1])
    downlink = Downlink()
    downlink.put(config)
    assert downlink.configures(3)
    assert not downlink.configures(4)
    downlink.withdraw(downlink.superseded()[0])
    assert downlink.waiting() == 0
