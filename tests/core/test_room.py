import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.room import (
    BALLAST_MOST,
    FULL_AT,
    MARGIN,
    SHORT_AT,
    Growth,
    Room,
    Usage,
    ballast_size,
    judge,
    send_limit,
)

PLENTY, SHORT, FULL = Room
GIB = 2**30
ratios = st.floats(0, 1)
rooms = st.sampled_from(Room)


@pytest.mark.parametrize(
    ("before", "ratio", "after"),
    [
        (PLENTY, 0.0, PLENTY),
        (PLENTY, 0.8499, PLENTY),
        (PLENTY, 0.85, SHORT),
        (PLENTY, 0.95, FULL),
        (SHORT, 0.84, SHORT),
        (SHORT, 0.8299, PLENTY),
        (SHORT, 0.9499, SHORT),
        (SHORT, 0.95, FULL),
        (FULL, 0.94, FULL),
        (FULL, 0.9299, SHORT),
        (FULL, 0.84, SHORT),
        (FULL, 0.8299, PLENTY),
        (FULL, 1.0, FULL),
    ],
)
def test_states_begin_at_their_mark_and_end_below_it(
    before: Room, ratio: float, after: Room
) -> None:
    assert judge(before, ratio, refused=False) is after


@given(before=rooms, ratio=ratios)
def test_a_commit_without_space_means_full_whatever_the_disk_says(
    before: Room, ratio: float
) -> None:
    assert judge(before, ratio, refused=True) is FULL


@given(before=rooms, ratio=ratios)
def test_a_state_that_was_reached_lasts_at_the_same_ratio(before: Room, ratio: float) -> None:
    after = judge(before, ratio, refused=False)
    assert judge(after, ratio, refused=False) is after
    assert after >= judge(PLENTY, ratio, refused=False)


@given(before=rooms, ratio=ratios, wobble=st.floats(0, MARGIN * 0.99))
def test_a_small_wobble_changes_the_state_once_at_most(
    before: Room, ratio: float, wobble: float
) -> None:
    high = judge(judge(before, ratio, refused=False), min(1.0, ratio + wobble), refused=False)
    for step in (0, wobble, 0, wobble):
        assert judge(high, min(1.0, ratio + step), refused=False) is high


@pytest.mark.parametrize(
    ("usage", "more", "ratio"),
    [
        (Usage(0, 100), 0, 0.0),
        (Usage(85, 15), 0, 0.85),
        (Usage(80, 20), 15, 0.95),
        (Usage(99, 1), 5, 1.0),
        (Usage(0, 0), 0, 1.0),
    ],
)
def test_the_used_share(usage: Usage, more: int, ratio: float) -> None:
    assert usage.ratio(more) == pytest.approx(ratio)


@pytest.mark.parametrize(
    ("usage", "size"),
    [
        (Usage(0, 100 * GIB), BALLAST_MOST),
        (Usage(0, 24 * 2**20), int(24 * 2**20 * 0.05)),
        (Usage(79 * 2**20, 21 * 2**20), 5 * 2**20),
        (Usage(81 * 2**20, 19 * 2**20), 0),
        (Usage(90 * GIB, 10 * GIB), 0),
        (Usage(0, 0), 0),
    ],
)
def test_the_ballast_is_small_and_never_makes_the_disk_short(usage: Usage, size: int) -> None:
    assert ballast_size(usage) == size


@given(used=st.integers(0, 10**13), available=st.integers(0, 10**13))
def test_the_ballast_leaves_the_disk_below_the_mark(used: int, available: int) -> None:
    usage = Usage(used, available)
    size = ballast_size(usage)
    assert size <= BALLAST_MOST
    assert size == 0 or usage.ratio(size) < SHORT_AT < FULL_AT


@given(committed=st.integers(0, 2**53), granted=st.integers(0, 2**53), window=st.integers(1, 1024))
def test_the_limit_rises_with_the_commits_but_for_a_full_disk(
    committed: int, granted: int, window: int
) -> None:
    def limit(room: Room) -> int:
        return send_limit(room, committed=committed, granted=granted, window=window)

    assert limit(PLENTY) == limit(SHORT) == committed + window
    assert limit(FULL) == max(granted, committed)


def test_growth_needs_a_minute() -> None:
    growth = Growth()
    assert growth.per_second() == 0
    for second in range(60):
        growth.add(second, 1000 * second)
        assert growth.per_second() == 0
        assert growth.seconds_left(5000) is None
    growth.add(60, 60_000)
    assert growth.per_second() == 1000
    assert growth.seconds_left(5000) == 5


def test_growth_is_that_of_the_last_hour() -> None:
    growth = Growth()
    for second in range(7200):
        growth.add(second, 500 * second)
    for second in range(7200, 14_400):
        growth.add(second, 500 * 7200 + 20 * (second - 7200))
    assert growth.per_second() == pytest.approx(20)


@pytest.mark.parametrize("rate", [0, -7])
def test_what_does_not_grow_never_fills_the_disk(rate: int) -> None:
    growth = Growth()
    for second in range(200):
        growth.add(second, 10_000 + rate * second)
    assert growth.per_second() == rate
    assert growth.seconds_left(10**6) is None
