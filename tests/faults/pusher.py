"""A device that pushes long readings for as long as it may, and remembers what it was told."""

import asyncio
import base64
import os
import time
from contextlib import suppress
from typing import Any

import aiohttp
import cbor2

from tests.wire_client import WireClient, new_epoch

TEXT = [{0: "note", 2: 1}]
ACK, HELLO_AGAIN_S = 3, 0.1


class Pusher:
    """Its readings are texts that begin with their sequence number.

    acknowledged: highest seq in an ACK or a WELCOME. limit: of the connection that there is.
    acks: (committed, limit) of every ACK since the newest WELCOME. closed: the newest close code.
    """

    def __init__(self, name: str, *, size: int) -> None:
        self.name = name
        self.size = size
        self.epoch = new_epoch()
        self.queue: dict[int, dict[int, Any]] = {}
        self.last = 0
        self.acknowledged = 0
        self.limit = 0
        self.acks: list[tuple[int, int]] = []
        self.closed: int | None = None
        self.connections = 0
        self.pongs = 0
        self.socket: aiohttp.ClientWebSocketResponse | None = None

    @property
    def idle(self) -> bool:
        """Nothing may be sent, and all that was is acknowledged."""
        return self.acknowledged == self.last == self.limit

    def _next(self, seq: int) -> dict[int, Any]:
        if seq > self.last:
            self.last = seq
            text = f"{seq} {base64.b64encode(os.urandom(self.size)).decode()}"
            now = int(time.time() * 1000)
            self.queue[seq] = {0: 16, 1: seq, 2: 1, 3: now, 5: [text], 7: 0}
        return self.queue[seq]

    def _freed(self, committed: int) -> None:
        assert self.acknowledged <= committed <= self.last
        self.acknowledged = committed
        for seq in [seq for seq in self.queue if seq <= committed]:
            del self.queue[seq]

    async def live(self, url: str) -> None:
        """Push until cancelled, over as many connections as it takes."""
        while True:
            with suppress(OSError, TimeoutError, aiohttp.ClientError):
                await self._visit(url)
            await asyncio.sleep(HELLO_AGAIN_S)

    async def _visit(self, url: str) -> None:
        async with WireClient(url, self.name, autoping=False) as client:
            self.socket = client.socket
            lo = min(self.queue, default=self.last + 1)
            welcome = await client.hello(self.epoch, lo, self.last)
            self.closed = client.closed
            if not welcome:
                return
            self.connections += 1
            self._freed(welcome[5])
            self.limit, self.acks = welcome[6], []
            await client.schema(fields=TEXT)
            sent = welcome[5]
            while not client.socket.closed:
                while sent < self.limit:
                    sent += 1
                    await client.send(self._next(sent))
                await self._listen(client)
            self.closed = client.socket.close_code

    async def _listen(self, client: WireClient) -> None:
        frame = await client.socket.receive()
        match frame.type:
            case aiohttp.WSMsgType.PING:
                await client.socket.pong(frame.data)
            case aiohttp.WSMsgType.PONG:
                self.pongs += 1
            case aiohttp.WSMsgType.BINARY:
                message = cbor2.loads(frame.data)
                if message[0] == ACK:
                    self._freed(message[2])
                    self.acks.append((message[2], message[3]))
                    self.limit = max(self.limit, message[3])
            case _:
                pass

    async def ping(self) -> None:
        """Ping the gateway, and wait for its answer."""
        assert self.socket is not None
        before = self.pongs
        await self.socket.ping(b"?")
        await until(lambda: self.pongs > before, "no pong")


async def until(condition: Any, what: str, *, patience: float = 60.0) -> None:
    """Wait until `condition()` holds; fails with `what` after `patience` seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.05)


def check_stored(rows: list[dict[str, Any]], pushers: list[Pusher]) -> None:
    """Every acknowledged reading is stored once, and nothing that was never sent."""
    for pusher in pushers:
        numbers = [int(row["v"].partition(" ")[0]) for row in rows if row["dev"] == pusher.name]
        assert numbers == list(range(1, len(numbers) + 1))
        assert pusher.acknowledged <= len(numbers) <= pusher.last
