"""What a returning client missed: read from the event log, page by page, or refused."""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.core import sse
from gateway.core.backlog import Item
from gateway.core.facts import EventLogged
from gateway.core.parcel import SLICE
from gateway.subscriber import Limits, Subscriber

AT_ONCE = 2
RECENT_S = 1.0


class EventLog(Protocol):
    """The durable log behind the stream. Raises StoreError."""

    async def events_after(
        self, after: int, limit: int, *, until: int | None = None
    ) -> list[EventLogged]:
        """Events with `after` < id <= `until`, ascending, at most `limit`."""
        ...

    async def event_bounds(self) -> tuple[int, int]:
        """The oldest and the newest id; 0, 0 if the log is empty."""
        ...

    async def event_since(self, t_ms: int) -> int:
        """The id of the last event before that time, 0 if there is none."""
        ...


class Refused(Exception):
    """The log cannot be replayed from where the client asks: it gets a `gap` instead."""

    def __init__(self, reason: str, missed: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.missed = missed


class Replay:
    """Brings a subscriber from its cursor to the head at which it began to queue."""

    def __init__(
        self, log: EventLog, *, epoch: str, limits: Limits, clock: Callable[[], int]
    ) -> None:
        self._log = log
        self._epoch = epoch
        self._limits = limits
        self._clock = clock
        self._reading = asyncio.Semaphore(AT_ONCE)
        self._looking = asyncio.Lock()
        self._oldest = 0
        self._looked = -math.inf

    async def oldest(self, head: int) -> int:
        """The oldest seq that can be replayed; one past `head` if the log holds nothing."""
        return (await self._log.event_bounds())[0] or head + 1

    async def oldest_lately(self, head: int) -> int:
        """The same as it was at most a second ago: many clients that come at once ask once."""
        async with self._looking:
            now = asyncio.get_running_loop().time()
            if now - self._looked > RECENT_S:
                self._oldest, self._looked = await self.oldest(head), now
            return self._oldest

    async def from_id(self, subscriber: Subscriber, asked: str) -> None:
        """Replay everything after an id. Raises Refused."""
        cursor = sse.parse_id(asked)
        if cursor is None:
            raise Refused("malformed")
        if cursor.epoch != self._epoch:
            raise Refused("epoch")
        if cursor.seq > subscriber.joined:
            raise Refused("future")
        await self._from(subscriber, cursor.seq)

    async def from_time(self, subscriber: Subscriber, since: float) -> None:
        """Replay everything since a time in Unix milliseconds. Raises Refused."""
        if since > self._clock():
            subscriber.beat()
            return
        if since < self._clock() - self._limits.replay_seconds * 1000:
            raise Refused("bound")
        # An event has a whole millisecond: what is not before the fraction is after it.
        await self._from(subscriber, await self._log.event_since(-int(-since // 1)))

    async def _from(self, subscriber: Subscriber, after: int) -> None:
        head = subscriber.joined
        missed = head - after if subscriber.asked.filter.everything else None
        if after + 1 < await self.oldest(head):
            raise Refused("too_old", missed)
        if head - after > self._limits.replay_events:
            raise Refused("bound", missed)
        await self._measure(subscriber, after, head)
        while after < head and await subscriber.room():
            page = await self._page(after, head)
            await self._write(subscriber, page)
            after = page[-1].id if page else head

    async def _measure(self, subscriber: Subscriber, after: int, head: int) -> None:
        """Refuse before anything is written, without keeping more than a page in memory."""
        size = 0
        earliest = self._clock() - self._limits.replay_seconds * 1000
        missed = head - after if subscriber.asked.filter.everything else None
        while after < head:
            page = await self._page(after, head)
            size += sum(len(event.payload) for event in page if subscriber.wants(event))
            if (page and page[0].t < earliest) or size > self._limits.replay_bytes:
                raise Refused("bound", missed)
            after, earliest = page[-1].id if page else head, 0

    async def _page(self, after: int, head: int) -> Sequence[EventLogged]:
        async with self._reading:
            page = await self._log.events_after(after, self._limits.replay_page, until=head)
            oldest = await self.oldest(head)
        if after + 1 < oldest:  # removed while the page was read
            raise Refused("too_old")
        return page

    async def _write(self, subscriber: Subscriber, page: Sequence[EventLogged]) -> None:
        text = subscriber.asked.text
        items = [Item.of(event, self._epoch) for event in page if subscriber.wants(event)]
        rendered = [item.render(text=text) for item in items]
        size, begin = 0, 0
        for end, data in enumerate(rendered, 1):
            size += len(data)
            if size < SLICE and end < len(rendered):
                continue
            if not await subscriber.room():
                return
            subscriber.outlet.write(b"".join(rendered[begin:end]))
            size, begin = 0, end
