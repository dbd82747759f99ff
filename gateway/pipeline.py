"""The order of things, from intake to page: written here, and only here.

    intake → one commit for everything that waits → ack → fold → publish

Shells put arrivals and changes in; both wait in one bounded queue (`waiting`), in the order in
which they came. Each turn takes all of it (of very much the oldest part), makes it durable as one
transaction, and only then tells anyone. A crash between two steps loses nothing: at the next
start the windows are folded again from disk.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from gateway.core import facts as f
from gateway.core.clock import Now
from gateway.core.group import Group, Rules
from gateway.core.registry import Device, Registry, Stream
from gateway.core.series import Series
from gateway.core.settling import Settling
from gateway.core.shapes import Burst
from gateway.core.take import Taker, latest
from gateway.core.windows import Windows
from gateway.crashpoints import reached
from gateway.errors import StoreError, StoreFull, StoreUnavailable
from gateway.measures import Measures
from gateway.store.journal import pack
from gateway.waiting import Sent, Waiting

log = logging.getLogger(__name__)

RETRY_S = 1.0
MOST_CLOSED = 500
"""Summaries of one turn: more would hold up acknowledgements."""
CLOCK_MS = 600_000


class Committer(Protocol):
    """The one thing that the pipeline asks of the store."""

    async def commit(self, facts: Sequence[f.Fact]) -> None:
        """Make all facts durable as one transaction, or none of them."""


class Audience(Protocol):
    """Whoever is shown what became durable."""

    def publish(self, events: Sequence[f.EventLogged]) -> None: ...

    def publish_readings(self, readings: Iterable[Series]) -> None: ...


class Pipeline(Waiting):
    """The one writer's only customer: takes in what shells put in, turn by turn."""

    def __init__(
        self,
        *,
        store: Committer,
        registry: Registry,
        windows: Windows,
        audience: Audience,
        clock: Callable[[], Now],
        rules: Rules,
        interval_s: float,
        measures: Measures,
    ) -> None:
        super().__init__(interval_s)
        self.registry = registry
        self.windows = windows
        self._store = store
        self._audience = audience
        self._clock = clock
        self._rules = rules
        self._measures = measures
        self._settling = Settling()
        self._due: Callable[[Iterable[f.RevisionDue]], None] = lambda _: None
        self._ticks: Sequence[Callable[[Group], object]] = ()
        self._outgoing: Callable[[], None] = lambda: None
        self._committed: Callable[[StoreError | None], None] = lambda _: None
        self._judge: Callable[[Group], object] = lambda _: None
        self._sent: list[Sent] = []
        self._marked: tuple[int, ...] = ()
        self._clocked = 0
        self._fresh: list[Device] = []
        self.trouble: str | None = None
        self.turns = 0
        self._stopping = False

    def attach(
        self,
        *,
        taker: Taker,
        due: Callable[[Iterable[f.RevisionDue]], None],
        ticks: Sequence[Callable[[Group], object]],
        outgoing: Callable[[], None],
        committed: Callable[[StoreError | None], None],
        judge: Callable[[Group], object] = lambda _: None,
    ) -> None:
        """Complete the circle: who takes messages apart, who revises, who looks at the clock.

        `due` is told of late windows when a group is built and when it is durable; each of
        `ticks` may add to every group, four times a second at least; `outgoing` is called when
        there is something new for the broker; `committed` after every try of a commit, with its
        error or None; `judge` is given every group once it is durable and folded.
        """
        self._taker, self._due, self._ticks = taker, due, ticks
        self._outgoing, self._committed, self._judge = outgoing, committed, judge

    def folded(self, row: int) -> None:
        """At the start: journal rows up to `row` were folded again."""
        self._settling.folded(row, self.registry.streams)

    @property
    def busy(self) -> bool:
        """Whether so much waits that other work should."""
        return self.trouble is not None or self.pressing

    # -- the turn ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Turn until `stop`."""
        while not self._stopping:
            await self.gather()
            self.turns += 1
            await self.turn()

    def stop(self) -> None:
        """Let `run` end with the turn that it is in."""
        self._stopping = True
        self.hurry()

    async def finish(self) -> None:
        """After the end of `run`: bring what was taken to its end.

        Raises StoreError if it cannot be stored; it was not acknowledged then.
        """
        while self.more:
            await self.turn()
        self.post(*self._settling.positions(self.registry, self._clock()))
        await self.turn()

    async def turn(self) -> None:
        """One way for all data: commit, acknowledge, fold, publish."""
        group = self._build()
        if not group:
            return
        await self._commit(group)
        self._acknowledge(group)
        reached("commit.acknowledged")
        self._fold(group)
        self._judge(group)
        reached("commit.folded")
        self._publish(group)
        reached("commit.published")

    def _build(self) -> Group:
        """Close what was due when the oldest of what waits came, then take it in order.

        So no reading is late only because it had to wait for its commit.
        """
        group = Group(self.registry, self.windows, now=self._clock(), rules=self._rules)
        came = self.oldest_at or group.now
        self._close_windows(group, min(came.unix, group.now.unix))
        for tick in self._ticks:
            tick(group)
        intake, posted = self.taken()
        group.add(*posted)
        if self.windows.closing or self._fresh:  # the next turn is to come soon
            self.hurry()
        self._sent = [item for item in intake if isinstance(item, Sent)]
        self._taker.prepare(group, list(_bursts(self._sent)))
        for item in intake:
            if isinstance(item, Sent):
                self._taker.take(group, item.stream, item.arrival)
            else:
                item(group)
        self._due(group.due)
        return group

    def _close_windows(self, group: Group, now: int) -> None:
        goes_on = self.windows.closing
        closed = self.windows.close(now, MOST_CLOSED)
        group.summaries(closed.summaries)
        if closed.summaries and not goes_on:
            self._fresh = self.registry.fresh()
        group.states(self._fresh[:MOST_CLOSED])
        del self._fresh[:MOST_CLOSED]
        far = self.windows.shed(group.now.unix + self._rules.max_skew)
        for due in (*closed.from_disk, *sorted(far)):
            group.make_due(due)
        self._measures.summaries.inc(len(closed.summaries))

    def _mark(self, group: Group) -> None:
        """Store how far windows are closed, with the first facts that rest on it.

        A reading is late by the watermark of its group: the two must never be parted by a crash.
        With it goes the time, if it is trusted, for the next start to compare its clock with.
        """
        mark = self.windows.mark()
        if mark != self._marked:
            self._marked = mark
            group.add(f.MetaSet("watermark_ns", str(self.windows.settled)))
        if group.now.sure and group.now.ms // CLOCK_MS != self._clocked:
            self._clocked = group.now.ms // CLOCK_MS
            group.add(f.MetaSet("clock_ms", str(group.now.ms)))

    async def _commit(self, group: Group) -> None:
        """Make the group durable. While the disk has no room it is tried again, unchanged."""
        facts = self._facts(group)
        while True:
            try:
                with self._measures.commit(group):
                    await self._store.commit(facts)
            except (StoreFull, StoreUnavailable) as error:
                if self.trouble is None:
                    log.error("nothing can be committed; devices keep their data: %s", error)
                self.trouble = str(error)
                self._committed(error)
                self._measures.commit_failures.inc()
                self.turns += 1
                if self._stopping:
                    raise
                await asyncio.sleep(RETRY_S)
            else:
                if self.trouble is not None:
                    log.warning("commits work again")
                self.trouble = None
                self._committed(None)
                return

    def _facts(self, group: Group) -> list[f.Fact]:
        self._mark(group)
        if group.entries:
            group.add(self._row(group))
        self._settling.settle(group)
        return group.facts

    def _row(self, group: Group) -> f.JournalRow:
        row = self.registry.number("journal")
        header, body, crc = pack(group.entries)
        low, high = group.span or (None, None)
        readings = sum(entry.readings * entry.alike for entry in group.entries)
        return f.JournalRow(row, group.now.ms, low, high, readings, header, crc, body)

    # -- after the commit -------------------------------------------------------------------

    def _acknowledge(self, group: Group) -> None:
        for stream_id, committed in group.moved.items():
            stream = self.registry.streams.get(stream_id)
            if stream is not None:
                stream.committed = committed
                stream.device.last_seen = group.now.ms
        for peer, stream in {item.peer: item.stream for item in self._sent}.items():
            peer.acknowledge(group.rejects.get(stream.id, []))
        self._measures.acknowledged(group, self._sent)

    def _fold(self, group: Group) -> None:
        limit = latest(group)
        for folding in group.foldings:
            folding.learn(limit)
        known = [one for folding in group.foldings if (one := folding.readings()) is not None]
        if known and group.span is not None:
            self.windows.fold(known, until=group.span[1])
        self._due(group.due)

    def _publish(self, group: Group) -> None:
        self._audience.publish(group.events)
        self._audience.publish_readings(
            series for folding in group.foldings for series in folding.series
        )
        for then in group.after:
            then()
        if group.turned_away:
            self._rules.turned_away(group.turned_away)
        if any(isinstance(fact, f.OutboxPut) for fact in group.facts):
            self._outgoing()


def _bursts(sent: Iterable[Sent]) -> Iterator[tuple[Stream, Burst]]:
    """The bursts among what came; from now on they do not grow."""
    for item in sent:
        if isinstance(item.arrival, Burst):
            item.arrival.taken = True
            yield item.stream, item.arrival
