"""Which row of the outbox is sent next."""

import logging
from collections import deque

from gateway.bridge.feed import Feed
from gateway.bridge.ground import Ground
from gateway.core.facts import MetaSet, OutboxPut
from gateway.errors import StoreError

log = logging.getLogger(__name__)

STORE_RETRY_S = 1.0
META_BACKLOG = "mqtt_backlog"
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0


class Queue:
    """Rows to try again come first, then backlog and live rows in turn.

    boundary: no row has this number; older rows are backlog. It is on the disk before any newer
    row is, and so before one overtakes the backlog: a restart must know which may be overtaken.
    """

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._again: deque[OutboxPut] = deque()
        self._paused_until = 0.0
        self._pauses = 0
        self._begin()

    def _begin(self) -> None:
        outbox, self.boundary = self._ground.outbox, self._ground.number()
        self._backlog = Feed(outbox, after=0, until=self.boundary)
        self._live = Feed(outbox, after=self.boundary)

    def stir(self) -> None:
        """There may be new rows."""
        self._backlog.stir()
        self._live.stir()

    def rewind(self) -> None:
        """Begin anew: everything that is open now is backlog."""
        self._again.clear()
        self._ground.refusals.forget_times()
        self._begin()
        self._ground.post(MetaSet(META_BACKLOG, str(self.boundary)))

    # -- pauses -----------------------------------------------------------------------------

    def put_off(self, row: OutboxPut) -> None:
        """The broker's quota is used up: wait, longer each time, and begin with this row."""
        self._again.append(row)
        delay = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self._pauses, 16))
        self._pauses += 1
        self._paused_until = self._ground.seconds + delay
        log.warning("MQTT: the broker's quota is used up; waiting %.0f s", delay)

    def flows(self) -> None:
        """The broker takes messages: the next pause is a short one again."""
        self._pauses = 0

    def next_at(self) -> float | None:
        """When to look again though nothing happens; None: no row waits for a time."""
        if self._paused_until > self._ground.seconds:
            return self._paused_until
        return self._ground.refusals.next_at()

    # -- the next row -----------------------------------------------------------------------

    async def next(self) -> OutboxPut | None:
        """The row whose turn it is, None if there is none now."""
        if self._paused_until and self._ground.seconds < self._paused_until:
            return None
        if self._ground.reopening:
            return None
        try:
            return await self._next()
        except StoreError as error:
            log.warning("MQTT: the outbox cannot be read: %s", error)
            self._paused_until = self._ground.seconds + STORE_RETRY_S
            return None

    async def _next(self) -> OutboxPut | None:
        refusals, outbox = self._ground.refusals, self._ground.outbox
        if self._again:
            return self._again.popleft()
        while refusals and (number := refusals.due(self._ground.seconds)) is not None:
            for row in await outbox.outbox_after(number - 1, 1, until=number):
                return row
            refusals.settle(number)
        if refusals.full:
            return None
        return await self._from_feeds()

    async def _from_feeds(self) -> OutboxPut | None:
        backlog, live = self._backlog, self._live  # a rewind during the reading puts others there
        old, new = await backlog.peek(), await live.peek()
        if old is not None and (new is None or self._ground.mix.backlog_next()):
            return backlog.take()
        return live.take() if new is not None else None
