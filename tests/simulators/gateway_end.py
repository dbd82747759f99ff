"""A small scripted gateway: the other end of the table, over a real socket."""

import asyncio
import os
import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from gateway.core.messages import (
    Ack,
    Bye,
    Dack,
    Data,
    Error,
    Event,
    Gap,
    Hello,
    Message,
    Need,
    Result,
    Schema,
    Senml,
    Timesync,
    Welcome,
)  # fmt: skip
from gateway.core.session import Duplicate, Refused, Role, Session
from gateway.errors import ProtocolError


@dataclass
class Stream:
    """What is known of one (device, epoch)."""

    committed: int = 0
    schemas: dict[int, bytes] = field(default_factory=dict)


@dataclass
class Call:
    """One connection as the gateway saw it."""

    ws: web.WebSocketResponse
    session: Session = field(default_factory=lambda: Session(Role.GATEWAY))
    hellos: list[Hello] = field(default_factory=list)
    heard: list[Message] = field(default_factory=list)
    states: list[int] = field(default_factory=list)
    stream: Stream = field(default_factory=Stream)

    async def say(self, message: Message) -> None:
        await self.ws.send_bytes(self.session.send(message))

    def of(self, cls: type) -> list[Any]:
        return [message for message in self.heard if isinstance(message, cls)]


class GatewayEnd:
    """Listens on an ephemeral port; commits at once, acknowledges unless `mute`."""

    def __init__(self, *, token: str | None = None, window: int = 32) -> None:
        self.token = token
        self.window = window
        self.mute = False
        self.store_id = os.urandom(8)
        self.streams: dict[tuple[str, bytes], Stream] = {}
        self.calls: list[Call] = []
        self.committed: list[tuple[str, bytes, Message]] = []
        self.duplicates: list[int] = []
        self.refuse_next = 0
        self.before_welcome: Any = lambda: None
        self.close_with: int | None = None
        self.errors: list[ProtocolError] = []
        self._news = asyncio.Condition()

    async def __aenter__(self) -> "GatewayEnd":
        app = web.Application()
        app.router.add_get("/link", self._link)
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"ws://127.0.0.1:{self._runner.addresses[0][1]}/link"
        return self

    async def __aexit__(self, *_: object) -> None:
        for call in self.calls:
            if not call.ws.closed and call.ws._req is not None:
                transport = call.ws._req.transport
                if transport is not None:
                    transport.abort()
        await self._runner.cleanup()

    async def until(self, condition: Any) -> None:
        """Wait until `condition()` holds; looked at after each message."""
        async with asyncio.timeout(10), self._news:
            await self._news.wait_for(condition)

    def taken(self, cls: type) -> list[Any]:
        return [message for _, _, message in self.committed if isinstance(message, cls)]

    async def _link(self, request: web.Request) -> web.WebSocketResponse:
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            raise web.HTTPUnauthorized
        ws = web.WebSocketResponse(protocols=("sensorlink.v1",), compress=False, timeout=0.2)
        await ws.prepare(request)
        call = Call(ws)
        self.calls.append(call)
        if self.close_with is not None:
            await call.say(Error(code=self.close_with, text="as scripted", retry_ms=None))
            await ws.close(code=self.close_with)
            async with self._news:
                self._news.notify_all()
            return ws
        async for frame in ws:
            if frame.type is not WSMsgType.BINARY:
                break
            try:
                await self._take(call, frame.data)
            except ProtocolError as error:
                self.errors.append(error)
                await ws.close(code=int(error.close_code))
            async with self._news:
                self._news.notify_all()
        if not ws.closed:
            await ws.close(code=WSCloseCode.OK)
        async with self._news:
            self._news.notify_all()
        return ws

    async def _take(self, call: Call, data: bytes) -> None:
        message = call.session.receive(data)
        if message is not None:
            call.heard.append(message)
        match message:
            case Hello():
                await self._welcome(call, message)
            case Schema():
                call.stream.schemas[message.sid] = message.fingerprint
            case Timesync():
                now = time.time_ns() // 10**6
                await call.say(Timesync(t1=message.t1, t2=now, t3=now))
            case Duplicate():
                self.duplicates.append(message.seq)
                await self.ack(call)
            case Data() | Senml() | Event() | Result() | Gap() | Refused():
                await self._commit(call, message)
            case Bye() | Dack() | None:
                pass

    async def _commit(self, call: Call, message: Any) -> None:
        rejects = None
        if isinstance(message, Data) and message.sid not in call.stream.schemas:
            rejects = [[message.seq, 2]]
        call.stream.committed = getattr(message, "last", message.seq)
        hello = call.hellos[-1]
        self.committed.append((hello.device, hello.epoch, message))
        if not self.mute:
            await self.ack(call, rejects)

    async def ack(self, call: Call, rejects: Any = None) -> None:
        committed = call.stream.committed
        await call.say(Ack(committed=committed, limit=committed + self.window, rejects=rejects))

    async def need(self, call: Call, *sids: int) -> None:
        await call.say(Need(sids=list(sids)))

    async def _welcome(self, call: Call, hello: Hello) -> None:
        call.hellos.append(hello)
        self.before_welcome()
        self.before_welcome = lambda: None
        key = (hello.device, hello.epoch)
        state = 0
        if self.refuse_next:
            self.refuse_next -= 1
            self.streams.setdefault(key, Stream()).committed = hello.hi + 5
        stream = self.streams.get(key)
        if stream is None:
            state, stream = 1, self.streams.setdefault(key, Stream(hello.lo - 1))
        elif stream.committed > hello.hi:
            state = 3
        elif stream.committed < hello.lo - 1:
            state, stream.committed = 2, hello.lo - 1
        call.stream = stream
        call.states.append(state)
        wanted = [
            sid for sid, print_ in (hello.schemas or {}).items()
            if stream.schemas.get(sid) != print_
        ]  # fmt: skip
        await call.say(
            Welcome(
                version=[1, 0], store_id=self.store_id, state=state, committed=stream.committed,
                limit=0 if state == 3 else stream.committed + self.window, max_message=16384,
                unix_ms=time.time_ns() // 10**6, mono_ms=hello.mono_ms, ping_s=30,
                wanted=wanted or None, queued=None, ack_delay_ms=None,
            )
        )  # fmt: skip
