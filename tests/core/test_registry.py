from gateway.core.registry import STREAMS_KEPT, Device, Registry, Stream


def surplus(*touched: int) -> list[int]:
    """The surplus streams of a device whose n-th was used at the n-th time; the last is new."""
    registry = Registry()
    device = registry.add_device(Device(1, "d"))
    for number, at in enumerate(touched, 1):
        newest = registry.add_stream(Stream(number, device, bytes([number] * 8), 0, at))
    return [stream.id for stream in registry.surplus_streams(newest)]


def test_the_least_recently_used_streams_are_surplus():
    assert surplus(*range(STREAMS_KEPT)) == []
    assert surplus(5, 4, *range(10, 10 + STREAMS_KEPT)) == [2, 1]


def test_after_the_clock_went_back_the_new_stream_is_not_surplus():
    assert surplus(*range(1000, 1000 + STREAMS_KEPT), 100) == [1]
