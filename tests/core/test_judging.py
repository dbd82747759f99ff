"""Values against limits: array by array it is what it is one by one."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.alert_rules import Limits
from gateway.core.judging import GRAIN, Slope, State, Turn, judge

ABOVE = Limits(above=30.0, hysteresis=2.0)
HELD = Limits(above=30.0, hysteresis=2.0, hold=10)


def arrays(*readings):
    t, v = zip(*readings, strict=True)
    return np.array(t, np.int64), np.array(v, np.float64)


def judged(limits, *readings, state=None):
    state = state or State()
    return [tuple(turn) for turn in judge(limits, state, *arrays(*readings))], state


def one_by_one(limits: Limits, state: State, readings) -> list[Turn]:
    """The rule in plain words, without any array; every turn is told."""
    told = []
    for t, v in readings:
        high = limits.above is not None and v > limits.above
        low = limits.below is not None and v < limits.below
        fine = (limits.above is None or v <= limits.above - limits.hysteresis) and (
            limits.below is None or v >= limits.below + limits.hysteresis
        )
        if state.opened:
            if fine:
                state.opened = False
                told.append(Turn(False, t, v))
            continue
        if not high and not low:
            state.since = None
            continue
        began = t if state.since is None else state.since
        if t - began >= limits.hold:
            state.opened, state.since = True, None
            told.append(Turn(True, t, v))
        else:
            state.since = began
    return told


def test_beyond_the_limit_opens_and_within_the_hysteresis_closes():
    told, state = judged(ABOVE, (1, 30.0), (2, 30.1), (3, 29.0), (4, 28.0), (5, 31.0))
    assert told == [(True, 2, 30.1)]
    assert state.opened
    told, state = judged(ABOVE, (6, 29.9), (7, 28.1), state=state)
    assert told == []
    told, state = judged(ABOVE, (8, 28.0), state=state)
    assert told == [(False, 8, 28.0)]


def test_a_short_excursion_within_one_array_is_told():
    told, state = judged(ABOVE, (1, 20.0), (2, 35.0), (3, 20.0))
    assert told == [(True, 2, 35.0), (False, 3, 20.0)]
    assert not state.opened


def test_a_dip_within_one_array_is_not_told():
    told, state = judged(ABOVE, (1, 20.0), (2, 40.0), state=State(opened=True))
    assert told == []
    assert state.opened


def test_a_hold_counts_from_the_first_value_beyond_over_arrays():
    told, state = judged(HELD, (100, 31.0), (105, 32.0))
    assert (told, state.since) == ([], 100)
    told, state = judged(HELD, (109, 31.0), state=state)
    assert (told, state.since) == ([], 100)
    assert judged(HELD, (110, 31.0), state=state)[0] == [(True, 110, 31.0)]


def test_a_value_at_the_limit_breaks_a_hold():
    told, state = judged(HELD, (100, 31.0), (105, 30.0), (111, 31.0))
    assert (told, state.since) == ([], 111)
    assert judged(HELD, (112, 29.0), state=state)[1].since is None


@pytest.mark.parametrize(("value", "opens"), [(2.0, False), (1.9, True), (30.1, True)])
def test_both_ends_of_a_range(value, opens):
    told, _ = judged(Limits(above=30.0, below=2.0), (1, value))
    assert bool(told) is opens


LIMITS = st.builds(
    Limits,
    above=st.sampled_from([None, 3.0, 4.0]),
    below=st.sampled_from([None, -3.0, -2.0]),
    hysteresis=st.sampled_from([0.0, 1.0, 2.0]),
    hold=st.sampled_from([0, 1, 3, 7]),
)
READINGS = st.lists(st.tuples(st.integers(0, 3), st.integers(-6, 6)), min_size=1, max_size=40)


@given(LIMITS, READINGS, st.lists(st.integers(1, 39), max_size=6))
def test_however_readings_are_cut_the_state_is_the_same(limits, steps, cuts):
    t = np.cumsum([step for step, _ in steps]).tolist()
    readings = list(zip(t, (float(v) for _, v in steps), strict=True))
    state, model = State(), State()
    edges = [0, *sorted({cut for cut in cuts if cut < len(readings)}), len(readings)]
    for start, stop in pairwise(edges):
        piece = readings[start:stop]
        before = model.opened
        every = one_by_one(limits, model, piece)
        told = judge(limits, state, *arrays(*piece))
        assert state == model
        opening = [] if before else every[:1]
        closing = every[-1:] if every and not model.opened else []
        assert told == opening + closing


def test_a_rate_is_the_mean_slope_over_the_span():
    slope = Slope(per=GRAIN * 10)
    t, v = arrays(*((i * 10, 2.0 * i) for i in range(100)))
    times, rates = slope.rates(t, v)
    assert times[0] == GRAIN * 10
    assert rates == pytest.approx(np.full(len(rates), 2.0 * GRAIN))


def test_a_rate_over_a_gap_is_that_of_the_gap():
    slope = Slope(per=GRAIN)
    assert len(slope.rates(*arrays((0, 0.0)))[0]) == 0
    _, rates = slope.rates(*arrays((10 * GRAIN, 5.0)))
    assert rates.tolist() == [0.5]


SPAN = st.lists(st.tuples(st.integers(1, 40), st.floats(-100, 100)), min_size=2, max_size=60)


@given(SPAN, st.integers(1, 59))
def test_however_readings_are_cut_rates_are_the_same(steps, cut):
    t = np.cumsum([step for step, _ in steps])
    v = np.array([value for _, value in steps])
    whole, pieces, resumed = (Slope(per=3 * GRAIN) for _ in range(3))
    expected = whole.rates(t, v)
    parts = [pieces.rates(t[:cut], v[:cut]), pieces.rates(t[cut:], v[cut:])]
    assert np.concatenate([part[0] for part in parts]).tolist() == expected[0].tolist()
    assert np.concatenate([part[1] for part in parts]).tolist() == expected[1].tolist()
    resumed.recall(t[:cut][::-1], v[:cut][::-1])
    assert resumed.rates(t[cut:], v[cut:])[1].tolist() == parts[1][1].tolist()
    assert len(whole._t) <= GRAIN + 2
