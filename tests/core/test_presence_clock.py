import pytest

from gateway.core.clock import Now
from gateway.core.facts import DevicePresence
from gateway.core.group import Group, Rules
from gateway.core.presence import ASLEEP, GRACE, Presence
from gateway.core.readings import NS_PER_MS
from gateway.core.registry import Device, Registry
from gateway.core.windows import Windows, parse_window

SINCE = 1_760_000_000_000


@pytest.mark.parametrize(
    ("now_ms", "left_ms"),
    [(SINCE, 60_000), (SINCE + 20_000, 40_000), (SINCE + 90_000, 0), (SINCE - 10**11, 60_000)],
)
def test_a_sleeper_is_lost_in_the_end_whatever_the_clock_says(now_ms: int, left_ms: int) -> None:
    registry = Registry()
    registry.begin_numbers({"event": 0})
    device = registry.add_device(Device(1, "d", state=ASLEEP, since=SINCE, until=SINCE + 60_000))
    presence = Presence()
    presence.restore([device], Now(now_ms * NS_PER_MS, 0))

    def changes(mono: int) -> int:
        now = Now(now_ms * NS_PER_MS + mono, mono)
        windows = Windows([parse_window("10s")], 0, 0)
        group = Group(registry, windows, now=now, rules=Rules(0))
        presence.tick(group)
        return sum(isinstance(fact, DevicePresence) for fact in group.facts)

    over = left_ms * NS_PER_MS + GRACE
    assert (changes(over - 1), changes(over)) == (0, 1)
