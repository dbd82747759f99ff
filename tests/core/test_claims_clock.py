import pytest

from gateway.core.claims import STREAM_KEPT_MS, Claims, sample
from gateway.core.clock import Now
from gateway.core.facts import BootSeen
from gateway.core.group import Group, Rules
from gateway.core.messages import Hello
from gateway.core.orders import Orders
from gateway.core.presence import Presence
from gateway.core.readings import NS_PER_MS, NS_PER_S
from gateway.core.registry import Device, Registry, Stream
from gateway.core.session import NEW, RESUMED
from gateway.core.windows import Windows, parse_window

MS = 1_760_000_000_000
EPOCH = b"12345678"


class Door:
    """A device `d` with one stream, last used at MS, of which 5 messages are committed."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.registry.begin_numbers({"stream": 1, "event": 0})
        self.device = self.registry.add_device(Device(1, "d"))
        self.stream = self.registry.add_stream(Stream(1, self.device, EPOCH, 5, MS, boot=EPOCH))
        self.may_expire = True
        orders = Orders(self.registry, store_id=b"", send=lambda *_: None, room=lambda _: None)
        self.claims = Claims(self.registry, Presence(), orders, may_expire=lambda: self.may_expire)

    def group(self, ms: int, *, sure: bool = True) -> Group:
        now = Now(ms * NS_PER_MS, ms * NS_PER_MS, sure)
        return Group(self.registry, Windows([parse_window("10s")], 0, 0), now=now, rules=Rules(0))

    def hello(self, ms: int) -> tuple[int, int]:
        """State and committed number of the WELCOME."""
        hello = Hello(version=[1, 0], device="d", epoch=EPOCH, lo=4, hi=8)
        verdict = self.claims.settle(self.group(ms), hello).verdict
        return verdict.state, verdict.committed


def test_a_stream_is_forgotten_after_a_month():
    assert Door().hello(MS + STREAM_KEPT_MS) == (RESUMED, 5)
    assert Door().hello(MS + STREAM_KEPT_MS + 1) == (NEW, 3)


@pytest.mark.parametrize("ms", [MS + 10 * 366 * 86_400_000, MS - 366 * 86_400_000])
def test_no_stream_is_forgotten_while_nothing_may_expire(ms):
    """Forgetting it would store again what the device sends again."""
    door = Door()
    door.may_expire = False
    assert door.hello(ms) == (RESUMED, 5)


def test_a_boot_is_mapped_only_while_the_time_is_known():
    door = Door()
    door.device.unplaced.add(EPOCH)
    at = Now(MS * NS_PER_MS, 9 * NS_PER_S)
    group = door.group(MS, sure=False)
    assert not sample(group, door.stream, 4000, at=at)
    assert group.facts == []
    assert sample(door.group(MS), door.stream, 4000, at=at)


def test_the_mapping_is_a_fact_once_the_time_is_known():
    door = Door()
    group = door.group(MS)
    assert not sample(group, door.stream, 4000, at=Now(MS * NS_PER_MS, MS * NS_PER_MS))
    (seen,) = group.facts
    assert isinstance(seen, BootSeen)
    assert seen.offset_ns == (MS - 4000) * NS_PER_MS
