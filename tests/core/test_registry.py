from gateway.core.readings import Clock, Kind, SeriesKey
from gateway.core.registry import STREAMS_KEPT, Device, Registry, Series, Stream


def used(*touched: int) -> tuple[Registry, Device]:
    """A device whose stream number n was last used at the n-th of these times (ms)."""
    registry = Registry()
    device = registry.add_device(Device(1, "d"))
    for number, at in enumerate(touched, 1):
        registry.add_stream(Stream(number, device, bytes([number] * 8), 0, at))
    return registry, device


def surplus(*touched: int, now: int) -> list[int]:
    registry, device = used(*touched)
    return [stream.id for stream in registry.surplus_streams(device, now)]


def test_the_least_recently_used_streams_are_surplus():
    assert surplus(*range(STREAMS_KEPT), now=100) == []
    assert surplus(5, 4, *range(10, 10 + STREAMS_KEPT), now=100) == [2, 1]


def test_after_the_clock_went_back_the_new_stream_is_not_surplus():
    assert surplus(*range(1000, 1000 + STREAMS_KEPT), 100, now=100) == [1]


def test_a_newest_reading_from_the_future_gives_way():
    series = Series(1, Device(1, "d"), SeriesKey("d", "m", Kind.NUMBER), "")
    assert series.learn(5000, 1.0, Clock.DEVICE, latest=6000)
    assert not series.learn(4000, 2.0, Clock.DEVICE, latest=6000)
    assert series.learn(4000, 2.0, Clock.DEVICE, latest=4999)
    assert (series.t, series.value) == (4000, 2.0)
