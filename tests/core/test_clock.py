import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.clock import SLIDING, STEADY, BootClock, Now
from gateway.core.readings import NS_PER_MS, NS_PER_S

UNIX = 1_760_000_000 * NS_PER_S
MONO = 5_000 * NS_PER_S


def at(ns: int, *, step: int = 0, sure: bool = True) -> Now:
    """The gateway's clocks `ns` after the device booted."""
    return Now(UNIX + ns + step, MONO + ns, sure)


def sampled(*delays: int) -> tuple[BootClock, int]:
    """A clock that learnt a sample a second, each `delays` ns old; and the time after them."""
    clock, ns = BootClock(), 0
    for delay in delays:
        clock.sample(at(ns + delay), ns // NS_PER_MS)
        ns += NS_PER_S
    return clock, ns


def test_nothing_is_known_at_first():
    clock = BootClock()
    assert (clock.known, clock.offset(at(0)), clock.error()) == (False, None, None)


@given(st.lists(st.integers(0, 10 * NS_PER_S), min_size=1, max_size=50))
def test_the_quickest_sample_counts_and_the_error_bounds_the_newest(delays):
    clock, ns = sampled(*delays)
    offset, error = clock.offset(at(ns)), clock.error()
    assert offset is not None
    assert error is not None
    assert abs(offset - UNIX - min(delays)) <= STEADY
    assert abs(offset - UNIX - delays[-1]) <= error
    assert offset % NS_PER_MS == 0


@given(st.lists(st.integers(-NS_PER_MS // 3, NS_PER_MS // 3), max_size=50))
def test_the_mapping_is_steady_although_the_clocks_are_read_one_after_the_other(jitters):
    clock, ns = sampled(123_456)
    first = clock.offset(at(ns))
    for jitter in jitters:
        assert clock.offset(at(ns, step=jitter)) == first


@given(st.lists(st.integers(-3 * NS_PER_MS, 3 * NS_PER_MS), max_size=50))
def test_the_mapping_is_never_further_off_than_a_millisecond(steps):
    clock, ns = sampled(0)
    for step in steps:
        offset = clock.offset(at(ns, step=step))
        assert offset is not None
        assert abs(offset - UNIX - step) <= STEADY
        assert offset % NS_PER_MS == 0


def test_a_mapping_of_an_older_version_becomes_whole():
    clock = BootClock(UNIX + 700_001, 5)
    assert clock.offset(at(0)) == UNIX + 700_001
    clock.sample(at(700_100), 0)
    assert clock.offset(at(0)) == UNIX + NS_PER_MS


@pytest.mark.parametrize("step", [10 * 366 * 86_400 * NS_PER_S, -365 * 86_400 * NS_PER_S])
def test_a_step_of_the_unix_clock_spoils_no_sample(step):
    clock, ns = sampled(40 * NS_PER_MS, 3 * NS_PER_MS, 90 * NS_PER_MS)
    assert clock.offset(at(ns, step=step)) == UNIX + step + 3 * NS_PER_MS
    assert clock.offset(at(ns)) == UNIX + 3 * NS_PER_MS


def test_nothing_is_learnt_while_the_gateway_does_not_know_the_time():
    clock, ns = sampled(0)
    assert clock.offset(at(ns, sure=False)) is None
    assert clock.offset(at(ns)) == UNIX
    assert clock.offset(at(ns, step=NS_PER_S, sure=False)) == UNIX


@given(st.integers(-200, 200), st.integers(0, 20 * NS_PER_MS))
def test_drift_is_followed_within_the_sliding_hour(ppm, delay):
    """A crystal of 200 ppm is off by 0.72 s in an hour."""
    clock = BootClock()
    for minute in range(0, 300, 5):
        ns = minute * 60 * NS_PER_S
        device = ns + ns * ppm // 1_000_000
        clock.sample(at(ns + delay), device // NS_PER_MS)
    offset = clock.offset(at(ns))
    assert offset is not None
    worst = SLIDING * abs(ppm) // 1_000_000 + delay + 2 * NS_PER_MS
    assert abs(device + offset - UNIX - ns) <= worst
