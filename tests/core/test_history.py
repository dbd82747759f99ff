"""Readings for a chart."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.history import MAX_POINTS, History, milliseconds, widen

MS = 1_000_000


def history(since, until, readings, *, step=None):
    made = History(since, until, step)
    for t, v in readings:
        made.add(np.array(t, np.int64) * MS, np.array(v))
    return made


def test_a_few_are_given_by_time():
    made = history(0, 100, [([9, 3], [1.5, 2.5]), ([5], [7])])
    assert (made.step, made.points()) == (None, [[3, 2.5], [5, 7], [9, 1.5]])


def test_text_is_given_as_it_is_and_counted_in_steps():
    text = np.array(["a", "b"], object)
    made = History(0, 100)
    made.add(np.array([1, 2], np.int64) * MS, text)
    assert made.points() == [[1, "a"], [2, "b"]]
    made = History(0, 100, 50)
    made.add(np.array([1, 2], np.int64) * MS, text)
    assert made.points() == [[0, None, None, None, 2]]


def test_whole_milliseconds_are_whole():
    assert repr(milliseconds(5 * MS)) == "5"
    assert milliseconds(5 * MS + 500_000) == 5.5


@pytest.mark.parametrize(("span", "step"), [(1, 1), (4998, 1), (4999, 2), (3_600_000, 1000)])
def test_steps_are_round(span, step):
    assert widen(span) == step


@settings(max_examples=60)
@given(
    st.integers(0, 10**6),
    st.integers(1, 10**7),
    st.none() | st.integers(1, 10**6),
    st.randoms(use_true_random=False),
)
def test_steps_equal_brute_force(since, span, step, random):
    t = [since + random.randrange(span) for _ in range(300)]
    v = [random.choice([-1.5, 0.0, 2.0, 1e300]) for _ in t]
    made = history(since, since + span, [(t[:100], v[:100]), (t[100:], v[100:])], step=step)
    if step is None:
        assert made.points() == [
            [a, b] for a, b in sorted(zip(t, v, strict=True), key=lambda r: r[0])
        ]
        return
    width = made.step
    assert width >= step
    expected = {}
    for at, value in zip(t, v, strict=True):
        expected.setdefault(at // width * width, []).append(value)
    points = made.points()
    assert len(points) <= MAX_POINTS
    assert [p[0] for p in points] == sorted(expected)
    for at, low, mean, high, n in points:
        values = expected[at]
        assert (low, high, n) == (min(values), max(values), len(values))
        assert mean == pytest.approx(sum(values) / n, rel=1e-9, abs=1e-9)


def test_too_many_readings_fall_into_steps():
    made = history(0, 10_000, [(range(MAX_POINTS), [1.0] * MAX_POINTS)])
    assert made.step is None
    made = history(0, 10_000, [(range(MAX_POINTS + 1), [1.0] * (MAX_POINTS + 1))])
    assert made.step == 5
    assert sum(point[4] for point in made.points()) == MAX_POINTS + 1
