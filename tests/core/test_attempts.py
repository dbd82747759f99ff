"""The bound on attempts: what it allows, and what it remembers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.attempts import Attempts, Throttle, origin_of

BURST, INTERVAL = 3, 10


def throttle() -> Throttle:
    return Throttle(Attempts(burst=BURST, interval=INTERVAL), Attempts(burst=5, interval=INTERVAL))


def test_a_burst_and_then_one_at_a_time():
    bound = throttle()
    waits = [bound.take(("a", "u"), now=100) for _ in range(4)]
    assert waits == [0, 0, 0, INTERVAL]
    assert bound.take(("a", "u"), now=109) == 1
    assert bound.take(("a", "u"), now=110) == 0
    assert bound.take(("a", "u"), now=110) == INTERVAL


def test_a_user_is_guarded_against_many_addresses():
    bound = throttle()
    assert [bound.take((n, "u"), now=0) for n in range(6)] == [0, 0, 0, 0, 0, INTERVAL]
    assert bound.take((7, "other"), now=0) == 0


def test_an_attempt_that_is_refused_costs_nothing():
    bound = throttle()
    for _ in range(50):
        bound.take(("a", "u"), now=0)
    assert bound.take(("a", "u"), now=INTERVAL) == 0
    assert bound.take(("b", "u"), now=INTERVAL) == 0


def test_right_passwords_cost_nothing():
    bound = throttle()
    for _ in range(50):
        assert bound.take(("a", "u"), now=0) == 0
        bound.give_back(("a", "u"))


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2)), max_size=60))
def test_no_span_of_time_holds_more_than_the_budget(steps):
    bound, now = Attempts(burst=BURST, interval=INTERVAL), 0
    allowed: dict[int, list[int]] = {}
    for pause, key in steps:
        now += pause
        if not bound.wait(key, now):
            bound.charge(key, now)
            allowed.setdefault(key, []).append(now)
    for times in allowed.values():
        for i, first in enumerate(times):
            for j, last in enumerate(times[i:]):
                assert j + 1 <= BURST + (last - first) / INTERVAL


@given(st.lists(st.integers(0, 30), max_size=100))
def test_the_wait_is_exact(keys):
    bound = Attempts(burst=BURST, interval=INTERVAL)
    for now, key in enumerate(keys):
        wait = bound.wait(key, now)
        assert bound.wait(key, now + wait) == 0
        assert not wait or bound.wait(key, now + wait - 1) == 1
        bound.charge(key, now)


@given(st.lists(st.integers(0, 1000), max_size=300))
def test_memory_is_bounded_and_the_busiest_stay(keys):
    bound = Attempts(burst=BURST, interval=INTERVAL, most=20)
    for _ in range(BURST):
        bound.charge("guesser", 0)
    for key in keys:
        bound.charge(key, 0)
        assert len(bound) <= 20
    if all(keys.count(key) < BURST for key in keys):
        assert bound.wait("guesser", 0) > 0


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("proxy", "proxy"),
        ("", ""),
    ],
)
def test_an_ipv6_client_is_its_network(address, origin):
    assert origin_of(address) == origin
