"""Rules over durable readings, clocks and figures: what is told, stored and known again."""

import json
from collections.abc import Collection
from typing import Any

import numpy as np
import pytest

from gateway.core import alerts
from gateway.core import facts as f
from gateway.core.alert_book import Book, UnknownAlert
from gateway.core.alert_rules import Limits, Rule, Watch
from gateway.core.alerting import Alerts
from gateway.core.clock import Now
from gateway.core.gauging import Figures
from gateway.core.group import Folding, Group, Rules
from gateway.core.readings import Clock, Column, Kind, SeriesKey
from gateway.core.registry import Device, Registry
from gateway.core.series import Panel, Series
from gateway.core.topics import Topics, Upstream
from gateway.core.windows import Windows

S = 10**9
UNIX = 1_732_380_000 * S
HOT = Rule("hot", Watch.LEVEL, "shed-*", "temp", Limits(30.0, None, 2.0), text="open the door")
HELD = Rule("warm", Watch.LEVEL, "*", "temp", Limits(25.0, None, 1.0, hold=60 * S))
RISES = Rule("rises", Watch.RATE, "*", "temp", Limits(5.0), per=60 * S)
QUIET = Rule("quiet", Watch.SILENCE, after=300 * S)
NO_TEMP = Rule("no-temp", Watch.SILENCE, "*", "temp", after=100 * S)
CLOCK = Rule("clock-off", Watch.CLOCK, limits=Limits(10.0, -10.0, 1.0))
FULL = Rule("filling", Watch.DISK, limits=Limits(0.8, None, 0.08))
STUCK = Rule("stuck", Watch.OUTBOX, limits=Limits(60.0, None, 6.0, hold=30 * S))


class World:
    """Alerts over a registry with the device shed-1; `now` is seconds after UNIX."""

    def __init__(
        self,
        *rules: Rule,
        rows: Any = (),
        registry: Registry | None = None,
        well: Collection[str] = (),
    ) -> None:
        self.now = 0.0
        self.registry = registry or self._registry()
        self.figures = Figures(0.5, 0.0)
        self.sure = True
        self.alerts = Alerts(
            rules,
            registry=self.registry,
            book=Book(rows),
            gateway="gw-1",
            figures=lambda: self.figures,
            well=well,
            now=self._now(),
        )
        self.events: list[dict[str, Any]] = []
        self.facts: list[f.Fact] = []

    def _registry(self) -> Registry:
        registry = Registry()
        registry.begin_numbers(dict.fromkeys(("event", "alert", "outbox", "series"), 0))
        registry.add_device(Device(1, "shed-1"))
        return registry

    def _now(self) -> Now:
        return Now(UNIX + int(self.now * S), int(self.now * S) + 7, self.sure)

    def group(self) -> Group:
        upstream = Upstream(Topics("sensors", "gw-1"))
        return Group(
            self.registry, Windows([], 0, 0), now=self._now(), rules=Rules(3600 * S, upstream)
        )

    def series(self, metric: str = "temp", device: str = "shed-1", kind: Kind = Kind.NUMBER):
        key = SeriesKey(device, metric, kind)
        found = self.registry.series.get(key)
        if found is None:
            number = self.registry.number("series")
            found = Series(number, self.registry.devices[device], key, "Cel")
            self.registry.add_series(found)
        return found

    def folding(self, readings, **which: Any) -> Folding:
        t, v = zip(*readings, strict=True)
        times = UNIX + (np.array(t) * S).astype(np.int64)
        series = self.series(**which)
        return Folding.of(series, Column(series.key, "", times, np.array(v)), Clock.DEVICE)

    def measure(self, *readings: tuple[float, Any], **which: Any) -> list[str]:
        """Durable readings (seconds, value) in a group of their own; what is told after it."""
        group = self.group()
        group.foldings.append(self.folding(readings, **which))
        for folding in group.foldings:
            folding.learn()
        self.alerts.judge(group)
        return self.tick()

    def tick(self) -> list[str]:
        group = self.group()
        self.alerts.tick(group)
        told = [json.loads(event.payload) for event in group.events]
        self.events += told
        self.facts += group.facts
        return [f"{event['name']} {event['state']}" for event in told]

    def restarted(self, *rules: Rule) -> "World":
        rows = {row[-3:]: row for row in self.facts if isinstance(row, f.AlertStands)}
        again = World(*rules, rows=rows.values(), registry=self.registry)
        again.now = self.now
        return again


