"""A server of event streams in a few lines, right by itself and wrong in one way on demand."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from tests.sse_conformance.server import Server

HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}


class Reference:
    """Publishes texts as they are, with ids 1, 2, 3 …; `fault` names what it does wrong."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.log: list[bytes] = []
        self.more = asyncio.Condition()

    async def publish(self, texts: Sequence[str]) -> None:
        for text in texts:
            async with self.more:
                self.log.append(self._block(len(self.log) + 1, text))
                self.more.notify_all()

    def _block(self, number: int, text: str) -> bytes:
        lines = text.split("\n") if self.fault == "cr" else re.split("\r\n|\r|\n", text)
        data = "".join(f"data: {line}\n" for line in lines)
        if self.fault == "id alone":
            return f"event: note\n{data}\nid: {number}\n\n".encode()
        unknown = "time: 5\n" if self.fault == "unknown field" else ""
        return f"id: {number}\n{unknown}event: note\n{data}\n".encode()

    def _begin(self, request: web.Request) -> int:
        header, query = request.headers.get("Last-Event-ID"), request.query.get("after")
        asked = (query or header) if self.fault == "query wins" else (header or query)
        if asked is None or not re.fullmatch("[0-9]{1,9}", asked, re.ASCII):
            if asked and self.fault == "400":
                raise web.HTTPBadRequest
            return len(self.log)
        off = {"again": -1, "forgets": 1}.get(self.fault, 0)
        return min(max(int(asked) + off, 0), len(self.log))

    async def serve(self, request: web.Request) -> web.StreamResponse:
        at = self._begin(request)
        response = web.StreamResponse(headers=HEADERS)
        if self.fault == "gzip":
            response.enable_compression(web.ContentCoding.gzip)
        await response.prepare(request)
        await response.write(b": ok\n\n")
        while True:
            async with self.more:
                while len(self.log) <= at:
                    await self.more.wait()
            known, at = at, len(self.log)
            await response.write(b"".join(self.log[known:at]))
            if self.fault == "late":
                await asyncio.sleep(0.01)
                at = len(self.log)


@asynccontextmanager
async def reference(fault: str = "") -> AsyncIterator[Server]:
    """The reference as a server under test."""
    there = Reference(fault)
    app = web.Application()
    app.router.add_get("/events", there.serve)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/events"
    try:
        yield Server(url, there, cursor_parameter="after")
    finally:
        await runner.cleanup()
