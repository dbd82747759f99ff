"""What tests of the event stream share: a log in memory, made-up events, a raw HTTP client."""

import asyncio
import json
import math
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from gateway.core.facts import EventLogged
from gateway.core.filters import BadQuery
from gateway.core.live import Live
from gateway.hub import Hub, Limits
from gateway.permit import PERMIT, Permit
from tests.sse_parser import Event, Parser

NOW = 1_732_380_000_000
EPOCH = "k3f9a2c1"
PATIENCE = 10
"""Seconds after which a test that waits in vain gives up."""


def summary(seq: int, *, device: str = "d1", metric: str = "m", window: str = "10s", **more: Any):
    """A summary event whose window begins `seq` seconds after NOW, unless `t0` is given."""
    payload = {"v": 1, "dev": device, "m": metric, "u": "Cel", "w": window}
    payload |= {"t0": NOW + seq * 1000, "t1": NOW + seq * 1000 + 10_000, "n": 2, "mean": 21.43}
    payload |= {"min": 21.1, "max": 21.9, "std": 0.2, "p50": 21.4, "p95": 21.8}
    payload |= {"first": 21.2, "last": 21.6} | more
    return EventLogged(seq, NOW + seq, "summary", device, metric, window, json.dumps(payload))


def status(seq: int, *, device: str = "d1", state: str = "online", **more: Any):
    payload = {"v": 1, "dev": device, "state": state, "t": NOW + seq} | more
    return EventLogged(seq, NOW + seq, "status", device, None, None, json.dumps(payload))


def alert(seq: int, *, device: str = "d1", name: str = "hot", state: str = "open", **more: Any):
    payload = {"v": 1, "dev": device, "name": name, "state": state, "t": NOW + seq} | more
    return EventLogged(seq, NOW + seq, "alert", device, None, None, json.dumps(payload))


DESIGN = Limits()


class MemoryLog:
    """The event log as a list. `delay` makes other tasks run during each read."""

    def __init__(self, events: Sequence[EventLogged] = ()) -> None:
        self.events = list(events)
        self.delay = False
        self.asked = 0
        self.at_once = 0
        self.most_at_once = 0

    async def events_after(self, after: int, limit: int, *, until: int | None = None):
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if self.delay:
            await asyncio.sleep(0)
        found = [e for e in self.events if e.id > after and (until is None or e.id <= until)]
        self.at_once -= 1
        return found[:limit]

    async def event_bounds(self) -> tuple[int, int]:
        self.asked += 1
        if self.delay:
            await asyncio.sleep(0)
        return (self.events[0].id, self.events[-1].id) if self.events else (0, 0)

    async def event_since(self, t_ms: int) -> int:
        return max((e.id for e in self.events if e.t < t_ms), default=0)


class Stand:
    """A hub behind a real server, and the log that it reads. All may look for `left` seconds."""

    def __init__(self, events: Sequence[EventLogged], limits: Limits, *, head: int) -> None:
        self.log = MemoryLog(events)
        self.now = NOW + 60_000
        self.left = math.inf
        self.hub = Hub(
            log=self.log,
            live=Live(events, head=head),
            epoch=EPOCH,
            gateway="gw-1",
            limits=limits,
            clock=lambda: self.now,
        )
        self.port = 0
        self.runner: web.AppRunner

    @property
    def connections(self) -> int:
        """How many connections are aiohttp's."""
        assert self.runner.server is not None
        return len(self.runner.server.connections)

    def publish(self, *events: EventLogged) -> None:
        self.log.events += events
        self.hub.publish(events)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        request[PERMIT] = Permit(lambda: self.left)
        try:
            return await self.hub.serve(request)
        except BadQuery as error:
            return web.Response(status=400, text=error.parameter)


@asynccontextmanager
async def stand(
    events: Sequence[EventLogged] = (),
    *,
    limits: Limits = DESIGN,
    head: int = 0,
    cancelling: bool = True,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Stand]:
    """Serve a hub on an ephemeral port of the loopback."""
    there = Stand(events, limits, head=head)
    app = web.Application()
    app.router.add_get("/events", there.serve)
    runner = web.AppRunner(app, handler_cancellation=cancelling, access_log=None)
    there.runner = runner
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    there.port = runner.addresses[0][1]
    try:
        yield there
    finally:
        await there.hub.close()
        await runner.cleanup()


class Client:
    """A raw HTTP client that reads one event stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = ""
        self.headers: dict[str, str] = {}
        self.parser = Parser()
        self.ended = False
        self._events: list[Event] = []

    @classmethod
    async def open(
        cls,
        port: int,
        query: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
        version: str = "1.1",
        paused: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> "Client":
        sock = socket.socket()
        if paused:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        name = None if tls is None else "127.0.0.1"
        reader, writer = await asyncio.open_connection(
            sock=sock, limit=2**16, ssl=tls, server_hostname=name
        )
        if paused:
            writer.transport.pause_reading()
        client = cls(reader, writer)
        lines = [f"{method} /events{query} HTTP/{version}", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        return client

    async def head(self) -> "Client":
        """Read the status line and the headers."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        self.status = lines[0]
        pairs = (line.partition(": ") for line in lines[1:] if line)
        self.headers = {name.lower(): value for name, _, value in pairs}
        return self

    async def _more(self) -> None:
        if self.headers.get("transfer-encoding") == "chunked":
            size = int((await self.reader.readuntil(b"\r\n")).strip(), 16)
            data = await self.reader.readexactly(size + 2)
            assert data.endswith(b"\r\n")
            self.ended = size == 0
            self._events += self.parser.feed(data[:-2])
        else:
            data = await self.reader.read(65536)
            self.ended = not data
            self._events += self.parser.feed(data)

    async def next(self) -> Event:
        """The next event. Raises EOFError once the stream is over."""
        async with asyncio.timeout(PATIENCE):
            if not self.headers:
                await self.head()
            while not self._events:
                if self.ended:
                    raise EOFError
                await self._more()
        return self._events.pop(0)

    async def take(self, count: int) -> list[Event]:
        return [await self.next() for _ in range(count)]

    async def until(self, name: str) -> list[Event]:
        """All events up to the next one of this name, which is the last."""
        found = [await self.next()]
        while found[-1].name != name:
            found.append(await self.next())
        return found

    async def rest(self) -> list[Event]:
        """All events until the stream is over."""
        found = []
        while True:
            try:
                found.append(await self.next())
            except EOFError:
                return found

    def resume(self) -> None:
        """Begin to read what a client that was opened `paused` was sent."""
        self.writer.transport.resume_reading()

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:  # cut, or TLS that was not ended as it should be
            return
