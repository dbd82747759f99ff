import json
from typing import Any

import pytest

from gateway.core import alerts
from gateway.core.alert_book import Book, UnknownAlert
from gateway.core.clock import Now
from gateway.core.facts import AlertStands, Dropped, EventLogged, Fact, MetaSet, OutboxPut
from gateway.core.group import Group, Rules
from gateway.core.registry import Registry
from gateway.core.topics import Topics, Upstream
from gateway.core.windows import Windows

NOW = Now(1_700_000_000_000_000_000, 0)
UP = Upstream(Topics("sensors", "gw-1"))
BODY = {
    "v": 1, "dev": "gw-1", "source": "gateway", "name": "outbox", "state": "full", "n": 3,
    "since": NOW.ms, "text": "the outbox is full: what waits for the broker is lost", "t": NOW.ms,
}  # fmt: skip


class World:
    def __init__(self, rules: Rules | None = None) -> None:
        self.rules, self.book = rules or Rules(0), Book(())
        self.registry = Registry()
        self.registry.begin_numbers({"event": 6, "outbox": 8, "alert": 2})

    def group(self) -> Group:
        return Group(self.registry, Windows([], 0, 0), now=NOW, rules=self.rules)

    def tell(self, state: str = "full", name: str = "outbox") -> list[Fact]:
        group = self.group()
        alerts.change(group, self.book, gateway="gw-1", name=name, state=state)
        return group.facts

    def told(self, state: str, name: str = "outbox") -> dict[str, Any]:
        (event,) = [fact for fact in self.tell(state, name) if isinstance(fact, EventLogged)]
        return json.loads(event.payload)

    def acknowledge(self, n: int) -> tuple[dict[str, Any], list[Fact]]:
        group = self.group()
        return self.book.acknowledge(group, n, by="ann", note=""), group.facts


def test_an_alert_is_kept_logged_and_goes_upstream() -> None:
    meta, event, row, stands = World(Rules(0, UP)).tell()
    assert meta == MetaSet("outbox", "full")
    assert isinstance(event, EventLogged)
    assert (event.id, event.kind, event.device) == (7, "alert", "gw-1")
    assert json.loads(event.payload) == BODY
    assert isinstance(row, OutboxPut)
    assert (row.id, row.topic) == (9, "sensors/gw-1/gw-1/alert")
    assert json.loads(row.payload) == BODY
    assert isinstance(stands, AlertStands)
    assert (stands.rule, stands.device, stands.state) == ("outbox", "gw-1", "open")


def test_without_a_broker_it_is_logged_and_kept_only() -> None:
    assert [type(fact) for fact in World().tell()] == [MetaSet, EventLogged, AlertStands]


def test_what_a_full_outbox_turns_away_is_a_fact() -> None:
    _, _, dropped, _ = World(Rules(0, UP, accepting=lambda: False)).tell()
    day = NOW.ms // 86_400_000
    assert dropped == Dropped(day, "outbox_full", "messages", 1, NOW.ms, NOW.ms)


def test_it_is_acknowledged_like_any_other_until_it_is_over() -> None:
    world = World()
    n = world.told("full")["n"]
    told, facts = world.acknowledge(n)
    assert told == {**BODY, "state": "acknowledged", "by": "ann"}
    assert [type(fact) for fact in facts] == [EventLogged, AlertStands]
    over = world.told("ok")
    assert (over["state"], over["n"], over["until"]) == ("ok", n, NOW.ms)
    with pytest.raises(UnknownAlert):
        world.acknowledge(n)


def test_another_state_that_is_not_well_is_an_alert_of_its_own() -> None:
    world = World()
    short, full = world.told("short", "disk"), world.told("full", "disk")
    assert full["n"] > short["n"]
    assert world.book.unacknowledged == 1
    assert world.acknowledge(full["n"])[0]["text"] == "the disk is full: devices wait"


def test_what_was_never_told_may_be_over() -> None:
    """A database of an older version knows the state, and no alert."""
    world = World()
    meta, event = world.tell("ok")
    assert meta == MetaSet("outbox", "ok")
    assert isinstance(event, EventLogged)
    assert "n" not in json.loads(event.payload)


def test_a_state_that_lasts_is_shown_after_a_restart() -> None:
    stored = {"outbox": "full", "disk": "plenty", "store_id": "7"}
    (shown,) = alerts.kept(stored, gateway="gw-1", t=NOW.ms)
    assert (shown.device, shown.metric) == ("gw-1", None)
    assert json.loads(shown.payload).items() <= BODY.items()
    assert not list(alerts.kept({}, gateway="gw-1", t=0))
