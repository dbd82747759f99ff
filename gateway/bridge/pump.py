"""The pump of one connection: rows of the outbox go out, a small window at a time."""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from dataclasses import replace

from gateway.bridge.feed import Feed
from gateway.bridge.ground import Ground
from gateway.bridge.inbox import Inbox
from gateway.core.broker import (
    BrokerError,
    Closed,
    Delivery,
    Link,
    Outgoing,
    Reply,
    Unsendable,
)
from gateway.core.facts import OutboxDone, OutboxPut, OutboxRefused
from gateway.core.letters import Letters
from gateway.core.outbox import BLAMING, WINDOW
from gateway.core.topics import OFFLINE, ONLINE
from gateway.errors import StoreError

log = logging.getLogger(__name__)

IDLE_S = 5.0
STORE_RETRY_S = 1.0
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
GOODBYE_S = 0.6


class Pump:
    """Sends until the connection ends or it is told to stop; the link reports to it."""

    def __init__(self, ground: Ground) -> None:
        self.inbox = Inbox(ground)
        self.ended: Closed | None = None
        self._ground = ground
        self._letters = Letters(ground.upstream.topics, ground.epoch)
        self._subscribed = False
        self._stopping = False
        self._stir = asyncio.Event()
        self._in_flight: dict[int, OutboxPut | None] = {}
        self._flying: set[int] = set()
        self._fresh: deque[Outgoing] = deque()
        self._again: deque[OutboxPut] = deque()
        self._paused_until = 0.0
        self._pauses = 0
        self._boundary = ground.number()  # no row has this number: older rows are backlog
        self._backlog, self._live = self._feeds(self._boundary)

    def _feeds(self, boundary: int) -> tuple[Feed, Feed]:
        outbox = self._ground.outbox
        return Feed(outbox, after=0, until=boundary), Feed(outbox, after=boundary)

    # -- what the link reports --------------------------------------------------------------

    def acked(self, mid: int, code: int, text: str) -> None:
        """The broker answered a message: it took it, or says why not."""
        row = self._in_flight.pop(mid, None)
        if row is not None:
            self._flying.discard(row.id)
        self._ground.stats.in_flight = len(self._in_flight)
        self._stir.set()
        if code >= Reply.UNSPECIFIED:
            self._count_refusal(code)
            self._refused(row, code, text)
            return
        self._ground.stats.acked += 1
        self._pauses = 0
        if row is not None:
            self._settle(row)
            self._done(row)

    def arrived(self, delivery: Delivery) -> None:
        self.inbox.put(replace(delivery, received=self._ground.clock().mono))
        if self.inbox.overflowed:
            self._stir.set()

    def closed(self, closed: Closed) -> None:
        self.ended = closed
        self._stir.set()

    # -- refusals ---------------------------------------------------------------------------

    def _count_refusal(self, code: int) -> None:
        refused = self._ground.stats.refused
        refused[code] = refused.get(code, 0) + 1

    def _refused(self, row: OutboxPut | None, code: int, text: str) -> None:
        if row is None:
            log.error("MQTT: the broker refuses a retained status: %s (0x%02x)", text, code)
        elif code == Reply.QUOTA:
            self._again.append(row)
            self._pause()
        else:
            self._strike(row, code, text)

    def _strike(self, row: OutboxPut, code: int, text: str) -> None:
        """Try the row again later, unless it was refused too often."""
        if self._ground.refusals.refuse(row.id, self._ground.seconds):
            self._bury(row, code, text)
        else:
            self._ground.suspects.clear(row.id)
            self._ground.post(OutboxRefused(code=code, dead=False, id=row.id))

    def _pause(self) -> None:
        delay = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self._pauses, 16))
        self._pauses += 1
        self._paused_until = self._ground.seconds + delay
        log.warning("MQTT: the broker's quota is used up; waiting %.0f s", delay)

    def _bury(self, row: OutboxPut, code: int, text: str) -> None:
        self._settle(row)
        self._ground.stats.dead += 1
        self._ground.post(OutboxRefused(code=code, dead=True, id=row.id))
        log.error(
            "MQTT: message %d for %s is given up and kept aside: %s (0x%02x)",
            row.id, row.topic[:200], text, code,
        )  # fmt: skip

    def _settle(self, row: OutboxPut) -> None:
        self._ground.recent.add(row.id)
        self._ground.refusals.settle(row.id)
        self._ground.suspects.clear(row.id)

    def _done(self, row: OutboxPut) -> None:
        self._ground.post(OutboxDone(done=0, id=row.id))  # the time is that of the commit

    # -- the turn ---------------------------------------------------------------------------

    def wake(self) -> None:
        """There may be new rows."""
        self._backlog.stir()
        self._live.stir()
        self._stir.set()

    def rewind(self) -> None:
        """Old rows may be open again: everything that is open now is backlog."""
        self._again.clear()
        self._ground.refusals.forget_times()
        self._backlog, self._live = self._feeds(self._ground.number())
        self._stir.set()

    def stop(self) -> None:
        self._stopping = True
        self._stir.set()

    @property
    def _going(self) -> bool:
        return self.ended is None and not self._stopping

    async def run(self, link: Link) -> None:
        """Say that we are here, then send rows until the end."""
        self._announce()
        try:
            while self._going:
                self._stir.clear()
                await self._fill(link)
                await self._rest()
                if self.inbox.overflowed:
                    log.warning("MQTT: more commands than fit; the broker will send them again")
                    link.abort()
        finally:
            self._ground.stats.in_flight = 0
        if self.ended is not None:
            self._blame(self.ended)

    async def take_commands(self, link: Link) -> None:
        """Subscribe, then take what comes; without a subscription the rest goes on."""
        topics = self._ground.upstream.topics
        try:
            await link.subscribe({topics.command_filter: True, topics.config_filter: False})
        except BrokerError as error:
            log.error("MQTT: %s", error)
        self._subscribed = True
        await self.inbox.run(link)

    def _announce(self) -> None:
        """Publish everything retained afresh: the broker may have lost it."""
        ground = self._ground
        ground.refusals.forget_times()
        self._fresh.append(self._letters.status(ONLINE))
        statuses = list(ground.statuses())
        ground.newest.restart((row.topic for row in statuses), self._boundary)
        self._fresh.extend(map(self._letters.retained, statuses))

    async def _fill(self, link: Link) -> None:
        """Send until the window is full or nothing is left to send."""
        wide = min(link.receive_maximum, WINDOW)
        try:
            while self._going and len(self._in_flight) < self._ground.suspects.window(wide):
                if self._fresh:
                    self._send_fresh(link)
                elif (row := await self._next()) is not None and self._going:
                    self._send(link, row)
                else:
                    return
        except StoreError as error:
            log.warning("MQTT: the outbox cannot be read: %s", error)
            self._paused_until = self._ground.seconds + STORE_RETRY_S

    async def _next(self) -> OutboxPut | None:
        """The row whose turn it is. Raises StoreError."""
        ground = self._ground
        if self._paused_until and ground.seconds < self._paused_until:
            return None
        if self._again:
            return self._again.popleft()
        while ground.refusals and (number := ground.refusals.due(ground.seconds)) is not None:
            for row in await ground.outbox.outbox_after(number - 1, 1, until=number):
                return row
            ground.refusals.settle(number)
        if ground.refusals.full:
            return None
        return await self._from_feeds()

    async def _from_feeds(self) -> OutboxPut | None:
        backlog, live = self._backlog, self._live  # a rewind during the reading puts others there
        old, new = await backlog.peek(), await live.peek()
        if old is not None and (new is None or self._ground.mix.backlog_next()):
            return backlog.take()
        return live.take() if new is not None else None

    async def _rest(self) -> None:
        """Wait until something happens, or until a refused row may be tried again."""
        now = self._ground.seconds
        times = [now + IDLE_S]
        if self._paused_until > now:
            times.append(self._paused_until)
        elif (retry := self._ground.refusals.next_at()) is not None:
            times.append(retry)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(times) - now)):
                await self._stir.wait()

    # -- sending ----------------------------------------------------------------------------

    def _send_fresh(self, link: Link) -> None:
        message = self._fresh.popleft()
        try:
            self._in_flight[link.publish(message)] = None
        except Unsendable as error:
            log.error("MQTT: %s: %s", message.topic, error)
        except BrokerError:
            return  # `closed` has been called, or is about to be

    def _send(self, link: Link, row: OutboxPut) -> None:
        """Send a row, unless nobody needs it any more."""
        ground, now = self._ground, self._ground.clock().ms
        if row.id in ground.recent or row.id <= ground.dropped or row.id in self._flying:
            return
        if row.expires is not None and row.expires <= now:
            ground.stats.expired += 1
            self._skip(row)
        elif ground.newest.outdated(row):
            ground.stats.outdated += 1
            self._skip(row)
        else:
            self._publish(link, row, now)

    def _skip(self, row: OutboxPut) -> None:
        self._settle(row)
        self._done(row)

    def _publish(self, link: Link, row: OutboxPut, now: int) -> None:
        if self._ground.newest.behind(row):
            row = row._replace(backfill=True)
        letter = self._letters.row(row, now)
        try:
            mid = link.publish(letter)
        except Unsendable as error:
            self._count_refusal(error.code)
            self._bury(row, error.code, str(error))
        except BrokerError:
            return  # the row is still on disk; `closed` has been called, or is about to be
        else:
            self._in_flight[mid] = row
            self._flying.add(row.id)
            self._ground.newest.sent(row, live=letter.topic == row.topic)
            self._ground.stats.sent += 1
            self._ground.stats.in_flight = len(self._in_flight)

    # -- the end ----------------------------------------------------------------------------

    def _blame(self, closed: Closed) -> None:
        """If a message made the broker hang up, find out which, and give it up at last."""
        rows = {row.id: row for row in self._in_flight.values() if row is not None}
        mute = self._ground.config.version == "3.1.1" and self._subscribed and closed.lost
        if not rows or not (closed.code in BLAMING or mute):
            return
        culprit = self._ground.suspects.blame(rows)
        if culprit is not None:
            code = Reply.UNSPECIFIED if closed.code is None else closed.code
            if self._ground.refusals.refuse(culprit, self._ground.seconds):
                self._bury(rows[culprit], code, f"the broker hangs up on it: {closed.text}")

    async def goodbye(self, link: Link) -> None:
        """Publish `offline`, since a clean end suppresses the last will, and disconnect."""
        await self._drain()
        full = len(self._in_flight) >= min(link.receive_maximum, WINDOW)
        try:
            mid = link.publish(self._letters.status(OFFLINE), qos=0 if full else 1)
            if not full:
                self._in_flight = {mid: None}
                await self._drain()
        except BrokerError:
            return  # the connection ended first: the last will says it
        await link.disconnect()

    async def _drain(self) -> None:
        """Give the broker a moment to answer what is in flight."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                while self._in_flight and self.ended is None:
                    self._stir.clear()
                    await self._stir.wait()
