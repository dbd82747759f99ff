"""A commit group: everything that waits becomes facts of one transaction.

A group is built in memory, in the order in which things arrived, against the registry and the
windows; the pipeline makes it durable and only then acknowledges, folds and publishes it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from gateway.core import facts as f
from gateway.core.clock import Now
from gateway.core.cutting import Readings
from gateway.core.entry import Entry
from gateway.core.readings import INT64_MAX, Batch, Clock, Column, Kind, SeriesKey, Times
from gateway.core.registry import Device, Registry, Stream
from gateway.core.series import Panel, Series
from gateway.core.shapes import Metric, Table
from gateway.core.summary import dump, encode, head, payload
from gateway.core.topics import Upstream
from gateway.core.windows import Windows

MS_PER_DAY = 86_400_000
PANELS_KEPT = 32


class Folding(NamedTuple):
    """Readings of series of one kind at the same times, to fold once they are durable.

    times: None if they are unknown. v: shape (series, times).
    """

    panel: Panel
    times: Times | None
    v: NDArray[Any]
    clock: Clock

    @classmethod
    def of(cls, series: Series, column: Column, clock: Clock) -> Self:
        """The readings of a column, at least one."""
        times = None if clock is Clock.UNKNOWN else Times.of(column.t)
        return cls(Panel((series,)), times, column.v[np.newaxis], clock)

    @property
    def series(self) -> tuple[Series, ...]:
        return self.panel.series

    def learn(self, latest: int = INT64_MAX) -> None:
        """Let the series know their newest reading."""
        t, at = (None, -1) if self.times is None else (self.times.high, self.times.newest)
        self.panel.learn(t, self.v[:, at].tolist(), self.clock, latest=latest)

    def readings(self) -> Readings | None:
        """What the windows take, if the time is known."""
        if self.times is None:
            return None
        return Readings(self.panel.numbers, self.series[0].key.kind, self.times.t, self.v)


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

    def __bool__(self) -> bool:
        return bool(self.facts or self.entries or self.moved or self.after)

    def add(self, *facts: f.Fact) -> None:
        self.facts.extend(facts)

    # -- readings ---------------------------------------------------------------------------

    def readings(self, batch: Batch) -> None:
        """Readings of a message that is in the journal; those of closed windows are due."""
        filled = [column for column in batch.columns if len(column.t)]
        for _, some in groupby(filled, _sort):
            columns = list(some)
            panel = Panel([self._series(column.key, column.unit) for column in columns])
            first = columns[0].v[np.newaxis]
            v = first if len(columns) == 1 else np.stack([column.v for column in columns])
            self._fold(panel, Times.of(columns[0].t), v, batch.clock)
        upstream = self.rules.upstream
        if self.rules.forward_readings and upstream is not None and len(batch):
            self.outgoing(upstream.readings, batch)

    def table(self, device: Device, table: Table, clock: Clock) -> None:
        """Readings of several messages and metrics of a device together."""
        panel = device.panels.get(table.metrics)
        if panel is None:
            panel = self._panel(device, table.metrics)
        if panel.checked != device.units:
            for one, (_, _, unit) in zip(panel.series, table.metrics, strict=True):
                if unit and unit != one.unit:
                    self._change_unit(one, unit)
            panel.checked = device.units
        self._fold(panel, table.times, table.v, clock)

    def _panel(self, device: Device, metrics: Sequence[Metric]) -> Panel:
        """The series of a device that messages alike bring, now and from now on."""
        if len(device.panels) >= PANELS_KEPT:
            device.panels.clear()
        panel = device.panels[metrics] = Panel(
            [
                self._series(SeriesKey(device.name, metric, kind), unit)
                for metric, kind, unit in metrics
            ]
        )
        return panel

    def _fold(self, panel: Panel, times: Times, v: NDArray[Any], clock: Clock) -> None:
        if clock is Clock.UNKNOWN:
            self.foldings.append(Folding(panel, None, v, clock))
            return
        self.foldings.append(Folding(panel, times, v, clock))
        t, low, high, _ = times
        if self.windows.is_closed(low):
            self.late(panel.numbers, t)
        if self.span is not None:
            low, high = min(low, self.span[0]), max(high, self.span[1])
        self.span = low, high

    def late(self, series: Sequence[int], t: NDArray[np.int64]) -> None:
        """Note the closed windows that readings of these series (row ids) fall into: they need a
        revision.
        """
        for due in self.windows.late(series, t):
            self.make_due(due)

    def make_due(self, due: f.RevisionDue) -> None:
        if due not in self.due:
            self.due.add(due)
            self.add(due)

    def _series(self, key: SeriesKey, unit: str) -> Series:
        series = self.registry.series.get(key)
        if series is None:
            return self._new_series(key, unit)
        if unit and unit != series.unit:
            self._change_unit(series, unit)
        return series

    def _change_unit(self, series: Series, unit: str) -> None:
        series.unit, series.head = unit, ""
        series.device.units += 1
        self._learn(series)

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
            device, metric, _ = series.key
            text = _payload(summary, series)
            number = self.registry.number("event")
            event = f.EventLogged(
                number, self.now.ms, "summary", device, metric, summary.window, text
            )
            self.events.append(event)
            self.add(summary, event)
            if self.rules.upstream:
                body: dict[str, Any] = {"dev": device, "m": metric, "w": summary.window}
                body |= {"t0": summary.t0, "t1": summary.t1, "rev": summary.rev}
                self.outgoing(self.rules.upstream.summary, body, text)

    def states(self, devices: Iterable[Device]) -> None:
        """Send the newest readings of devices upstream as their state."""
        for device in devices:
            for series in device.series:
                if series.panel is not None:
                    series.panel.fresh = False
            if self.rules.upstream:
                values = {series.key.metric: series.value for series in device.series}
                self.outgoing(self.rules.upstream.state, device.name, values)


def _payload(summary: f.SummaryMade, series: Series) -> str:
    device, metric, kind = series.key
    if kind is not Kind.NUMBER:
        body = payload(summary, device=device, metric=metric, unit=series.unit, kind=kind)
        return dump(body)
    if not series.head:
        series.head = head(device=device, metric=metric, unit=series.unit)
    return encode(summary, series.head)


def _sort(column: Column) -> tuple[int, Kind, np.dtype[Any]]:
    """What columns have in common that are folded together: the same times, for one."""
    return id(column.t), column.key.kind, column.v.dtype


def stored(series: Series) -> float | int | str:
    """A value as SQLite keeps it: a boolean as 0 or 1, a huge integer as a double."""
    if series.key.kind is Kind.BOOLEAN:
        return int(series.value)
    if isinstance(series.value, int) and series.value > INT64_MAX:
        return float(series.value)
    value: float | int | str = series.value
    return value
