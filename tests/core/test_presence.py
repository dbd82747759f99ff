import pytest

from gateway.core.clock import Now
from gateway.core.facts import DevicePresence
from gateway.core.group import Group, Rules
from gateway.core.messages import Bye
from gateway.core.presence import ASLEEP, GRACE, LONGEST_SLEEP_MS, Presence, status
from gateway.core.registry import Device, Registry
from gateway.core.windows import Windows, parse_window

START = 1_732_380_000 * 10**9


class Site:
    """One device `d`; time moves in seconds, the Unix clock also by steps."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.registry.begin_numbers({"event": 0, "outbox": 0})
        self.device = self.registry.add_device(Device(1, "d"))
        self.windows = Windows([parse_window("10s")], 0, 0)
        self.presence = Presence()
        self.now = Now(START, 0)

    def wait(self, ns: int, *, step: int = 0) -> None:
        self.now = Now(self.now.unix + ns + step, self.now.mono + ns)

    def group(self) -> Group:
        return Group(self.registry, self.windows, now=self.now, rules=Rules(0))

    def arrive(self) -> None:
        self.presence.arrived(self.group(), self.device)

    def tick(self) -> list[str]:
        group = self.group()
        self.presence.tick(group)
        return [fact.state for fact in group.facts if isinstance(fact, DevicePresence)]


def test_a_socket_that_goes_is_forgiven_for_the_grace() -> None:
    site = Site()
    site.arrive()
    site.presence.gone(site.device, site.now)
    site.wait(GRACE - 1)
    assert site.tick() == []
    site.wait(1)
    assert site.tick() == ["lost"]
    assert site.tick() == []


def test_a_device_that_returns_in_time_was_never_lost() -> None:
    site = Site()
    site.arrive()
    site.presence.gone(site.device, site.now)
    site.wait(GRACE - 1)
    site.arrive()
    site.wait(GRACE)
    assert site.tick() == []


@pytest.mark.parametrize("step", [-(10**18), 10**18])
def test_a_step_of_the_unix_clock_loses_nobody(step: int) -> None:
    site = Site()
    site.arrive()
    site.presence.gone(site.device, site.now)
    site.wait(GRACE - 1, step=step)
    assert site.tick() == []
    site.wait(1)
    assert site.tick() == ["lost"]


@pytest.mark.parametrize(
    ("bye", "state", "until"),
    [
        (Bye(reason=0), "offline", None),
        (Bye(reason=1), "offline", None),
        (Bye(reason=1, sleep_ms=5_000), "asleep", START // 10**6 + 5_000),
        (Bye(reason=1, sleep_ms=2**64 - 1), "asleep", START // 10**6 + LONGEST_SLEEP_MS),
        (Bye(reason=3, sleep_ms=5_000), "offline", None),
    ],
)
def test_bye(bye: Bye, state: str, until: int | None) -> None:
    site = Site()
    site.arrive()
    site.presence.left(site.group(), site.device, bye)
    assert (site.device.state, site.device.until) == (state, until)
    assert ("until" in status(site.device)) == (until is not None)


def test_a_sleeper_has_its_sleep_and_the_grace() -> None:
    site = Site()
    site.arrive()
    site.presence.left(site.group(), site.device, Bye(reason=1, sleep_ms=1_000))
    site.wait(10**9 + GRACE - 1)
    assert site.tick() == []
    site.wait(1)
    assert site.tick() == ["lost"]


def test_after_a_start_the_grace_begins_anew_and_sleep_goes_on() -> None:
    site = Site()
    sleeper = site.registry.add_device(Device(2, "s", state=ASLEEP))
    sleeper.until = site.now.ms + 60_000
    site.device.state = "online"
    site.presence.restore([site.device, sleeper], site.now)
    site.wait(GRACE)
    assert site.tick() == ["lost"]
    site.wait(60 * 10**9)
    assert site.tick() == ["lost"]


def test_the_same_state_is_told_once() -> None:
    site = Site()
    group = site.group()
    site.presence.arrived(group, site.device)
    site.presence.arrived(group, site.device)
    assert len(group.events) == 1
