import json
from collections.abc import Callable

from gateway.core import alerts
from gateway.core.clock import Now
from gateway.core.facts import Dropped, EventLogged, Fact, MetaSet, OutboxPut
from gateway.core.group import Group, Rules
from gateway.core.registry import Registry
from gateway.core.topics import Topics, Upstream
from gateway.core.windows import Windows

NOW = Now(1_700_000_000_000_000_000, 0)
UP = Upstream(Topics("sensors", "gw-1"))
BODY = {
    "v": 1, "dev": "gw-1", "source": "gateway", "name": "outbox", "state": "full", "t": NOW.ms,
}  # fmt: skip


def told(rules: Rules, tell: Callable[..., None] = alerts.tell) -> list[Fact]:
    registry = Registry()
    registry.begin_numbers({"event": 6, "outbox": 8})
    group = Group(registry, Windows([], 0, 0), now=NOW, rules=rules)
    tell(group, gateway="gw-1", name="outbox", state="full")
    return group.facts


def test_an_alert_is_logged_and_goes_upstream() -> None:
    event, row = told(Rules(0, UP))
    assert isinstance(event, EventLogged)
    assert (event.id, event.kind, event.device) == (7, "alert", "gw-1")
    assert json.loads(event.payload) == BODY
    assert isinstance(row, OutboxPut)
    assert (row.id, row.topic) == (9, "sensors/gw-1/gw-1/alert")
    assert json.loads(row.payload) == BODY


def test_without_a_broker_it_is_logged_only() -> None:
    assert [type(fact) for fact in told(Rules(0))] == [EventLogged]


def test_what_a_full_outbox_turns_away_is_a_fact() -> None:
    _, dropped = told(Rules(0, UP, accepting=lambda: False))
    day = NOW.ms // 86_400_000
    assert dropped == Dropped(day, "outbox_full", "messages", 1, NOW.ms, NOW.ms)


def test_a_state_that_lasts_is_kept_and_shown_after_a_restart() -> None:
    meta, event = told(Rules(0), alerts.change)
    assert meta == MetaSet("outbox", "full")
    assert isinstance(event, EventLogged)
    stored = {"outbox": "full", "disk": "plenty", "store_id": "7"}
    (shown,) = alerts.kept(stored, gateway="gw-1", t=NOW.ms)
    assert shown == event._replace(id=0, t=0)
    assert not list(alerts.kept({}, gateway="gw-1", t=0))
