"""The newest reading of a series, whatever others it is read with."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.readings import INT64_MAX, Clock, Kind, SeriesKey
from gateway.core.registry import Device
from gateway.core.series import Panel, Series

COUNT = 4


def some_series(count: int = COUNT) -> list[Series]:
    device = Device(1, "d")
    return [
        Series(n, device, SeriesKey("d", f"m{n}", Kind.NUMBER), "") for n in range(1, count + 1)
    ]


def test_a_newest_reading_from_the_future_gives_way():
    (series,) = some_series(1)
    panel = Panel((series,))
    panel.learn(5000, [1.0], Clock.DEVICE, latest=6000)
    panel.learn(4000, [2.0], Clock.DEVICE, latest=6000)
    assert (series.t, series.value) == (5000, 1.0)
    panel.learn(4000, [2.0], Clock.DEVICE, latest=4999)
    assert (series.t, series.value) == (4000, 2.0)


def test_a_series_that_is_read_by_itself_leaves_the_others_as_they_were():
    one, other = some_series(2)
    both = Panel((one, other))
    both.learn(1000, [1.0, 2.0], Clock.DEVICE)
    Panel((one,)).learn(2000, [3.0], Clock.MAPPED)
    assert (one.t, one.value, one.clock) == (2000, 3.0, Clock.MAPPED)
    assert (other.t, other.value, other.clock) == (1000, 2.0, Clock.DEVICE)
    both.learn(1500, [4.0, 5.0], Clock.DEVICE)
    assert (one.t, one.value) == (2000, 3.0)
    assert (other.t, other.value) == (1500, 5.0)


def test_what_was_sent_and_stored_is_neither_fresh_nor_unsettled_until_the_next_reading():
    one, other = some_series(2)
    assert [flags(series) for series in (one, other)] == ["", ""]
    panel = Panel((one, other))
    panel.learn(1000, [1.0, 2.0], Clock.DEVICE)
    assert [flags(series) for series in (one, other)] == ["fu", "fu"]
    panel.fresh = panel.unsettled = False
    Panel((one,)).learn(2000, [3.0], Clock.DEVICE)
    assert [flags(series) for series in (one, other)] == ["fu", ""]


def flags(series: Series) -> str:
    return "f" * series.fresh + "u" * series.unsettled


TIMES = st.none() | st.integers(0, 9)
STEPS = st.tuples(
    st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=COUNT, unique=True).map(tuple),
    TIMES,
    st.sampled_from([Clock.DEVICE, Clock.MAPPED]),
    st.sampled_from([3, 6, INT64_MAX]),
    st.booleans(),
)


@given(st.lists(STEPS, max_size=12))
def test_panels_that_overlap_know_of_each_series_what_it_would_know_alone(steps):
    """kept: whether the panel is one that was used before, if there is one of these series."""
    series, known = some_series(), dict[int, tuple[int | None, int, Clock]]()
    panels = dict[tuple[int, ...], Panel]()
    for number, (places, t, clock, latest, kept) in enumerate(steps):
        if not kept or places not in panels:
            panels[places] = Panel([series[place] for place in places])
        values = [10 * number + place for place in places]
        panels[places].learn(t, values, clock, latest=latest)
        for place, value in zip(places, values, strict=True):
            before = known[place][0] if place in known else None
            if before is None or before > latest or (t is not None and t >= before):
                known[place] = t, value, clock
        for place, one in enumerate(series):
            assert (one.panel is None) == (place not in known)
            assert (one.t, one.value, one.clock) == known.get(place, (None, None, Clock.UNKNOWN))