def test_an_alert_is_an_event_a_row_and_a_message_for_the_broker():
    world = World(HOT)
    assert world.measure((1, 20.0), (2, 31.5)) == ["hot open"]
    assert world.events == [
        {
            "v": 1, "dev": "shed-1", "m": "temp", "source": "rule", "name": "hot",
            "state": "open", "n": 1, "since": UNIX // 10**6 + 2000,
            "detail": {"value": 31.5, "above": 30.0}, "text": "open the door",
            "t": UNIX // 10**6,
        }
    ]  # fmt: skip
    event, put, row = world.facts
    assert isinstance(event, f.EventLogged)
    assert (event.kind, event.device, event.metric) == ("alert", "shed-1", "temp")
    assert isinstance(put, f.OutboxPut)
    assert put.topic == "sensors/gw-1/shed-1/alert"
    assert isinstance(row, f.AlertStands)
    assert (row.id, row.state, row.payload) == (1, "open", event.payload)
    assert world.measure((3, 29.0)) == []
    assert world.measure((4, 28)) == ["hot closed"]
    closed = world.events[-1]
    assert closed["since"] < closed["until"] == UNIX // 10**6 + 4000
    assert closed["detail"] == {"value": 28}
    assert (closed["n"], world.alerts.book.in_force) == (1, 0)


def test_each_opening_has_a_number_of_its_own():
    world = World(HOT)
    world.measure((1, 31.0), (2, 0.0))
    world.measure((3, 31.0))
    assert [event["n"] for event in world.events] == [1, 1, 2]


def test_only_what_a_rule_is_about_is_judged():
    world = World(HOT)
    world.registry.add_device(Device(2, "barn-1"))
    assert world.measure((1, 99.0), device="barn-1") == []
    assert world.measure((1, 99.0), metric="humidity") == []
    assert world.measure((1, "hot"), kind=Kind.TEXT) == []
    assert world.measure((1, 99.0), device="shed-1") == ["hot open"]


def test_a_boolean_is_0_or_1():
    door = Rule("door", Watch.LEVEL, "*", "door", Limits(0.5, None))
    world = World(door)
    assert world.measure((1, True), metric="door", kind=Kind.BOOLEAN) == ["door open"]
    assert world.measure((2, False), metric="door", kind=Kind.BOOLEAN) == ["door closed"]


def test_late_readings_are_not_judged():
    world = World(HOT)
    world.measure((10, 20.0))
    assert world.measure((5, 99.0)) == []
    assert world.measure((8, 99.0), (11, 20.0), (9, 99.0)) == []


def test_readings_of_unknown_time_are_not_judged():
    world = World(HOT)
    group = world.group()
    group.foldings.append(
        Folding(Panel((world.series(),)), None, np.array([[99.0]]), Clock.UNKNOWN)
    )
    assert not world.alerts.judge(group)


def test_a_reading_of_the_future_that_came_while_nobody_knew_the_time_gives_way():
    world = World(HOT)
    world.sure = False
    world.measure((10_000_000, 20.0))
    world.sure = True
    assert world.measure((5, 31.0)) == ["hot open"]


