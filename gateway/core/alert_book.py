"""The alerts that stand, and what is still to be told of them."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from gateway.core.alert_rules import Rule
from gateway.core.facts import AlertStands
from gateway.core.group import Group
from gateway.core.judging import Turn
from gateway.core.readings import NS_PER_MS
from gateway.core.standing import ACKNOWLEDGED, CLOSED, OPEN, Key, Standing, detail
from gateway.core.summary import dump
from gateway.errors import GatewayError


class UnknownAlert(GatewayError):
    """No alert of that number is open."""


class Book:
    """Alerts by rule and subject. What turns is kept until a group takes it."""

    def __init__(self, rows: Iterable[AlertStands]) -> None:
        """Go on from what is stored."""
        self._standings = {s.key: s for s in map(Standing.of, rows)}
        self._open = {s.key: s for s in self._standings.values() if s.word != CLOSED}
        self._turns: list[tuple[Standing, Turn, dict[str, Any]]] = []
        self._changed: dict[Key, Standing] = {}

    def standing(self, key: Key) -> Standing:
        """The alert of a key; closed if it is new."""
        return self._standings.setdefault(key, Standing(key))

    def known(self, key: Key) -> Standing | None:
        return self._standings.get(key)

    def open(self) -> Iterator[Standing]:
        """The alerts in force."""
        return iter(list(self._open.values()))

    @property
    def in_force(self) -> int:
        """How many alerts are open, acknowledged ones too."""
        return len(self._open)

    @property
    def unacknowledged(self) -> int:
        return sum(standing.word == OPEN for standing in self._open.values())

    @property
    def waiting(self) -> bool:
        """Whether something is still to be told or stored."""
        return bool(self._turns or self._changed)

    # -- changes ----------------------------------------------------------------------------

    def changed(self, standing: Standing) -> None:
        """It has to be stored anew."""
        self._changed[standing.key] = standing

    def turn(self, rule: Rule, key: Key, turn: Turn) -> None:
        """Open or close the alert of a key, unless it is already."""
        standing = self.standing(key)
        if standing.state.opened is not turn.opened:
            standing.state.opened = turn.opened
            self.turned(rule, standing, turn)

    def turned(self, rule: Rule, standing: Standing, turn: Turn) -> None:
        """It opened or closed."""
        told: dict[str, Any] = {"detail": detail(rule, turn.v, opened=turn.opened)}
        if rule.text:
            told["text"] = rule.text
        self._turns.append((standing, turn, told))
        self.changed(standing)

    def end(self, standing: Standing, *, why: str, unix: int) -> None:
        """Close it (`unix` ns) without a value, since nothing judges it any more."""
        standing.state.opened, standing.state.since = False, None
        self._turns.append((standing, Turn(False, unix, 0.0), {"detail": {"reason": why}}))
        self.changed(standing)

    def flush(self, group: Group) -> None:
        """Tell what turned, and store what changed."""
        turns, self._turns = self._turns, []
        for standing, turn, told in turns:
            self._turn(group, standing, turn, told)
        for standing in self._changed.values():
            group.add(standing.fact())
        self._changed.clear()

    def _turn(self, group: Group, standing: Standing, turn: Turn, told: dict[str, Any]) -> None:
        at = turn.t // NS_PER_MS
        if turn.opened:
            self._opened(group, standing, at)
        else:
            self._closed(standing)
            told = {"until": at, **told}
        self._tell(group, standing, standing.body(group.now.ms, **told))

    def become(self, group: Group, key: Key, *, state: str, well: bool, text: str) -> None:
        """The gateway itself came into a state: one that is not well is an alert until it ends."""
        standing, now = self.standing(key), group.now.ms
        told: dict[str, Any] = {"source": "gateway", "state": state}
        if well:
            self._closed(standing)
            told["until"] = now
        else:
            self._opened(group, standing, now)
            told["text"] = text
        standing.state.opened = not well
        self._tell(group, standing, standing.body(now, **told))
        if standing.n is not None:
            group.add(standing.fact())

    def _opened(self, group: Group, standing: Standing, at: int) -> None:
        standing.n, standing.since = group.registry.number("alert"), at
        standing.word = OPEN
        self._open[standing.key] = standing

    def _closed(self, standing: Standing) -> None:
        standing.word = CLOSED
        self._open.pop(standing.key, None)

    def acknowledge(self, group: Group, n: int, *, by: str, note: str) -> dict[str, Any]:
        """Somebody has seen the open alert `n`; its payload. Repeated it changes nothing.

        Raises UnknownAlert.
        """
        standing = next((s for s in self._open.values() if s.n == n), None)
        if standing is None:
            raise UnknownAlert(f"no alert {n} is open: `gateway alerts` shows all that are")
        told: dict[str, Any] = json.loads(standing.payload)
        if standing.word == ACKNOWLEDGED:
            return told
        standing.word = ACKNOWLEDGED
        given = {key: value for key, value in (("by", by), ("note", note)) if value}
        self._tell(group, standing, told | {"state": ACKNOWLEDGED, "t": group.now.ms} | given)
        group.add(standing.fact())
        return dict(json.loads(standing.payload))

    def _tell(self, group: Group, standing: Standing, body: dict[str, Any]) -> None:
        standing.payload = dump(body)
        _, device, metric = standing.key
        group.publish("alert", device, body, metric=metric or None)
        if group.rules.upstream:
            group.outgoing(group.rules.upstream.alert, body)
