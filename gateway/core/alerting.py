"""The alerts of all rules: readings are judged once they are durable, the rest once a second.

Each turn of an alert is an event, a row and a message for the broker, in one later commit. What
a crash leaves untold is judged again at the start, from the readings that were not settled.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.core.alert_book import Book
from gateway.core.alert_rules import Rule, Watch
from gateway.core.alerts import STATES
from gateway.core.clock import Now
from gateway.core.expecting import Expected, Expecting
from gateway.core.gauging import Figures, Gauging
from gateway.core.group import Folding, Group
from gateway.core.judging import Slope, Times, Values, judge
from gateway.core.readings import INT64_MAX, NS_PER_S
from gateway.core.registry import Registry
from gateway.core.series import Series
from gateway.core.standing import Key, Standing
from gateway.core.take import latest


class Judged(NamedTuple):
    """An alert that the readings of a series open and close."""

    rule: Rule
    standing: Standing
    slope: Slope | None


@dataclass(slots=True)
class Watched:
    """A series that rules are about. since: readings older than this (ns) are late: not judged."""

    judged: list[Judged]
    expected: list[Expected] = field(default_factory=list)
    since: int | None = None


class Alerts:
    """Judges what becomes durable, and tells of it in later groups."""

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        registry: Registry,
        book: Book,
        gateway: str,
        figures: Callable[[], Figures],
        well: Collection[str] = (),
        now: Now,
    ) -> None:
        """Go on from what the book knows. gateway: its id, which stands for a device.

        well: names of the gateway's own alerts that are over, whatever a row says.
        """
        self.book = book
        self._rules = {rule.name: rule for rule in rules}
        self._registry = registry
        self._gateway = gateway
        self._expecting = Expecting(rules, registry=registry, book=book, now=now)
        self._gauging = Gauging(
            rules, registry=registry, book=book, gateway=gateway, figures=figures
        )
        self._watched: dict[int, Watched | None] = {}
        self._next = now.mono
        for series in registry.series_by_id.values() if rules else ():
            _remember(self._watch(series, now), series)
        for standing in book.open():
            if standing.key.rule in well:
                book.end(standing, why="it was not seen again", unix=now.unix)

    # -- readings ---------------------------------------------------------------------------

    def judge(self, group: Group) -> bool:
        """Judge the readings of a durable group; say whether there is something to tell."""
        if not self._rules:
            return False
        found: dict[int, tuple[Watched, list[tuple[Times, Values]]]] = {}
        for folding in group.foldings:
            for at, series in enumerate(folding.series):
                if (watched := self._watch(series, group.now)) is not None:
                    known = found.setdefault(series.id, (watched, []))[1]
                    if folding.times is not None:
                        known.append((folding.times.t, folding.v[at]))
        limit = latest(group)
        for watched, known in found.values():
            self._expecting.hear(watched.expected, group.now)
            self._judge(watched, known, limit)
        return self.book.waiting

    def _watch(self, series: Series, now: Now) -> Watched | None:
        """What rules say of a series, None if nothing; they are matched once for each."""
        if series.id not in self._watched:
            watched = Watched(self._judged(series), self._expecting.of(series, now))
            useful = watched.judged or watched.expected
            self._watched[series.id] = watched if useful else None
        return self._watched[series.id]

    def _judged(self, series: Series) -> list[Judged]:
        device, metric, _ = series.key
        return [
            Judged(
                rule,
                self.book.standing(Key(rule.name, device, metric)),
                Slope(rule.per) if rule.watch is Watch.RATE else None,
            )
            for rule in self._rules.values()
            if rule.judges(series.key)
        ]

    def _judge(self, watched: Watched, known: Sequence[tuple[Times, Values]], limit: int) -> None:
        if not watched.judged or not known:
            return
        if watched.since is not None and watched.since > limit:
            _begin_anew(watched)
        t, v = _in_order(known, watched.since)
        if len(t):
            watched.since = int(t[-1])
            for judged in watched.judged:
                self._judge_one(judged, t, v)

    def _judge_one(self, judged: Judged, t: Times, v: Values) -> None:
        rule, standing, slope = judged
        newest = int(t[-1])
        if slope is not None:
            t, v = slope.rates(t, v)
            if not len(t):
                return
        before = standing.state.since
        turns = judge(rule.limits, standing.state, t, v)
        if turns or standing.state.since != before:
            standing.t = newest
            self.book.changed(standing)
        for turn in turns:
            self.book.turned(rule, standing, turn)

    # -- the start --------------------------------------------------------------------------

    def replay(self, folding: Folding) -> None:
        """Judge readings that no settlement tells of yet; row by row, before anything else."""
        for at, series in enumerate(folding.series):
            watched = self._watched.get(series.id)
            if watched is not None and folding.times is not None:
                self._judge(watched, [(folding.times.t, folding.v[at])], INT64_MAX)

    def sloping(self) -> tuple[list[int], int]:
        """Series whose rates are judged, and how far back (ns) a rate may reach."""
        spans = {
            number: judged.rule.per
            for number, watched in self._watched.items()
            for judged in (watched.judged if watched else ())
            if judged.slope is not None
        }
        return list(spans), max((rule.per for rule in self._rules.values()), default=0)

    def recall(self, series: int, t: Times, v: NDArray[Any]) -> None:
        """Know again what rates are measured against: readings that were judged before."""
        watched = self._watched[series]
        if watched is None or watched.since is None:
            return
        past = t < watched.since
        for judged in watched.judged:
            if judged.slope is not None:
                judged.slope.recall(t[past], v[past].astype(np.float64))

    # -- time -------------------------------------------------------------------------------

    def tick(self, group: Group) -> None:
        """Tell what turned; once a second look at what no reading shows."""
        if group.now.mono >= self._next:
            self._next = group.now.mono + NS_PER_S
            self._expecting.tick(group.now)
            self._gauging.tick(group.now)
            self._close_orphans(group.now)
        self.book.flush(group)

    def _close_orphans(self, now: Now) -> None:
        """Close what nothing can close any more: rules and devices go."""
        for standing in self.book.open():
            why = self._orphaned(standing)
            if why is not None:
                self.book.end(standing, why=why, unix=now.unix)
                self._expecting.excuse(standing.key, now)

    def _orphaned(self, standing: Standing) -> str | None:
        key = standing.key
        if key.rule in STATES and key.device == self._gateway:
            return None
        rule = self._rules.get(key.rule)
        if rule is None or not rule.about(key.device, key.metric):
            return "no rule is about it any more"
        device = self._registry.devices.get(key.device)
        if device is not None and device.removed:
            return "the device was removed"
        if device is not None and device.disabled and rule.watch is Watch.SILENCE:
            return "the device was disabled"
        return None


def _remember(watched: Watched | None, series: Series) -> None:
    """What was judged before the start is not judged again."""
    if watched is not None:
        times = [series.t, *(judged.standing.t for judged in watched.judged)]
        newest = max((t for t in times if t is not None), default=None)
        watched.since = None if newest is None else newest + 1


def _begin_anew(watched: Watched) -> None:
    """The newest reading lay in the future, since nobody knew the time when it came."""
    watched.since = None
    for judged in watched.judged:
        judged.standing.state.since = None
        if judged.slope is not None:
            judged.slope.clear()


def _in_order(
    known: Sequence[tuple[Times, NDArray[Any]]], since: int | None
) -> tuple[Times, Values]:
    """Readings by time, without those older than `since`."""
    t, v = known[0][0], known[0][1].astype(np.float64, copy=False)
    if len(known) > 1:
        t = np.concatenate([t for t, _ in known])
        v = np.concatenate([v.astype(np.float64, copy=False) for _, v in known])
    if len(t) > 1 and (t[1:] < t[:-1]).any():
        order = np.argsort(t, kind="stable")
        t, v = t[order], v[order]
    if since is not None and t[0] < since:
        first = int(np.searchsorted(t, since))
        t, v = t[first:], v[first:]
    return t, v
