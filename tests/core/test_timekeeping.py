from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.clock import Now
from gateway.core.readings import NS_PER_S
from gateway.core.timekeeping import DAY, EARLIEST, HOUR, STEADY, Timekeeper

START = EARLIEST + 700 * DAY
YEAR = 365 * DAY
MINUTE = 60 * NS_PER_S
REBOOTED = 1000 * DAY
"""The monotonic clock of a machine is as good as any number."""


class Machine:
    """A machine whose system clock is wrong by `wrong`; real time goes on by `tick`."""

    def __init__(self, reference: int | None = START, *, wrong: int = 0, off: int = 0) -> None:
        self.true = START + off
        self.mono = REBOOTED
        self.wrong = wrong
        self.keeper = Timekeeper(reference)
        self.seen: list[Now] = []

    def tick(self, ns: int = 0, *, step: int = NS_PER_S) -> Now:
        """Look at the clock every `step`, for `ns`; the last look."""
        end = self.mono + ns
        now = self.look()
        while self.mono < end:
            passed = min(step, end - self.mono)
            self.mono += passed
            self.true += passed
            now = self.look()
        return now

    def look(self) -> Now:
        self.seen.append(self.keeper.now(Now(self.true + self.wrong, self.mono)))
        return self.seen[-1]


def settled(**given: int) -> Machine:
    """One that has run for two hours."""
    machine = Machine(**given)
    assert machine.tick(2 * HOUR, step=MINUTE).sure
    return machine


def test_a_new_store_believes_a_clock_that_is_set():
    machine = Machine(None)
    assert machine.tick() == Now(START, REBOOTED, sure=True)
    assert machine.keeper.may_expire


def test_boot_in_1970_on_a_new_store_until_the_time_is_known():
    machine = Machine(None, wrong=-START)
    assert machine.tick(90 * NS_PER_S) == Now(90 * NS_PER_S, machine.mono, sure=False)
    assert not machine.keeper.may_expire
    machine.wrong = 0
    assert machine.tick() == Now(machine.true, machine.mono, sure=True)


def test_boot_in_1970_goes_on_from_the_last_trusted_time():
    machine = Machine(wrong=-START, off=3 * HOUR)
    assert machine.tick(30 * MINUTE, step=MINUTE) == Now(START + 30 * MINUTE, machine.mono, False)
    machine.wrong = 0
    assert machine.tick() == Now(machine.true, machine.mono, sure=True)
    assert machine.keeper.may_expire


def test_boot_in_1970_is_never_adopted():
    machine = Machine(wrong=-START)
    assert not machine.tick(30 * DAY, step=HOUR).sure
    machine.wrong = 0
    assert machine.tick().sure


@pytest.mark.parametrize(
    ("off", "sure"), [(-HOUR, True), (-HOUR - 1, False), (366 * DAY, True), (366 * DAY + 1, False)]
)
def test_a_start_believes_what_a_gateway_may_have_slept(off, sure):
    assert Machine(off=off).tick().sure is sure


@pytest.mark.parametrize("off", [0, 40 * DAY])
def test_a_saved_time_at_boot_is_put_right_by_the_first_synchronisation(off):
    machine = Machine(off=off, wrong=-off)
    assert machine.tick(5 * MINUTE).sure
    machine.wrong = 0
    assert machine.tick() == Now(machine.true, machine.mono, sure=True)


@pytest.mark.parametrize(
    ("step", "sure"), [(HOUR, True), (-HOUR, True), (HOUR + 1, False), (-HOUR - 1, False)]
)
def test_a_step_while_running(step, sure):
    machine = settled()
    machine.wrong = step
    now = machine.tick()
    assert now.sure is sure
    assert now.unix == (machine.true + step if sure else machine.true)


def test_ten_years_ahead_and_back():
    machine = settled()
    machine.wrong = 10 * YEAR
    before = machine.look()
    for _ in range(59):
        now = machine.tick(MINUTE, step=MINUTE)
        assert now == Now(before.unix + now.mono - before.mono, now.mono, sure=False)
        assert not machine.keeper.may_expire
        before = now
    machine.wrong = 0
    assert machine.tick() == Now(machine.true, machine.mono, sure=True)
    assert machine.keeper.may_expire


@pytest.mark.parametrize("years", [10, -1])
def test_a_clock_that_insists_is_adopted_but_nothing_expires_for_a_day(years):
    machine = settled()
    machine.wrong = years * YEAR
    machine.look()
    assert not machine.tick(HOUR - NS_PER_S).sure
    assert machine.tick(NS_PER_S) == Now(machine.true + machine.wrong, machine.mono, sure=True)
    assert not machine.keeper.may_expire
    machine.tick(DAY - 1, step=MINUTE)
    assert not machine.keeper.may_expire
    machine.tick(1)
    assert machine.keeper.may_expire


def test_a_clock_that_does_not_agree_with_itself_is_not_adopted():
    machine = settled()
    for i in range(500):
        machine.wrong = 10 * YEAR + i * (STEADY + 1)
        assert not machine.tick(MINUTE, step=MINUTE).sure


def test_a_leap_at_the_start_must_prove_true_before_anything_expires():
    machine = Machine(off=90 * DAY)
    assert machine.tick(HOUR - 1, step=MINUTE).sure
    assert not machine.keeper.may_expire
    machine.tick(1)
    assert machine.keeper.may_expire


def test_a_shorter_wait_does_not_end_a_longer_one():
    machine = Machine(off=500 * DAY)
    assert machine.tick(HOUR, step=MINUTE).sure
    machine.wrong = 2 * DAY
    assert not machine.tick(HOUR - MINUTE, step=MINUTE).sure
    machine.tick(2 * MINUTE)
    machine.tick(23 * HOUR, step=MINUTE)
    assert machine.tick().sure
    assert not machine.keeper.may_expire


def test_nothing_may_expire_before_the_clock_was_looked_at():
    assert not Timekeeper(START).may_expire


@pytest.mark.parametrize("ppm", [-500, 500])
def test_drift_is_followed_for_ever(ppm):
    machine = Machine()
    for _ in range(400):
        assert machine.tick(DAY, step=DAY).sure
        machine.wrong += DAY * ppm // 1_000_000


steps = st.tuples(
    st.integers(0, 5 * HOUR),
    st.one_of(st.just(0), st.integers(-40 * YEAR, 20 * YEAR), st.integers(-2 * HOUR, 2 * HOUR)),
)


@given(st.lists(steps, max_size=12), st.sampled_from([None, START]), st.integers(0, 400 * DAY))
def test_whatever_the_clock_does_time_moves_on_evenly_or_to_what_the_clock_says(
    moves, reference, off
):
    machine = Machine(reference, off=off)
    machine.look()
    for passed, wrong in moves:
        machine.wrong = wrong
        now = machine.tick(passed, step=20 * MINUTE)
        assert now.sure or not machine.keeper.may_expire
        if now.sure:
            assert now.unix == machine.true + wrong >= EARLIEST
    known = reference is not None
    for before, now in pairwise(machine.seen):
        known = known or before.sure
        if known and not now.sure:
            assert now.unix - before.unix == now.mono - before.mono
