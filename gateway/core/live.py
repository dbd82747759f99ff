"""What a snapshot shows: the newest state of everything, as a fold over the logged events."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import msgspec

from gateway.core.facts import EventLogged
from gateway.core.filters import Filter

CHUNK_ROWS = 200
AHEAD_MS = 60_000
"""A summary that begins so long after its gateway's time was made before the clock went back."""
ENDED = frozenset({"closed", "ok", "plenty"})
"""States of an alert that is over."""

SummaryKey = tuple[str, str, str]
"""Device, metric, window."""


class Newest(NamedTuple):
    """The newest reading of a series: `t` in Unix ms, None if unknown; `u` the SenML unit."""

    dev: str
    m: str
    u: str
    t: float | None
    value: float | str | bool
    clock: str


class _Summary(msgspec.Struct):
    t0: float = 0
    t1: float = 0


class _Alert(msgspec.Struct):
    name: str | int = ""
    state: str = "closed"


_read_summary = msgspec.json.Decoder(_Summary).decode
_read_alert = msgspec.json.Decoder(_Alert).decode


def summary_key(event: EventLogged) -> SummaryKey | None:
    """What a summary conflates by; None for any other event."""
    if event.kind != "summary":
        return None
    return event.device, event.metric or "", event.window or ""


def summary_start(event: EventLogged) -> float:
    """`t0` of a summary's payload, Unix milliseconds."""
    return _read_summary(event.payload).t0


class Chunk(NamedTuple):
    """Some rows of a snapshot, each the payload (JSON text) of its newest event."""

    summaries: list[str]
    statuses: list[str]
    alerts: list[str]
    more: bool

    def json(self) -> str:
        """The payload of a `snapshot` event."""
        return (
            f'{{"v":1,"summaries":[{",".join(self.summaries)}],"status":[{",".join(self.statuses)}]'
            f',"alerts":[{",".join(self.alerts)}],"more":{"true" if self.more else "false"}}}'
        )


class Snapshot(NamedTuple):
    """Payloads (JSON text) of everything that a filter lets pass."""

    summaries: list[str]
    statuses: list[str]
    alerts: list[str]

    def chunks(self, rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
        """Cut into chunks of at most `rows` rows, at least one; only the last has `more` unset."""
        ends = len(self.summaries), len(self.summaries) + len(self.statuses)
        every = list(chain(*self))
        for start in range(0, max(1, len(every)), rows):
            stop = start + rows
            yield Chunk(
                every[start : min(stop, ends[0])],
                every[max(start, ends[0]) : min(stop, ends[1])],
                every[max(start, ends[1]) : stop],
                more=stop < len(every),
            )


class Live:
    """The newest state, kept in memory.

    `head` is the number of the newest event that was applied. A summary is replaced by one of the
    same or a later window only, so the revision of an older window changes nothing here; one that
    lies in the future, since the clock went back, gives way to any. An alert is open until one of
    the same device, metric and `name` comes whose `state` says that it is over.
    """

    def __init__(self, events: Iterable[EventLogged] = (), *, head: int = 0) -> None:
        """Load the state from events: the newest of every key is enough."""
        self._summaries: dict[SummaryKey, tuple[float, EventLogged]] = {}
        self._windows: dict[tuple[str, str], set[str]] = {}
        self._statuses: dict[str, EventLogged] = {}
        self._alerts: dict[tuple[str, str | None, str | int], EventLogged] = {}
        self.head = 0
        for event in events:
            self.apply(event)
        self.head = max(head, self.head)

    def apply(self, event: EventLogged) -> None:
        """Take in one event."""
        key = summary_key(event)
        if key is not None:
            self._summary(key, event)
        elif event.kind == "status":
            self._statuses[event.device] = event
        elif event.kind == "alert":
            self._alert(event)
        self.head = max(self.head, event.id)

    def forget(self, device: str) -> None:
        """Drop a removed device's status and alerts; what it measured stays."""
        self._statuses.pop(device, None)
        for key in [key for key in self._alerts if key[0] == device]:
            del self._alerts[key]

    def _summary(self, key: SummaryKey, event: EventLogged) -> None:
        start = summary_start(event)
        known = self._summaries.get(key)
        if known is None or start >= known[0] or 0 < event.t < known[0] - AHEAD_MS:
            self._summaries[key] = start, event
            self._windows.setdefault(key[:2], set()).add(key[2])

    def _alert(self, event: EventLogged) -> None:
        alert = _read_alert(event.payload)
        if alert.state not in ENDED:
            self._alerts[event.device, event.metric, alert.name] = event
        else:
            self._alerts.pop((event.device, event.metric, alert.name), None)

    def summaries(self, where: Filter) -> list[str]:
        """Payloads of the newest summaries that pass."""
        return [event.payload for _, event in self._summaries.values() if where.matches(event)]

    def newest_summary(self, device: str, metric: str) -> str | None:
        """The payload of the summary that ends last; of the shortest window if several do."""
        windows = self._windows.get((device, metric), ())
        ends = []
        for window in windows:
            start, event = self._summaries[device, metric, window]
            end = _read_summary(event.payload).t1
            ends.append((end, start, event.payload))
        return max(ends)[2] if ends else None

    def snapshot(self, where: Filter) -> Snapshot:
        """Everything that passes, as of `head`."""
        return Snapshot(
            self.summaries(where),
            [event.payload for event in self._statuses.values() if where.matches(event)],
            [event.payload for event in self._alerts.values() if where.matches(event)],
        )
