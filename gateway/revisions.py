"""Revisions: closed windows that late readings fell into are summarised again from the disk.

The due windows are facts, stored with the readings that made them due and taken back together
with the revision, so a crash repeats a revision rather than forget it.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np

from gateway import folding
from gateway.core import facts as f
from gateway.core.clock import Now
from gateway.core.group import Group
from gateway.core.readings import NS_PER_MS
from gateway.core.registry import Registry
from gateway.core.windows import Window, Windows, summarise
from gateway.errors import StoreError
from gateway.folding import fold_stored
from gateway.measures import Measures
from gateway.pipeline import Pipeline
from gateway.store.rows import SummaryPage

log = logging.getLogger(__name__)

PAUSE_S = 0.5
RETRY_S = 5.0
RIPEN_S = 1.5
MOST_CELLS = 2000


class Store(folding.Store, Protocol):
    """What revisions read."""

    async def summaries(
        self, *, window: str, since_ms: int, until_ms: int, cursor: str | None = None
    ) -> SummaryPage: ...


class Span(NamedTuple):
    """A stretch of time (ns) with everything that is due in it, and the age of each due."""

    since: int
    until: int
    cells: dict[f.RevisionDue, int]


class Revisions:
    """What is due, oldest first; one slice of it at a time."""

    def __init__(
        self,
        *,
        store: Store,
        pipeline: Pipeline,
        windows: Sequence[Window],
        lateness: int,
        clock: Callable[[], Now],
        measures: Measures,
    ) -> None:
        """`lateness` in ns."""
        self._lateness = lateness
        self._clock = clock
        self._store = store
        self._pipeline = pipeline
        self._registry: Registry = pipeline.registry
        self._windows = {window.name: window for window in windows}
        self._measures = measures
        self._due: dict[f.RevisionDue, int] = {}
        self._age = 0
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._due)

    def add(self, cells: Iterable[f.RevisionDue]) -> None:
        """Note what became due; a revision under way is void if its cell is named again.

        Called when a group is built and again when it is durable: only a reading of the disk
        that begins after that sees all of it.
        """
        self._age += 1
        for cell in cells:
            if cell.window in self._windows:
                self._due[cell] = self._age
        if self._due:
            self._news.set()

    async def run(self) -> None:
        """Revise for ever, a slice at a time, with a pause so that live data goes first."""
        while True:
            await self._news.wait()
            await asyncio.sleep(PAUSE_S)
            if not self._due:
                self._news.clear()
            elif ripe := self._ripe():
                await self._slice(self._oldest(ripe))
            else:
                await asyncio.sleep(RIPEN_S)

    def _ripe(self) -> dict[f.RevisionDue, int]:
        """What is due of windows that are over by the gateway's clock, lateness included.

        After the clock went back windows are closed that have yet to come or to end. And a window
        that is closed is told of first.
        """
        settled = self._pipeline.windows.settled
        over = min(self._clock().unix - self._lateness, settled) // NS_PER_MS
        ends = {name: window.length // NS_PER_MS for name, window in self._windows.items()}
        return {due: age for due, age in self._due.items() if due.t0 + ends[due.window] <= over}

    async def _slice(self, span: Span) -> None:
        try:
            made = await self._fold(span)
            revs = await self._revs(span)
        except StoreError as error:
            log.error("revisions wait: %s", error)
            await asyncio.sleep(RETRY_S)
            return
        await self._pipeline.submit(partial(self._publish, span, made, revs))

    def _oldest(self, ripe: dict[f.RevisionDue, int]) -> Span:
        """The oldest due window, widened to the longest due window around it."""
        first = min(ripe, key=lambda due: due.t0)
        t0 = first.t0 * NS_PER_MS
        places = {(due.window, due.t0) for due in ripe}
        around = [
            window
            for window in self._windows.values()
            if (window.name, window.start(t0) // NS_PER_MS) in places
        ]
        longest = max(around, key=lambda window: window.length)
        since = longest.start(t0)
        until = since + longest.length
        cells = {
            due: age
            for due, age in ripe.items()
            if since <= due.t0 * NS_PER_MS
            and due.t0 * NS_PER_MS + self._windows[due.window].length <= until
        }
        return Span(since, until, dict(list(cells.items())[:MOST_CELLS]))

    async def _fold(self, span: Span) -> dict[f.RevisionDue, f.SummaryMade]:
        """Summaries of all due cells, folded from the disk in bounded memory."""
        series = {due.series for due in span.cells}
        windows = Windows(list(self._windows.values()), 0, span.since)
        await fold_stored(
            self._store, self._registry, windows, since=span.since, until=span.until, series=series
        )
        closed = windows.close(span.until)
        made = {_cell(summary): summary for summary in closed.summaries}
        for due in closed.from_disk:
            if due in span.cells and (summary := await self._exact(due)) is not None:
                made[due] = summary
        return made

    async def _exact(self, due: f.RevisionDue) -> f.SummaryMade | None:
        """A window of booleans or text that has more changes than a cell keeps."""
        window, since = self._windows[due.window], due.t0 * NS_PER_MS
        pieces = [
            found
            async for found in self._store.readings(
                since_ns=since, until_ns=since + window.length, series={due.series}
            )
        ]
        if not pieces:
            return None
        t = np.concatenate([piece.run.t for piece in pieces])
        v = np.concatenate([piece.run.v for piece in pieces])
        kind = self._registry.series_by_id[due.series].key.kind
        return summarise(kind, t, v, series=due.series, window=window, t0=since)

    async def _revs(self, span: Span) -> dict[f.RevisionDue, f.SummaryMade]:
        """What was published of the due cells before."""
        known: dict[f.RevisionDue, f.SummaryMade] = {}
        for name in {due.window for due in span.cells}:
            cursor = None
            while True:
                page = await self._store.summaries(
                    window=name,
                    since_ms=span.since // NS_PER_MS,
                    until_ms=span.until // NS_PER_MS,
                    cursor=cursor,
                )
                known.update({_cell(row.summary): row.summary for row in page.rows})
                cursor = page.cursor
                if cursor is None:
                    break
        return known

    def _publish(
        self,
        span: Span,
        made: dict[f.RevisionDue, f.SummaryMade],
        known: dict[f.RevisionDue, f.SummaryMade],
        group: Group,
    ) -> None:
        """Publish what is still true; what became due again meanwhile waits for its turn."""
        settled = [due for due, age in span.cells.items() if self._due.get(due) == age]
        revised = [
            revision
            for due in settled
            if (revision := _revise(made.get(due), known.get(due))) is not None
        ]
        group.summaries(sorted(revised, key=lambda summary: (summary.t1, summary.t0)))
        for due in settled:
            group.add(f.RevisionDone(*due))
            del self._due[due]
        self._measures.revisions.inc(len(revised))


def _cell(summary: f.SummaryMade) -> f.RevisionDue:
    return f.RevisionDue(summary.window, summary.t0, summary.series)


def _revise(made: f.SummaryMade | None, known: f.SummaryMade | None) -> f.SummaryMade | None:
    """The revision to publish, None if nothing changed.

    Fewer readings than before are what retention left of them: the summary stays as it was.
    """
    if made is None or known is None:
        return made
    if made.n < known.n:
        return None
    if made._replace(rev=known.rev) == known:
        return None
    return made._replace(rev=known.rev + 1)
