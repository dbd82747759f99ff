"""One alert of one rule about one device or series: its state, and what is told of it."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gateway.core.alert_rules import Rule, Watch
from gateway.core.facts import AlertStands
from gateway.core.judging import Slope, State
from gateway.core.readings import NS_PER_S

CLOSED, OPEN, ACKNOWLEDGED = "closed", "open", "acknowledged"


class Key(NamedTuple):
    """metric: empty if the alert is about a device, or the gateway, as a whole."""

    rule: str
    device: str
    metric: str


@dataclass(slots=True)
class Standing:
    """An alert, open or not, with all that is stored of it.

    n: the number under which it was opened last, None if it never was. since: when (Unix ms).
    t: the newest reading (ns) that was judged when it changed. payload: what was told last.
    """

    key: Key
    state: State = field(default_factory=State)
    word: str = CLOSED
    n: int | None = None
    since: int = 0
    t: int | None = None
    payload: str = "{}"
    slope: Slope | None = None

    @classmethod
    def of(cls, row: AlertStands) -> "Standing":
        """As it was stored."""
        state = State(row.state != CLOSED, row.out_since_ns)
        key = Key(row.rule, row.device, row.metric)
        return cls(key, state, row.state, row.id, row.since, row.t_ns, row.payload)

    def fact(self) -> AlertStands:
        """As it is stored."""
        out_since = None if self.t is None else self.state.since
        return AlertStands(
            self.n, self.word, self.since, out_since, self.t, self.payload, *self.key
        )

    def body(self, now: int, **more: Any) -> dict[str, Any]:
        """What an event tells of it now (Unix ms)."""
        rule, device, metric = self.key
        about = {"dev": device, "m": metric} if metric else {"dev": device}
        told = {"source": "rule", "name": rule, "state": self.word}
        opened = {} if self.n is None else {"n": self.n, "since": self.since}
        return {"v": 1, **about, **told, **opened, **more, "t": now}


def detail(rule: Rule, value: float, *, opened: bool) -> dict[str, float]:
    """What an alert is about: the value, and the limit that it passed."""
    told = {rule.watch.value: value}
    if rule.watch is Watch.SILENCE or not opened:
        return told
    told |= rule.limits.passed(value)
    return told if rule.watch is not Watch.RATE else {**told, "per_s": rule.per / NS_PER_S}
