"""A device's WebSocket: silence, too many pings, and how it is closed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from gateway import websocket
from gateway.core.clock import Now
from gateway.core.readings import NS_PER_S
from gateway.errors import CloseCode, WireError
from gateway.websocket import WebSocket
from tests.faults.devices import until


class End:
    """The gateway's end, with a clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0
        self.looks = 0
        self.came: list[bytes] = []
        self.socket: WebSocket

    def clock(self) -> Now:
        self.looks += 1
        return Now(0, self.seconds * NS_PER_S)

    def receive(self, message: bytes) -> CloseCode | None:
        self.came.append(message)
        return CloseCode.DONE if message == b"bye" else None

    async def looked(self) -> None:
        """Silence was looked at twice."""
        before = self.looks
        await until(lambda: self.looks > before + 1)


@asynccontextmanager
async def connected(
    end: End, serve: Callable[[WebSocket], Awaitable[object]]
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async def answer(request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse(autoping=False, timeout=2.0)
        await response.prepare(request)
        end.socket = WebSocket(response, clock=end.clock)
        await serve(end.socket)
        return response

    app = web.Application()
    app.router.add_get("/", answer)
    async with (
        TestServer(app) as server,
        aiohttp.ClientSession() as http,
        http.ws_connect(server.make_url("/"), autoping=False) as client,
    ):
        yield client


async def said(client: aiohttp.ClientWebSocketResponse) -> bytes | None:
    """The gateway's next message; None: it closes. Its pings stay without an answer."""
    while (frame := await client.receive()).type in (WSMsgType.PING, WSMsgType.PONG):
        pass
    return frame.data if frame.type is WSMsgType.BINARY else None


async def test_silence_is_counted_from_what_was_heard_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(websocket, "PING_S", 0)
    end = End()
    silences = list[float]()

    async def serve(socket: WebSocket) -> None:
        reading = asyncio.create_task(socket.run(end.receive))
        silences.append(await socket.ping())
        await socket.close(CloseCode.SILENT, "silent", last=None)
        await reading

    async with connected(end, serve) as client:
        await until(lambda: end.looks > 1)
        end.seconds = 70
        await client.send_bytes(b"here")
        await until(lambda: bool(end.came))
        await end.looked()
        end.seconds = 70 + websocket.SILENCE_S
        await end.looked()
        assert silences == []
        end.seconds += 1
        assert await said(client) is None
    assert client.close_code == CloseCode.SILENT
    assert silences == [websocket.SILENCE_S + 1]


async def test_a_last_message_is_answered_with_the_code_that_it_asks_for() -> None:
    end = End()
    async with connected(end, lambda socket: socket.run(end.receive)) as client:
        for message in (b"one", b"bye", b"more"):
            await client.send_bytes(message)
        assert await said(client) is None
    assert client.close_code == CloseCode.DONE
    assert end.came == [b"one", b"bye"]


async def test_too_many_pings_are_malformed() -> None:
    end, errors = End(), list[str]()

    async def serve(socket: WebSocket) -> None:
        try:
            await socket.run(end.receive)
        except WireError as error:
            errors.append(error.text)
            await socket.close(error.close_code, error.text, last=b"why")

    async with connected(end, serve) as client:
        for _ in range(websocket.MOST_PINGS + 1):
            await client.ping()
        assert await said(client) == b"why"
        assert await said(client) is None
    assert client.close_code == CloseCode.MALFORMED
    assert errors == ["more than 100 pings in 30 s"]


async def test_what_is_fenced_is_passed_over_and_closed_once() -> None:
    end = End()

    async def serve(socket: WebSocket) -> None:
        reading = asyncio.create_task(socket.run(end.receive))
        await until(lambda: bool(end.came))
        socket.fenced, socket.heard = True, False
        await until(lambda: socket.heard)
        await asyncio.gather(
            socket.close(CloseCode.TAKEN_OVER, "first", last=b"why"),
            socket.close(CloseCode.RESTART, "second", last=b"again"),
        )
        await reading

    async with connected(end, serve) as client:
        await client.send_bytes(b"one")
        await until(lambda: hasattr(end, "socket") and end.socket.fenced)
        await client.send_str("passed over, though it is text")
        assert await said(client) == b"why"
        assert await said(client) is None
    assert client.close_code == CloseCode.TAKEN_OVER
    assert end.came == [b"one"]
    assert not end.socket.open
