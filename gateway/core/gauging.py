"""Rules about clocks, the disk and the outbox: looked at once a second, not at each reading."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from gateway.core.alert_book import Book
from gateway.core.alert_rules import Rule, Watch
from gateway.core.clock import Now
from gateway.core.judging import Turn, judge
from gateway.core.readings import NS_PER_S
from gateway.core.registry import Device, Registry
from gateway.core.standing import Key


class Figures(NamedTuple):
    """What the gateway knows of itself: used share of the disk, age of the oldest outbox row."""

    disk_used: float
    outbox_age_s: float


class Gauging:
    """Judges figures by the monotonic clock; one that waits (`for`) begins anew at a start."""

    def __init__(
        self,
        rules: Iterable[Rule],
        *,
        registry: Registry,
        book: Book,
        gateway: str,
        figures: Callable[[], Figures],
    ) -> None:
        """gateway: its id, which stands for a device."""
        known = list(rules)
        self._clocks = [rule for rule in known if rule.watch is Watch.CLOCK]
        self._own = [rule for rule in known if rule.watch in (Watch.DISK, Watch.OUTBOX)]
        self._registry = registry
        self._book = book
        self._gateway = gateway
        self._figures = figures
        self._seen: dict[int, int] = {}

    def tick(self, now: Now) -> None:
        """Look at everything that has a rule."""
        if self._own:
            figures = self._figures()
            for rule in self._own:
                value = figures.disk_used if rule.watch is Watch.DISK else figures.outbox_age_s
                self._judge(rule, self._gateway, value, now)
        if self._clocks:
            for device in self._registry.devices.values():
                self._look_at_clock(device, now)

    def _look_at_clock(self, device: Device, now: Now) -> None:
        """Only when it sent something: an old error says nothing new."""
        error = device.clock_error_ns
        if error is None or self._seen.get(device.id) == device.last_seen:
            return
        self._seen[device.id] = device.last_seen
        for rule in self._clocks:
            if rule.about(device.name):
                self._judge(rule, device.name, error / NS_PER_S, now)

    def _judge(self, rule: Rule, device: str, value: float, now: Now) -> None:
        key = Key(rule.name, device, "")
        if self._book.known(key) is None and not rule.limits.passed(value):
            return
        standing = self._book.standing(key)
        t, v = np.array([now.mono]), np.array([value])
        for turn in judge(rule.limits, standing.state, t, v):
            self._book.turned(rule, standing, Turn(turn.opened, now.unix, value))
