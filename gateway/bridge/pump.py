"""The pump of one connection: rows of the outbox go out, a small window at a time."""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from dataclasses import replace

from gateway.bridge.ground import Ground
from gateway.bridge.inbox import Inbox
from gateway.bridge.queue import Queue
from gateway.bridge.verdicts import Verdicts
from gateway.core.broker import (
    BrokerError,
    Closed,
    Delivery,
    Link,
    Outgoing,
    Reply,
    Unsendable,
)
from gateway.core.facts import OutboxPut
from gateway.core.letters import Letters
from gateway.core.outbox import BLAMING, WINDOW
from gateway.core.topics import OFFLINE, ONLINE

log = logging.getLogger(__name__)

IDLE_S = 5.0
GOODBYE_S = 0.6


class Pump:
    """Sends until the connection ends or it is told to stop; the link reports to it."""

    def __init__(self, ground: Ground) -> None:
        self.inbox = Inbox(ground)
        self.ended: Closed | None = None
        self._ground = ground
        self._letters = Letters(ground.upstream.topics, ground.epoch)
        self._queue = Queue(ground)
        self._verdicts = Verdicts(ground)
        self._subscribed = False
        self._stopping = False
        self._stir = asyncio.Event()
        self._in_flight: dict[int, OutboxPut | None] = {}
        self._flying: set[int] = set()
        self._fresh: deque[Outgoing] = deque()

    # -- what the link reports --------------------------------------------------------------

    def acked(self, mid: int, code: int, text: str) -> None:
        """The broker answered a message: it took it, or says why not."""
        row = self._in_flight.pop(mid, None)
        if row is not None:
            self._flying.discard(row.id)
        self._ground.stats.in_flight = len(self._in_flight)
        self._stir.set()
        if code >= Reply.UNSPECIFIED:
            self._verdicts.count(code)
            self._refused(row, code, text)
            return
        self._ground.stats.acked += 1
        self._queue.flows()
        if row is not None:
            self._verdicts.done(row)

    def _refused(self, row: OutboxPut | None, code: int, text: str) -> None:
        if row is None:
            log.error("MQTT: the broker refuses a retained status: %s (0x%02x)", text, code)
        elif code == Reply.QUOTA:
            self._queue.put_off(row)
        else:
            self._verdicts.strike(row, code, text)

    def arrived(self, delivery: Delivery) -> None:
        self.inbox.put(replace(delivery, received=self._ground.clock().mono))
        if self.inbox.overflowed:
            self._stir.set()

    def closed(self, closed: Closed) -> None:
        self.ended = closed
        self._stir.set()

    # -- the turn ---------------------------------------------------------------------------

    def wake(self) -> None:
        """There may be new rows."""
        self._queue.stir()
        self._stir.set()

    def rewind(self) -> None:
        """Old rows may be open again."""
        self._queue.rewind()
        self._stir.set()

    def stop(self) -> None:
        self._stopping = True
        self._stir.set()

    @property
    def _going(self) -> bool:
        return self.ended is None and not self._stopping

    async def run(self, link: Link) -> None:
        """Say that we are here, then send rows until the end."""
        self._queue.rewind()
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
        ground.newest.restart((row.topic for row in statuses), self._queue.boundary)
        self._fresh.extend(map(self._letters.retained, statuses))

    async def _fill(self, link: Link) -> None:
        """Send until the window is full or nothing is left to send."""
        wide = min(link.receive_maximum, WINDOW)
        while self._going and len(self._in_flight) < self._ground.suspects.window(wide):
            if self._fresh:
                self._send_fresh(link)
            elif (row := await self._queue.next()) is not None and self._going:
                self._send(link, row)
            else:
                return

    async def _rest(self) -> None:
        """Wait until something happens, or until a row may be tried again."""
        now, then = self._ground.seconds, self._queue.next_at()
        pause = IDLE_S if then is None else min(IDLE_S, then - now)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, pause)):
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
            self._verdicts.done(row)
        elif ground.newest.outdated(row):
            ground.stats.outdated += 1
            self._verdicts.done(row)
        else:
            self._publish(link, row, now)

    def _publish(self, link: Link, row: OutboxPut, now: int) -> None:
        if self._ground.newest.behind(row):
            row = row._replace(backfill=True)
        letter = self._letters.row(row, now)
        try:
            mid = link.publish(letter)
        except Unsendable as error:
            self._verdicts.count(error.code)
            self._verdicts.bury(row, error.code, str(error))
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
                self._verdicts.bury(
                    rows[culprit], code, f"the broker hangs up on it: {closed.text}"
                )

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
