"""Rules about silence: which devices and series are to be heard of, and who is not."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gateway.core.alert_book import Book
from gateway.core.alert_rules import Rule, Watch
from gateway.core.clock import Now
from gateway.core.judging import Turn
from gateway.core.presence import ASLEEP
from gateway.core.readings import NS_PER_MS, NS_PER_S
from gateway.core.registry import Device, Registry
from gateway.core.series import Series
from gateway.core.silences import Silences
from gateway.core.standing import Key


class Expected(NamedTuple):
    """A silence that readings keep away, or end."""

    rule: Rule
    silences: Silences[Key]
    key: Key


class Expecting:
    """Time that passes while the gateway does not run is nobody's silence."""

    def __init__(self, rules: Iterable[Rule], *, registry: Registry, book: Book, now: Now) -> None:
        self._rules = {
            rule.name: (rule, Silences[Key](rule.after))
            for rule in rules
            if rule.watch is Watch.SILENCE
        }
        self._registry = registry
        self._book = book
        self._devices = -1
        for standing in book.open():
            if standing.key.rule in self._rules:
                self._rules[standing.key.rule][1].recall(standing.key, now.mono)

    def of(self, series: Series, now: Now) -> list[Expected]:
        """The silences that readings of the series end."""
        device, metric, _ = series.key
        return [
            self._expect(rule, Key(rule.name, device, "" if rule.metric is None else metric), now)
            for rule, _ in self._rules.values()
            if rule.about(device, metric)
        ]

    def _expect(self, rule: Rule, key: Key, now: Now) -> Expected:
        silences = self._rules[rule.name][1]
        if key not in silences:
            silences.hear(key, now.mono)
        return Expected(rule, silences, key)

    def hear(self, expected: Sequence[Expected], now: Now) -> None:
        """Readings came."""
        for rule, silences, key in expected:
            if silences.hear(key, now.mono):
                self._book.turn(rule, key, Turn(False, now.unix, rule.after / NS_PER_S))

    def tick(self, now: Now) -> None:
        """Tell of those who have been silent for too long."""
        if len(self._registry.devices) != self._devices:
            self._devices = len(self._registry.devices)
            self._expect_devices(now)
        for rule, silences in self._rules.values():
            for key in silences.silent(now.mono):
                device = self._registry.devices.get(key.device)
                if (excused := _excused(device, now)) is None:
                    self._book.turn(rule, key, Turn(True, now.unix, rule.after / NS_PER_S))
                else:
                    silences.hear(key, excused)

    def _expect_devices(self, now: Now) -> None:
        """A device is expected as soon as it is known, even if it never came."""
        for rule, _ in self._rules.values():
            for device in self._registry.devices.values():
                if rule.metric is None and rule.about(device.name):
                    self._expect(rule, Key(rule.name, device.name, ""), now)

    def excuse(self, key: Key, now: Now) -> None:
        """Its alert was closed for another reason than that it was heard."""
        if key.rule in self._rules:
            self._rules[key.rule][1].hear(key, now.mono)


def _excused(device: Device | None, now: Now) -> int | None:
    """Until when (monotonic ns) nothing is expected of a device; None if it should have spoken."""
    if device is None or device.removed or device.disabled:
        return now.mono
    if device.state == ASLEEP and (left := (device.until or 0) - now.ms) > 0:
        return now.mono + left * NS_PER_MS
    return None
