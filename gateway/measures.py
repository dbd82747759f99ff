"""What the gateway measures of itself, for `/metrics` (docs/operations.md lists every name)."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.process_collector import ProcessCollector

from gateway.core.facts import Loss
from gateway.core.group import Group

ACK_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0)


class Waited(Protocol):
    """Anything that arrived at a time, from a peer, and waited for its acknowledgement."""

    @property
    def peer(self) -> Any: ...

    @property
    def arrival(self) -> Any: ...


class Measures:
    """Counters and gauges, in a registry of their own."""

    def __init__(self, mono: Callable[[], int] = time.monotonic_ns) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._mono = mono
        self.messages = self._counter("messages", "Sequenced messages committed")
        self.readings = self._counter("readings", "Readings committed")
        self.rejected = self._counter("rejected_messages", "Messages rejected and acknowledged")
        self.lost = self._counter("lost_records", "Losses stored as facts")
        self.commits = self._counter("commits", "Transactions made durable")
        self.commit_failures = self._counter("commit_failures", "Commits that had to be retried")
        self.summaries = self._counter("summaries", "Summaries stored, revisions included")
        self.revisions = self._counter("revisions", "Summaries made again because of late readings")
        self.events = self._counter("events", "Events logged")
        self.commit_seconds = self._histogram("commit_seconds", "Time that a commit took")
        self.ack_seconds = self._histogram(
            "ack_seconds",
            "Time from arrival to acknowledgement, of the first message of each device in a commit",
        )
        ProcessCollector(registry=self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"gateway_{name}", text, registry=self.registry)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(f"gateway_{name}", text, registry=self.registry, buckets=ACK_BUCKETS)

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A value that is read when somebody asks for it."""
        Gauge(f"gateway_{name}", text, registry=self.registry).set_function(read)

    @contextmanager
    def commit(self, group: Group) -> Iterator[None]:
        """Time one commit; count it if it succeeds."""
        begun = self._mono()
        yield
        self.commit_seconds.observe((self._mono() - begun) / 1e9)
        self.commits.inc()
        self.events.inc(len(group.events))
        self.lost.inc(sum(isinstance(fact, Loss) for fact in group.facts))
        self.rejected.inc(sum(map(len, group.rejects.values())))

    def acknowledged(self, group: Group, sent: Sequence[Waited]) -> None:
        """Count what a group acknowledged, and how long the first of each connection waited."""
        now = self._mono()
        self.messages.inc(sum(item.arrival.count for item in sent))
        self.readings.inc(sum(entry.readings * entry.alike for entry in group.entries))
        for item in {item.peer: item for item in reversed(sent)}.values():
            self.ack_seconds.observe((now - item.arrival.at.mono) / 1e9)
