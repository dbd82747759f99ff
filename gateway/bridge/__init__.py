"""The bridge to an MQTT broker: a second reader of the disk (docs/mqtt.md).

Rows of the outbox go up, commands come down. The outbox on disk is the queue; the broker's
troubles never touch the taking in of readings, and memory stays flat whatever waits.
"""

import asyncio
import logging
import random
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from gateway.bridge.ground import Accepted, Commands, Declined, Ground, Held, Outbox, Stats
from gateway.bridge.level import Level
from gateway.bridge.pump import Pump
from gateway.bridge.queue import META_BACKLOG
from gateway.bridge.session import META_SESSION, Session
from gateway.core.backoff import Backoff
from gateway.core.broker import (
    BrokerError,
    Closed,
    Connect,
    Connecting,
    Link,
    MqttConfig,
    Outgoing,
    parse_url,
)
from gateway.core.topics import OFFLINE, Upstream

__all__ = [
    "META_BACKLOG",
    "META_SESSION",
    "Accepted",
    "Bridge",
    "Commands",
    "Declined",
    "Ground",
    "Held",
    "Outbox",
    "Stats",
]

log = logging.getLogger(__name__)

T = TypeVar("T")
WATCH_S = 5.0


class Bridge:
    """Stays connected, pumps, and takes commands, until it is told to stop.

    wake: to be called after every commit that held OutboxPut facts.
    accepting: False while `reject_new` forbids new rows; tell `rejected` about each.
    """

    def __init__(
        self,
        ground: Ground,
        *,
        connect: Connect,
        backoff: Backoff | None = None,
        session: str | None = None,
        backlog: int = 0,
        full: bool = False,
    ) -> None:
        """session, backlog, full: what the last run left (`MetaSet`).

        Raises ConfigError for an unusable URL.
        """
        self.stats = ground.stats
        self._ground = ground
        ground.newest.overtaken = backlog
        self._connect = connect
        self._backoff = backoff or Backoff(random.random)
        self._stopping = asyncio.Event()
        self._pump: Pump | None = None
        self._complaint = ""
        self._settings = _connecting(ground.config, ground.upstream)
        self._level = Level(ground, full=full)
        name = f"{self._settings.address} {self._settings.client_id}"
        self._session = Session(ground, name=name, known=session)

    def wake(self) -> None:
        if self._pump is not None:
            self._pump.wake()

    def reopened(self) -> None:
        """Rows that were settled are open again, durably."""
        self._ground.reopened()
        if self._pump is not None:
            self._pump.rewind()

    def stop(self) -> None:
        """Make `run` say goodbye and return, within three seconds."""
        self._stopping.set()
        if self._pump is not None:
            self._pump.stop()

    @property
    def accepting(self) -> bool:
        return self._level.accepting

    def rejected(self, rows: int) -> None:
        """Rows were not put because the outbox is full."""
        self.stats.rejected += rows

    async def run(self) -> None:
        """Until `stop`; if it is cancelled, the broker publishes the last will."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._stay_connected(), name="mqtt-connection")
            tasks.create_task(self._watch(), name="mqtt-outbox")

    # -- the connection ---------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        while not self._stopping.is_set():
            self._pump = Pump(self._ground)
            closed = await self._one_connection(self._pump)
            self._pump = None
            if closed is None:
                return
            delay = self._backoff.lost(self._ground.seconds)
            self._complain(closed, delay)
            await self._pause(delay)

    async def _one_connection(self, pump: Pump) -> Closed | None:
        """How the connection ended; None if we are to stop."""
        try:
            link = await self._unless_stopped(self._connect(self._settings, pump))
        except BrokerError as error:
            return Closed(error.code, str(error))
        if link is None:
            return None
        self._connected()
        try:
            await self._session.begin(present=link.session_present)
            await self._serve(link, pump)
        finally:
            self._session.ended()
            self.stats.connected = False
            link.abort()
        return pump.ended if not self._stopping.is_set() else None

    async def _serve(self, link: Link, pump: Pump) -> None:
        async with asyncio.TaskGroup() as tasks:
            commands = tasks.create_task(pump.take_commands(link), name="mqtt-commands")
            await pump.run(link)
            commands.cancel()
        if self._stopping.is_set() and link.open:
            await pump.goodbye(link)

    def _connected(self) -> None:
        self._backoff.connected(self._ground.seconds)
        self.stats.connections += 1
        self.stats.connected = True
        self._complaint = ""
        log.info("MQTT: connected to %s", self._settings.address)

    def _complain(self, closed: Closed, delay: float) -> None:
        """The same trouble is worth one line, not one a minute."""
        level = logging.DEBUG if closed.text == self._complaint else logging.WARNING
        self._complaint = closed.text
        log.log(level, "MQTT: %s; trying again in %.1f s", closed.text, delay)

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The result of `work`, or None as soon as we are to stop."""
        task = asyncio.create_task(work, name="mqtt-connect")
        stop = asyncio.create_task(self._stopping.wait(), name="mqtt-stop")
        try:
            await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))
        return None if task.cancelled() else task.result()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    # -- the outbox -------------------------------------------------------------------------

    async def _watch(self) -> None:
        while not self._stopping.is_set():
            await self._level.look()
            await self._pause(WATCH_S)


def _connecting(config: MqttConfig, upstream: Upstream) -> Connecting:
    topics = upstream.topics
    return Connecting(
        address=parse_url(config.url or ""),
        client_id=f"{topics.root.replace('/', '-')}-{topics.gateway}",
        version=config.version,
        will=Outgoing(topic=topics.gateway_status, payload=OFFLINE, retain=True),
        username=config.username,
        password=config.password,
        ca_file=config.ca_file,
        cert_file=config.cert_file,
        key_file=config.key_file,
    )
