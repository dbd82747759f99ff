"""Another client of the broker: it keeps everything that it is sent, under one session."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.core.broker import (
    BrokerError,
    Closed,
    Connecting,
    Delivery,
    Link,
    Outgoing,
    parse_url,
)
from gateway.mqtt import connect

AGAIN_S = 0.02


class Subscriber:
    """Comes back whenever the broker does; `ready` while it is subscribed."""

    def __init__(self, port: int, *filters: str) -> None:
        self.got: list[Delivery] = []
        self.ready = asyncio.Event()
        self.link: Link | None = None
        self._filters = dict.fromkeys(filters, True)
        self._closed = asyncio.Event()
        self._settings = Connecting(
            address=parse_url(f"mqtt://127.0.0.1:{port}"),
            client_id="subscriber",
            version="5",
            will=Outgoing(topic="subscriber", payload=b""),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Subscriber"]:
        task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait([task])
            if self.link is not None:
                self.link.abort()

    async def _run(self) -> None:
        while True:
            self._closed.clear()
            try:
                self.link = await connect(self._settings, self)
                await self.link.subscribe(self._filters)
            except BrokerError:
                await asyncio.sleep(AGAIN_S)
                continue
            self.ready.set()
            await self._closed.wait()
            self.ready.clear()

    def acked(self, mid: int, code: int, text: str) -> None: ...

    def arrived(self, delivery: Delivery) -> None:
        self.got.append(delivery)
        asyncio.get_running_loop().call_soon(self._acknowledge, self.link, delivery.mid)

    def _acknowledge(self, link: Link | None, mid: int) -> None:
        link = link or self.link
        if link is not None:
            link.acknowledge(mid)

    def closed(self, _: Closed) -> None:
        self._closed.set()

    def publish(self, message: Outgoing) -> None:
        assert self.link is not None
        self.link.publish(message)

    def numbered(self) -> list[tuple[int, str, bytes]]:
        """Outbox id, topic and payload of every message that has an id."""
        return [(int(d.user["id"]), d.topic, d.payload) for d in self.got if "id" in d.user]
