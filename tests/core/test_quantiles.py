import math
import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.quantiles import (
    MAX_BINS,
    RELATIVE_ERROR,
    ROOM,
    Digests,
    Runs,
    _bins,
    rank,
    tallied,
)

PERCENTS = (0, 1, 5, 50, 95, 99, 100)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def runs(*some):
    """Values of the cells 0, 1 …"""
    values = np.concatenate([np.array(one, np.float64) for one in some])
    return Runs(np.arange(len(some)), np.array([len(one) for one in some]), values)


def digests(*some, exact=16):
    found = Digests(len(some), exact=exact)
    found.add(runs(*some))
    return found


def percentiles(some, *percents, cell=0):
    """None for a cell that knows nothing."""
    some.arrange()
    found = some.percentiles(np.array([cell]), *percents)[:, 0].tolist()
    return None if any(map(math.isnan, found)) else found


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
    assert percentiles(digests(values), *PERCENTS) == [nearest_rank(values, p) for p in PERCENTS]


def assert_close(found, values):
    for percent, one in zip(PERCENTS, found, strict=True):
        wanted = nearest_rank(values, percent)
        assert math.isclose(one, wanted, rel_tol=RELATIVE_ERROR, abs_tol=2.0**-1022)


@settings(max_examples=200)
@given(st.lists(FINITE, min_size=1, max_size=120))
def test_many_numbers_give_quantiles_within_the_stated_error(values):
    assert_close(percentiles(digests(values), *PERCENTS), values)


@given(st.lists(st.lists(FINITE, max_size=40), min_size=1, max_size=8), st.randoms())
def test_order_and_grouping_do_not_matter(parts, rng):
    values = [value for part in parts for value in part] or [0.0]
    wanted = percentiles(digests(values), *PERCENTS)
    rng.shuffle(parts)
    merged = Digests(1, exact=16)
    for part in parts if any(parts) else [values]:
        if part:
            merged.merge(digests(part), np.array([0]))
    assert percentiles(merged, *PERCENTS) == wanted


SPREAD = st.one_of(FINITE, st.floats(20, 22), st.sampled_from([0.0, -0.0, 21.5]))


@settings(deadline=None)
@given(
    st.lists(
        st.dictionaries(st.integers(0, 3), st.lists(SPREAD, min_size=1, max_size=30), min_size=1),
        min_size=1,
        max_size=5,
    )
)
def test_many_cells_are_each_like_one_alone(parts):
    together = Digests(4, exact=16)
    for part in parts:
        together.merge(digests(*part.values()), np.array(list(part)))
    together.arrange()
    filled = np.flatnonzero(together.n)
    found = dict(zip(filled.tolist(), together.percentiles(filled, *PERCENTS).T, strict=True))
    half = together.part(np.array([3, 1]))
    for cell in range(4):
        values = [value for part in parts for value in part.get(cell, ())]
        assert together.n[cell] == len(values)
        if values:
            wanted = percentiles(digests(values), *PERCENTS)
            assert found[cell].tolist() == wanted
            if cell % 2:
                assert percentiles(half, *PERCENTS, cell=(3 - cell) // 2) == wanted


def test_merging_leaves_the_other_digests_alone():
    values = [float(i) for i in range(100)]
    one, other = digests(values), digests(values[:5])
    before = percentiles(one, *PERCENTS), percentiles(other, *PERCENTS)
    twin = one.part(np.array([0]))
    twin.merge(other, np.array([0]))
    twin.merge(one, np.array([0]))
    assert (percentiles(one, *PERCENTS), percentiles(other, *PERCENTS)) == before
    assert percentiles(twin, 5) != percentiles(one, 5)


def test_what_waits_is_put_in_order_now_and_then():
    rng = np.random.default_rng(4)
    numbers = rng.normal(20, 5, (3, 2 * ROOM))
    many = Digests(3, exact=2 * ROOM)
    few = Digests(3, exact=16)
    for part in np.split(numbers, 256, axis=1):
        many.add(runs(*part))
        few.add(runs(*part))
    for cell in range(3):
        ordered = np.sort(numbers[cell]).tolist()
        assert percentiles(many, *PERCENTS, cell=cell) == [
            ordered[rank(percent, len(ordered)) - 1] for percent in PERCENTS
        ]
        assert_close(percentiles(few, *PERCENTS, cell=cell), ordered)
    assert len(few._bins[0].keys) < 3 * MAX_BINS


def test_the_extremes_of_float64_are_counted():
    extremes = [1.7976931348623157e308, -1.7976931348623157e308, 5e-324, -5e-324, 0.0, -0.0]
    found = percentiles(digests(extremes * 10), 0, 50, 100)
    assert np.isfinite(found).all()
    assert found[1] == 0.0
    assert math.isclose(found[2], extremes[0], rel_tol=RELATIVE_ERROR)


def test_a_million_numbers_around_zero_stay_within_the_bound():
    numbers = np.random.default_rng(1).normal(0, 1, 10**6)
    sketch = digests(numbers[:1000])
    for start in range(1000, 10**6, 99_900):
        sketch.merge(digests(numbers[start : start + 99_900]), np.array([0]))
    ordered = np.sort(numbers)
    for percent, found in zip((1, 50, 95), percentiles(sketch, 1, 50, 95), strict=True):
        assert math.isclose(found, ordered[rank(percent, 10**6) - 1], rel_tol=RELATIVE_ERROR)


def test_numbers_of_every_magnitude_make_the_digest_give_up_rather_than_grow():
    rng = random.Random(1)
    numbers = [rng.choice((-1, 1)) * 10 ** rng.uniform(-300, 300) for _ in range(3 * MAX_BINS)]
    sketch, here = digests(numbers, [1.0] * 50), np.array([0])
    assert percentiles(sketch, 50) is None
    assert percentiles(sketch, 50, cell=1) == [1.00390625]
    sketch.merge(digests([1.0] * 50), here)
    assert percentiles(sketch, 50) is None
    assert percentiles(sketch.part(here), 50) is None
    small = digests([1.0])
    small.merge(sketch.part(here), here)
    assert percentiles(small, 50) is None
    assert not len(small._bins[0].keys)


@given(st.lists(st.lists(SPREAD, min_size=1, max_size=50), min_size=1, max_size=4))
def test_bins_are_tallied_alike_however_far_apart(some):
    tally = tallied(runs(*some))
    found = dict(zip(tally.keys.tolist(), tally.counts.tolist(), strict=True))
    wanted: dict[int, int] = {}
    for cell, values in enumerate(some):
        for number in _bins(np.array(values)).tolist():
            key = (cell << 19) + number + 2**18
            wanted[key] = wanted.get(key, 0) + 1
    assert found == wanted
    assert tally.keys.tolist() == sorted(wanted)
