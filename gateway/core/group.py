"""A commit group: everything that waits becomes facts of one transaction.

A group is built in memory, in the order in which things arrived, against the registry and the
windows; the pipeline makes it durable and only then acknowledges, folds and publishes it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.core import facts as f
from gateway.core.clock import Now
from gateway.core.entry import Entry
from gateway.core.readings import INT64_MAX, Batch, Clock, Column, Kind, SeriesKey
from gateway.core.registry import Device, Registry, Series, Stream
from gateway.core.summary import dump, payload
from gateway.core.topics import Upstream
from gateway.core.windows import Windows

MS_PER_DAY = 86_400_000


class Folding(NamedTuple):
    """Readings to fold once they are durable; t is int64 ns UTC or None if unknown.

    newest: where the newest stands, of equal times the last that arrived.
    """

    series: Series
    t: NDArray[np.int64] | None
    v: NDArray[Any]
    clock: Clock
    newest: int

    def learn(self, latest: int = INT64_MAX) -> None:
        """Let the series know its newest reading."""
        t = None if self.t is None else int(self.t[self.newest])
        self.series.learn(
            t, self.v[self.newest : self.newest + 1].tolist()[0], self.clock, latest=latest
        )

    def fold(self, windows: Windows) -> None:
        """Fold into the windows that are open, if the time is known."""
        if self.t is not None:
            windows.fold([(self.series.id, self.series.key.kind, self.t, self.v)])


@dataclass(frozen=True, slots=True)
class Rules:
    """What the configuration says about taking readings; `max_skew` in ns."""

    max_skew: int
    upstream: Upstream | None = None
    forward_readings: bool = False
    accepting: Callable[[], bool] = lambda: True
    """Whether the outbox takes more (outbox_full = "reject_new")."""
    turned_away: Callable[[int], None] = lambda _: None
    """Told how many messages were not put for that reason."""


class Group:
    """Facts in the making. Nothing here is durable, and nothing may be shown, yet.

    after: what to do as soon as the group is durable, in order.
    moved: committed seq by stream number. rejects: [seq, reason code] by stream number.
    span: least and greatest known time of all readings (ns).
    """

    def __init__(self, registry: Registry, windows: Windows, *, now: Now, rules: Rules) -> None:
        self.registry = registry
        self.windows = windows
        self.now = now
        self.rules = rules
        self.facts: list[f.Fact] = []
        self.entries: list[Entry] = []
        self.events: list[f.EventLogged] = []
        self.foldings: list[Folding] = []
        self.moved: dict[int, int] = {}
        self.rejects: dict[int, list[list[int]]] = {}
        self.due: set[f.RevisionDue] = set()
        self.after: list[Callable[[], object]] = []
        self.span: tuple[int, int] | None = None
        self.turned_away = 0
        self._times: NDArray[np.int64] | None = None
        self._newest = 0
        self._late = False

    def __bool__(self) -> bool:
        return bool(self.facts or self.entries or self.moved or self.after)

    def add(self, *facts: f.Fact) -> None:
        self.facts.extend(facts)

    # -- readings ---------------------------------------------------------------------------

    def readings(self, batch: Batch) -> None:
        """Readings of a message that is in the journal; those of closed windows are due."""
        for column in batch.columns:
            if len(column.t):
                self._column(column, batch)
        upstream = self.rules.upstream
        if self.rules.forward_readings and upstream is not None and len(batch):
            self.outgoing(upstream.readings, batch)

    def _column(self, column: Column, batch: Batch) -> None:
        series = self._series(column)
        if batch.clock is Clock.UNKNOWN:
            last = len(column.v) - 1
            self.foldings.append(Folding(series, None, column.v, batch.clock, last))
            return
        if column.t is not self._times:  # the columns of a message often share them
            self._look_at(column.t)
        self.foldings.append(Folding(series, column.t, column.v, batch.clock, self._newest))
        if self._late:
            self.late(series, column.t)

    def _look_at(self, t: NDArray[np.int64]) -> None:
        """Where the newest of these times stands, whether any is late, and the span of all."""
        self._times = t
        self._newest = newest(t)
        low, high = int(t.min()), int(t[self._newest])
        self._late = self.windows.is_closed(low)
        if self.span is not None:
            low, high = min(low, self.span[0]), max(high, self.span[1])
        self.span = low, high

    def late(self, series: Series, t: NDArray[np.int64]) -> None:
        """Note the closed windows that these readings fall into: they need a revision."""
        for due in self.windows.late(series.id, t):
            self.make_due(due)

    def make_due(self, due: f.RevisionDue) -> None:
        if due not in self.due:
            self.due.add(due)
            self.add(due)

    def _series(self, column: Column) -> Series:
        series = self.registry.series.get(column.key)
        if series is None:
            return self._new_series(column.key, column.unit)
        if column.unit and column.unit != series.unit:
            series.unit = column.unit
            self._learn(series)
        return series

    def _new_series(self, key: SeriesKey, unit: str) -> Series:
        device = self.device(key.device)
        series = Series(self.registry.number("series"), device, key, unit)
        self._learn(self.registry.add_series(series))
        return series

    def _learn(self, series: Series) -> None:
        key = series.key
        self.add(
            f.SeriesLearned(series.id, series.device.id, key.metric, series.unit, int(key.kind))
        )

    # -- devices ----------------------------------------------------------------------------

    def device(
        self, name: str, *, token_hash: str | None = None, speaks_for_others: bool = False
    ) -> Device:
        """The device of that name, added if it is new."""
        known = self.registry.devices.get(name)
        if known is not None:
            return known
        device = Device(self.registry.number("device"), name, token_hash=token_hash)
        device.speaks_for_others = speaks_for_others
        self.registry.add_device(device)
        self.add(f.DeviceAdded(device.id, name, token_hash, speaks_for_others, self.now.ms))
        return device

    def lose(
        self, stream: Stream, lost: tuple[int, int], *, reason: int, readings: int | None
    ) -> None:
        """Store a loss as a fact."""
        device = stream.device
        number = self.registry.number("loss")
        epoch = stream.epoch.hex()
        loss = f.Loss(number, device.id, epoch, *lost, reason, readings, self.now.ms)
        device.losses.append(loss)
        device.lost_readings += readings or 0
        self.add(loss)

    # -- what is published ------------------------------------------------------------------

    def publish(
        self,
        kind: str,
        device: str,
        body: dict[str, Any],
        *,
        metric: str | None = None,
        window: str | None = None,
    ) -> None:
        """Log an event; it is shown once the group is durable."""
        number = self.registry.number("event")
        event = f.EventLogged(number, self.now.ms, kind, device, metric, window, dump(body))
        self.events.append(event)
        self.add(event)

    def outgoing(self, build: Callable[..., f.OutboxPut], *content: Any) -> None:
        """Put a message for the broker into the outbox, unless that may not grow any more."""
        if self.rules.accepting():
            self.add(build(self.registry.number("outbox"), self.now.ms, *content))
        else:
            self.turned_away += 1
            day = self.now.ms // MS_PER_DAY
            self.add(f.Dropped(day, "outbox_full", "messages", 1, self.now.ms, self.now.ms))

    def summaries(self, made: Iterable[f.SummaryMade]) -> None:
        """Store and publish summaries, closed or revised."""
        for summary in made:
            series = self.registry.series_by_id[summary.series]
            key = series.key
            body = payload(
                summary, device=key.device, metric=key.metric, unit=series.unit, kind=key.kind
            )
            self.add(summary)
            self.publish("summary", key.device, body, metric=key.metric, window=summary.window)
            if self.rules.upstream:
                self.outgoing(self.rules.upstream.summary, body)

    def states(self) -> None:
        """Send the newest readings upstream as the devices' state."""
        fresh: dict[int, Device] = {}
        for series in self.registry.newest():
            if series.fresh:
                series.fresh = False
                fresh[series.device.id] = series.device
        if self.rules.upstream:
            for device in fresh.values():
                values = {series.key.metric: series.value for series in device.series}
                self.outgoing(self.rules.upstream.state, device.name, values)


def newest(t: NDArray[np.int64]) -> int:
    """Where the greatest time stands; of equal ones the last."""
    return len(t) - 1 - int(t[::-1].argmax())


def stored(series: Series) -> float | int | str:
    """A value as SQLite keeps it: a boolean as 0 or 1, a huge integer as a double."""
    if series.key.kind is Kind.BOOLEAN:
        return int(series.value)
    if isinstance(series.value, int) and series.value > INT64_MAX:
        return float(series.value)
    value: float | int | str = series.value
    return value
