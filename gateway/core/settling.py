"""Where streams and newest readings stand is written now and then, not with every commit.

Each journal row says how far it brings its streams, so their positions are a fold over the rows
since the last settlement, and so are the newest readings. What the next start must fold is
bounded in time and in rows.
"""

from collections.abc import Iterable

from gateway.core import facts as f
from gateway.core.clock import Now
from gateway.core.group import Group, stored
from gateway.core.readings import NS_PER_S
from gateway.core.registry import Registry

EVERY = 30 * NS_PER_S
MOST_ROWS = 256


class Settling:
    """Counts what was journalled since the last settlement.

    A settlement tells of the groups before the one that it is written with: only those are
    durable, acknowledged and learned.
    """

    def __init__(self) -> None:
        self._moved: set[int] = set()
        self._rows = 0
        self._row = 0
        self._since: int | None = None

    def folded(self, row: int, streams: Iterable[int]) -> None:
        """At the start rows up to `row` were folded: the next group settles them."""
        self._row, self._rows = row, MOST_ROWS
        self._moved.update(streams)

    def settle(self, group: Group) -> None:
        """Add to a complete group what has to be written with it; called once for each."""
        if self._since is None:
            self._since = group.now.mono
        if self._rows >= MOST_ROWS or group.now.mono - self._since >= EVERY:
            group.add(*self.positions(group.registry, group.now))
        self._count(group)

    def positions(self, registry: Registry, now: Now) -> list[f.Fact]:
        """Where all that was journalled so far leaves streams and series."""
        if not self._rows:
            return []
        streams = (registry.streams.get(number) for number in sorted(self._moved))
        moves = [f.StreamMoved(s.committed, s.touched, s.id) for s in streams if s is not None]
        latest = [series for series in registry.newest() if series.unsettled]
        for series in latest:
            if series.panel is not None:
                series.panel.unsettled = False
        self._moved.clear()
        self._rows, self._since = 0, now.mono
        return [
            f.MetaSet("settled_row", str(self._row)),
            *moves,
            *(f.SeriesLatest(s.t, stored(s), int(s.clock), s.id) for s in latest),
        ]

    def _count(self, group: Group) -> None:
        journalled: dict[int, int] = {}
        for entry in group.entries:
            journalled[entry.stream] = max(entry.last, journalled.get(entry.stream, 0))
        for stream, committed in group.moved.items():
            self._moved.add(stream)
            if journalled.get(stream) != committed:  # no journal row tells of this move
                group.add(f.StreamMoved(committed, group.now.ms, stream))
        for fact in group.facts:
            if isinstance(fact, f.JournalRow):
                self._row, self._rows = fact.id, self._rows + 1
