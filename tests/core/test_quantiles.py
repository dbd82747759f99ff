import math
import random
from array import array

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.quantiles import MAX_BINS, RELATIVE_ERROR, Digest, _bins, _tally, rank

PERCENTS = (0, 1, 5, 50, 95, 99, 100)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def digest(values, *, exact=16):
    return Digest(array("d", values), exact=exact)


def nearest_rank(values, percent):
    return sorted(values)[max(1, math.ceil(percent * len(values) / 100)) - 1]


@given(st.integers(0, 100), st.integers(1, 10**6))
def test_rank_is_the_least_place_that_covers_the_share(percent, n):
    place = rank(percent, n)
    assert 1 <= place <= n
    assert place * 100 >= percent * n
    assert place == 1 or (place - 1) * 100 < percent * n


@given(st.lists(FINITE, min_size=1, max_size=16))
def test_few_numbers_give_exact_quantiles(values):
    assert digest(values).percentiles(*PERCENTS) == [nearest_rank(values, p) for p in PERCENTS]


@settings(max_examples=200)
@given(st.lists(FINITE, min_size=1, max_size=120))
def test_many_numbers_give_quantiles_within_the_stated_error(values):
    for percent, found in zip(PERCENTS, digest(values).percentiles(*PERCENTS), strict=True):
        wanted = nearest_rank(values, percent)
        assert math.isclose(found, wanted, rel_tol=RELATIVE_ERROR, abs_tol=2.0**-1022)


@given(st.lists(st.lists(FINITE, max_size=40), min_size=1, max_size=8), st.randoms())
def test_order_and_grouping_do_not_matter(parts, rng):
    values = [value for part in parts for value in part] or [0.0]
    wanted = digest(values).percentiles(*PERCENTS)
    rng.shuffle(parts)
    merged = digest([] if any(parts) else values)
    for part in parts:
        merged.merge(digest(part))
    assert merged.percentiles(*PERCENTS) == wanted


def test_merging_leaves_the_other_digest_alone():
    values = [float(i) for i in range(100)]
    one, other = digest(values), digest(values[:5])
    twin = one.copy()
    before = one.percentiles(*PERCENTS), other.percentiles(*PERCENTS)
    twin.merge(other)
    twin.merge(one)
    assert (one.percentiles(*PERCENTS), other.percentiles(*PERCENTS)) == before
    assert twin.percentiles(50) != before[0]


def test_the_extremes_of_float64_are_counted():
    extremes = [1.7976931348623157e308, -1.7976931348623157e308, 5e-324, -5e-324, 0.0, -0.0]
    found = digest(extremes * 10).percentiles(0, 50, 100)
    assert np.isfinite(found).all()
    assert found[1] == 0.0
    assert math.isclose(found[2], extremes[0], rel_tol=RELATIVE_ERROR)


def test_a_million_numbers_around_zero_stay_within_the_bound():
    numbers = np.random.default_rng(1).normal(0, 1, 10**6)
    sketch = digest(numbers[:1000], exact=1024)
    for start in range(1000, 10**6, 99_900):
        sketch.merge(digest(numbers[start : start + 99_900], exact=1024))
    ordered = np.sort(numbers)
    for percent, found in zip((1, 50, 95), sketch.percentiles(1, 50, 95), strict=True):
        assert math.isclose(found, ordered[rank(percent, 10**6) - 1], rel_tol=RELATIVE_ERROR)


def test_numbers_of_every_magnitude_make_the_digest_give_up_rather_than_grow():
    rng = random.Random(1)
    numbers = [rng.choice((-1, 1)) * 10 ** rng.uniform(-300, 300) for _ in range(3 * MAX_BINS)]
    sketch = digest(numbers)
    assert sketch.percentiles(50) is None
    sketch.merge(digest([1.0] * 50))
    assert sketch.percentiles(50) is None
    assert sketch.copy().percentiles(50) is None
    small = digest([1.0])
    small.merge(sketch)
    assert small.percentiles(50) is None


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_bins_are_tallied_alike_however_far_apart(values: list[float]) -> None:
    bins = _bins(np.array(values))
    keys, counts = _tally(bins)
    wanted = np.unique(bins, return_counts=True)
    assert (keys.tolist(), counts.tolist()) == (wanted[0].tolist(), wanted[1].tolist())