def test_a_backlog_is_judged_as_it_was_measured():
    world = World(HOT)
    world.now = 7200
    assert world.measure((1, 20.0), (60, 35.0), (120, 20.0)) == ["hot open", "hot closed"]
    opened, closed = world.events
    assert (opened["since"], closed["until"]) == (UNIX // 10**6 + 60_000, UNIX // 10**6 + 120_000)


def test_a_rate_is_told_with_its_span():
    world = World(RISES)
    assert world.measure((0, 20.0), (30, 20.0), (60, 21.0)) == []
    assert world.measure((90, 26.0)) == ["rises open"]
    assert world.events[-1]["detail"] == {"rate": 6.0, "above": 5.0, "per_s": 60.0}


def test_an_alert_is_acknowledged_once_and_closes_all_the_same():
    world = World(HOT)
    world.measure((1, 31.0))
    group = world.group()
    told = world.alerts.book.acknowledge(group, 1, by="ann", note="on my way")
    assert (told["state"], told["by"], told["note"]) == ("acknowledged", "ann", "on my way")
    assert told["detail"] == {"value": 31.0, "above": 30.0}
    assert [type(fact) for fact in group.facts] == [f.EventLogged, f.OutboxPut, f.AlertStands]
    again = world.group()
    assert world.alerts.book.acknowledge(again, 1, by="bob", note="")["by"] == "ann"
    assert not again.facts
    assert (world.alerts.book.in_force, world.alerts.book.unacknowledged) == (1, 0)
    assert world.measure((2, 20.0)) == ["hot closed"]
    with pytest.raises(UnknownAlert):
        world.alerts.book.acknowledge(group, 1, by="", note="")


def test_after_a_restart_an_alert_is_still_open_and_closes():
    world = World(HOT)
    world.measure((1, 31.0))
    again = world.restarted(HOT)
    assert again.tick() == []
    assert again.measure((2, 31.0)) == []
    assert again.measure((3, 20.0)) == ["hot closed"]
    assert again.events[0]["n"] == 1


def test_after_a_restart_a_hold_goes_on():
    world = World(HELD)
    assert world.measure((0, 26.0)) == []
    assert world.restarted(HELD).measure((60, 26.0)) == ["warm open"]


def test_what_a_crash_left_untold_is_judged_again_and_nothing_else():
    world = World(HOT)
    world.measure((1, 31.0), (2, 20.0))
    before = World(HOT, registry=world.registry)
    before.alerts.replay(world.folding([(1, 31.0), (2, 20.0)]))
    assert before.tick() == []  # the settlement tells of these
    before.alerts.replay(world.folding([(2, 20.0), (3, 31.0)]))
    assert before.tick() == ["hot open"]


def test_after_a_restart_rates_are_measured_against_what_was_before():
    world = World(RISES)
    world.measure((0, 20.0), (30, 20.0))
    again = world.restarted(RISES)
    series, span = again.alerts.sloping()
    assert (series, span) == ([1], 60 * S)
    old = world.folding([(0, 20.0), (30, 20.0), (40, 99.0)])
    again.alerts.recall(1, old.times.t, old.v[0])
    assert again.measure((61, 26.0)) == ["rises open"]


def test_an_alert_whose_rule_is_gone_is_closed():
    world = World(HOT)
    world.measure((1, 31.0))
    again = world.restarted()
    assert again.tick() == ["hot closed"]
    assert again.events[0]["detail"] == {"reason": "no rule is about it any more"}
    assert again.tick() == []


@pytest.mark.parametrize("well", [set(), {"disk"}])
def test_no_rule_has_to_be_about_the_gateway_itself(well: set[str]):
    """An alert of its own ends by itself, or at the start if its state is not known any more."""
    world = World()
    group = world.group()
    alerts.change(group, world.alerts.book, gateway="gw-1", name="disk", state="full")
    rows = [fact for fact in group.facts if isinstance(fact, f.AlertStands)]
    again = World(rows=rows, registry=world.registry, well=well)
    assert again.tick() == (["disk closed"] if well else [])
    assert again.alerts.book.in_force == (0 if well else 1)


def test_an_alert_of_a_removed_device_is_closed():
    world = World(HOT, QUIET)
    world.measure((1, 31.0))
    world.registry.devices["shed-1"].removed = True
    world.now = 1000
    assert world.tick() == ["hot closed"]


def test_a_device_is_silent_until_it_is_heard_whatever_it_says():
    world = World(QUIET)
    world.tick()
    world.now = 299
    assert world.measure((5, "fine"), metric="state", kind=Kind.TEXT) == []
    world.now = 598
    assert world.tick() == []
    world.now = 600
    assert world.tick() == ["quiet open"]
    assert world.events[-1]["detail"] == {"silent_s": 300.0}
    assert "m" not in world.events[-1]
    again = world.restarted(QUIET)
    again.now = 2000
    assert again.tick() == []
    assert again.measure((1, 5.0)) == ["quiet closed"]


def test_a_device_that_never_came_is_silent_and_a_new_one_is_expected_from_then_on():
    world = World(QUIET)
    world.tick()
    world.now = 200
    world.registry.add_device(Device(2, "shed-2"))
    world.tick()
    world.now = 301
    assert world.tick() == ["quiet open"]
    world.now = 502
    assert world.tick() == ["quiet open"]
    assert [event["dev"] for event in world.events] == ["shed-1", "shed-2"]


def test_who_sleeps_or_may_not_come_is_excused():
    world = World(QUIET)
    device = world.registry.devices["shed-1"]
    device.state, device.until = "asleep", UNIX // 10**6 + 1_000_000
    world.tick()
    world.now = 301
    assert world.tick() == []
    world.now = 1299
    assert world.tick() == []
    device.disabled = True
    world.now = 1302
    assert world.tick() == []
    device.disabled = False
    world.now = 1610
    assert world.tick() == ["quiet open"]


def test_one_metric_may_be_silent_while_others_are_not():
    world = World(NO_TEMP)
    world.measure((1, 20.0))
    world.now = 90
    world.measure((1, 50.0), metric="humidity")
    world.now = 101
    assert world.tick() == ["no-temp open"]
    assert world.events[-1]["m"] == "temp"


def test_a_clock_is_looked_at_when_its_device_speaks():
    world = World(CLOCK)
    device = world.registry.devices["shed-1"]
    device.clock_error_ns, device.last_seen = -12 * S, 5
    assert world.tick() == ["clock-off open"]
    assert world.events[-1]["detail"] == {"clock_error_s": -12.0, "below": -10.0}
    device.clock_error_ns = 0
    world.now = 2
    assert world.tick() == []
    device.last_seen = 6
    world.now = 4
    assert world.tick() == ["clock-off closed"]


def test_disk_and_outbox_are_looked_at_once_a_second():
    world = World(FULL, STUCK)
    world.figures = Figures(0.81, 61.0)
    assert world.tick() == ["filling open"]
    assert world.events[-1]["dev"] == "gw-1"
    world.now = 29
    assert world.tick() == []
    world.now = 31
    assert world.tick() == ["stuck open"]
    world.figures = Figures(0.71, 0.0)
    world.now = 31.5
    assert world.tick() == []
    world.now = 32
    assert world.tick() == ["filling closed", "stuck closed"]


def test_without_rules_nothing_is_looked_at():
    world = World()
    assert world.measure((1, 1e9)) == []
    assert not world.alerts.judge(world.group())
