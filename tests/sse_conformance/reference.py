"""A server of event streams in a few lines, right by itself and wrong in one way on demand."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from tests.sse_conformance.server import Server

HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
TOKEN = "Bearer right"


class Reference:
    """Publishes texts as they are, with ids 1, 2, 3 …; `fault` names what it does wrong."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.log: list[bytes] = []
        self.more = asyncio.Condition()
        self.sent = 0
        self.open = True
        self.broken = False

    async def publish(self, texts: Sequence[str]) -> None:
        for text in texts:
            async with self.more:
                self.log.append(self._block(len(self.log) + 1, text))
                self.more.notify_all()

    def _block(self, number: int, text: str) -> bytes:
        lines = text.split("\n") if self.fault == "cr" else re.split("\r\n|\r|\n", text)
        space = "" if self.fault == "eats a space" else " "
        data = "".join(f"data:{space}{line}\n" for line in lines)
        if self.fault == "id alone":
            return f"event: note\n{data}\nid: {number}\n\n".encode()
        ident = f"1:{number}" if self.fault == "a colon in ids" else str(number)
        unknown = "time: 5\n" if self.fault == "unknown field" else ""
        block = f"id: {ident}\n{unknown}event: note\n{data}\n"
        return (block.replace("\n", "\r\n") if self.fault == "crlf" else block).encode()

    def _begin(self, request: web.Request) -> int:
        header, query = request.headers.get("Last-Event-ID"), request.query.get("after")
        asked = (query or header) if self.fault == "query wins" else (header or query)
        if asked is None or not re.fullmatch("[0-9]{1,9}", asked, re.ASCII):
            if asked and self.fault == "400":
                raise web.HTTPBadRequest
            return len(self.log)
        if self.fault == "from what was sent":
            return self.sent
        off = {"again": -1, "forgets": 1}.get(self.fault, 0)
        return min(max(int(asked) + off, 0), len(self.log))

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self._check(request)
        at = self._begin(request)
        caching = {"Cache-Control": "max-age=60"} if self.fault == "cached" else {}
        response = web.StreamResponse(headers=HEADERS | caching)
        if self.fault == "gzip":
            response.enable_compression(web.ContentCoding.gzip)
        if self.fault == "late headers":
            await self._beyond(at)
        await response.prepare(request)
        if request.method == "HEAD" and self.fault != "waits at HEAD":
            return response
        await response.write(b"\xef\xbb\xbf: ok\n\n" if self.fault == "bom" else b": ok\n\n")
        try:
            await self._follow(response, at)
        except BaseException:
            self.broken = self.fault == "one ends all"
            raise
        return response

    def _check(self, request: web.Request) -> None:
        shown = request.headers.get("Authorization") == TOKEN
        if self.fault == "lets all in" or (shown and self.open):
            return
        raise web.HTTPUnauthorized

    async def _follow(self, response: web.StreamResponse, at: int) -> None:
        while await self._beyond(at):
            known, at = at, len(self.log)
            self.sent = at
            piece = b"".join(self.log[known:at])
            if self.fault == "in step":
                async with self.more:  # nobody is told until this one has taken it
                    await response.write(piece)
            else:
                await response.write(piece)
            if self.fault == "late":
                await asyncio.sleep(0.01)
                at = len(self.log)

    async def _beyond(self, at: int) -> bool:
        """Wait for more than this; False once it is over."""
        async with self.more:
            while len(self.log) <= at and self.goes_on:
                await self.more.wait()
        return self.goes_on

    @property
    def goes_on(self) -> bool:
        return not self.broken and (self.open or self.fault == "never looks again")

    async def close(self, _: web.Request) -> web.Response:
        """Nobody may look any more."""
        async with self.more:
            self.open = False
            self.more.notify_all()
        return web.Response()


@asynccontextmanager
async def reference(fault: str = "") -> AsyncIterator[Server]:
    """The reference as a server under test."""
    there = Reference(fault)
    app = web.Application()
    app.router.add_get("/events", there.serve)
    app.router.add_post("/close", there.close)
    if fault == "any method":
        app.router.add_route("PUT", "/events", there.serve)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/events"
    try:
        yield Server(url, there, headers={"Authorization": TOKEN}, cursor_parameter="after")
    finally:
        await runner.cleanup()
