from gateway.core.acks import MOST, PATIENCE, Acks
from gateway.core.clock import Now
from gateway.core.facts import Fact, MetaSet, OutboxDone, OutboxPut, OutboxReopened
from gateway.core.group import Group, Rules
from gateway.core.registry import Registry
from gateway.core.windows import Windows

START = Now(1_700_000_000_000_000_000, 5_000)
MS = START.ms


def group(after_ns: int = 0, *facts: Fact) -> Group:
    now = Now(START.unix + after_ns, START.mono + after_ns)
    made = Group(Registry(), Windows([], 0, 0), now=now, rules=Rules(0))
    made.add(*facts)
    return made


def ticked(acks: Acks, made: Group) -> list[Fact]:
    acks.tick(made)
    return made.facts


def put(number: int) -> OutboxPut:
    return OutboxPut(number, MS, "t", b"", False, None, 0, False, None, False, "")


def held(*rows: int) -> Acks:
    acks = Acks(lambda _: None)
    for row in rows:
        acks.post(OutboxDone(MS, row))
    return acks


def test_nothing_is_added_to_a_group_that_has_nothing_to_do_with_the_outbox() -> None:
    acks = held(1, 2)
    assert not group(0)
    assert ticked(acks, group(0)) == []
    assert ticked(acks, group(PATIENCE - 1, MetaSet("a", "b"))) == [MetaSet("a", "b")]


def test_they_ride_with_new_rows() -> None:
    acks = held(1, 2)
    assert ticked(acks, group(0, put(3))) == [put(3), OutboxDone(MS, 1), OutboxDone(MS, 2)]
    assert ticked(acks, group(1, put(4))) == [put(4)]


def test_they_wait_ten_seconds_at_most() -> None:
    acks = held(1)
    acks.tick(group(0))
    assert ticked(acks, group(PATIENCE)) == [OutboxDone(MS + 10_000, 1)]
    acks.post(OutboxDone(MS, 2))
    assert ticked(acks, group(PATIENCE + 1)) == []
    assert ticked(acks, group(2 * PATIENCE + 1)) == [OutboxDone(MS + 20_000, 2)]


def test_many_do_not_wait() -> None:
    acks = held(*range(MOST - 1))
    assert ticked(acks, group(0)) == []
    acks.post(OutboxDone(MS, MOST))
    assert len(ticked(acks, group(0))) == MOST


def test_at_the_end_nothing_waits() -> None:
    acks = held(1)
    acks.hurry = True
    assert ticked(acks, group(0)) == [OutboxDone(MS, 1)]


def test_what_waits_is_settled_before_it_is_opened_again() -> None:
    acks, made = held(1), group(0)
    acks.reopen(made, MS - 5)
    assert made.facts == [OutboxDone(MS, 1), OutboxReopened(MS - 5, MS)]


def test_all_other_facts_pass_at_once() -> None:
    passed: list[Fact] = []
    acks = Acks(passed.append)
    acks.post(put(1))
    acks.post(OutboxDone(MS, 1))
    assert passed == [put(1)]
