"""Who is there: online, asleep until T, offline, lost (docs/wire.md, Presence)."""

from typing import Any

from gateway.core import facts as f
from gateway.core.clock import Now
from gateway.core.group import Group
from gateway.core.messages import Bye
from gateway.core.readings import NS_PER_MS, NS_PER_S
from gateway.core.registry import Device

ONLINE, ASLEEP, OFFLINE, LOST = "online", "asleep", "offline", "lost"
GRACE = 15 * NS_PER_S
SLEEP = 1
LONGEST_SLEEP_MS = 366 * 86_400_000


def status(device: Device) -> dict[str, Any]:
    """The status payload of live.md: `until` only while asleep."""
    body: dict[str, Any] = {"v": 1, "dev": device.name, "state": device.state, "t": device.since}
    if device.until is not None:
        body["until"] = device.until
    return body


class Presence:
    """Turns connections, BYEs and silence into states; each change is a fact and an event."""

    def __init__(self) -> None:
        self._absent: dict[str, int] = {}

    def restore(self, devices: list[Device], now: Now) -> None:
        """After a start: who was online gets the grace, who was asleep the rest of its sleep."""
        for device in devices:
            if device.state == ONLINE:
                self.gone(device, now)
            elif device.state == ASLEEP:
                until = device.until or device.since
                left = min(max(0, until - now.ms), until - device.since)
                self._absent[device.name] = now.mono + left * NS_PER_MS + GRACE

    def arrived(self, group: Group, device: Device) -> None:
        """The device's HELLO was accepted."""
        self._absent.pop(device.name, None)
        device.last_seen = group.now.ms
        self._change(group, device, ONLINE)

    def left(self, group: Group, device: Device, bye: Bye) -> None:
        """The device said BYE: asleep if it goes to sleep, otherwise offline."""
        self._absent.pop(device.name, None)
        if bye.reason == SLEEP and bye.sleep_ms:
            sleep = min(bye.sleep_ms, LONGEST_SLEEP_MS)
            self._absent[device.name] = group.now.mono + sleep * NS_PER_MS + GRACE
            self._change(group, device, ASLEEP, until=group.now.ms + sleep)
        else:
            self._change(group, device, OFFLINE)

    def gone(self, device: Device, now: Now) -> None:
        """The socket went without BYE: lost, unless the device is back within the grace."""
        self._absent[device.name] = now.mono + GRACE

    def tick(self, group: Group) -> None:
        """Lose the devices whose grace is over."""
        over = [name for name, deadline in self._absent.items() if deadline <= group.now.mono]
        for name in over:
            del self._absent[name]
            self._change(group, group.registry.devices[name], LOST)

    def _change(
        self, group: Group, device: Device, state: str, *, until: int | None = None
    ) -> None:
        if (device.state, device.until) == (state, until) and device.since:
            return
        device.state, device.since, device.until = state, group.now.ms, until
        group.add(f.DevicePresence(state, device.since, until, device.last_seen, device.id))
        body = status(device)
        group.publish("status", device.name, body)
        if group.rules.upstream:
            group.outgoing(group.rules.upstream.status, body)
