"""One device's connection: a WebSocket around the session (docs/wire.md).

Reads frames into the session, hands what comes out to the pipeline, and writes what it is told.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

from aiohttp import WSMsgType, web

from gateway.core.alike import Found, Shapes
from gateway.core.claims import Claim
from gateway.core.clock import Now
from gateway.core.data_shapes import DataShape
from gateway.core.frames import binary_frame
from gateway.core.layouts import read_schema
from gateway.core.messages import (
    Ack,
    Bye,
    Dack,
    Data,
    Error,
    Hello,
    Message,
    Need,
    Schema,
    Senml,
    Timesync,
    Welcome,
)
from gateway.core.registry import Device, Stream
from gateway.core.session import MAJOR, MINOR, REFUSED, Duplicate, Role, Session, State
from gateway.core.shapes import Burst
from gateway.core.uplink import Arrival, Uplink
from gateway.errors import CloseCode, ProtocolError, SessionError, WireError

log = logging.getLogger(__name__)

SUBPROTOCOL = "sensorlink.v1"
HELLO_S = 10.0
PING_S = 30
LOOKS_A_PING = 6
SILENCE_S = 75
MOMENT_NS = 1_000_000
HOLD_S = 10.5
CLOSE_S = 2.0
MOST_UNREAD = 256 * 1024
MOST_PINGS = 100
REJECTS_AT_ONCE = 40
SIDS_AT_ONCE = 100
SMALLEST_MESSAGE = 128

ERRANDS: set["asyncio.Task[None]"] = set()
"""Closings under way; they may outlive the link that began them."""


class Intake(Protocol):
    """What the link puts into the pipeline."""

    async def claim(self, link: "Link", hello: Hello) -> Claim: ...

    def learn(self, stream: Stream, schema: Schema) -> None: ...

    def take(self, peer: "Link", stream: Stream, arrival: Arrival | Burst) -> None: ...

    def came(self, size: int, *, hurry: bool) -> None: ...

    def sample(self, stream: Stream, device_ms: int) -> None: ...

    def handled(self, device: Device, seq: int) -> None: ...

    def parted(self, link: "Link", bye: Bye | None) -> None: ...

    def limit(self, committed: int, granted: int) -> int: ...


class Door(Protocol):
    """Decides who may come in."""

    def admit(self, hello: Hello, bearer: Device | None) -> None:
        """Raise SessionError (4501, 4502) unless this HELLO may be accepted."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the gateway tells every device."""

    store_id: bytes
    max_message: int
    ack_delay_ms: int


class Link:
    """The gateway's end of one connection."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        *,
        intake: Intake,
        door: Door,
        terms: Terms,
        clock: Callable[[], Now],
        bearer: Device | None = None,
    ) -> None:
        self._socket = socket
        self._intake = intake
        self._door = door
        self._terms = terms
        self._clock = clock
        self._bearer = bearer
        self._session = Session(Role.GATEWAY)
        self._uplink = Uplink({})
        self._shapes = Shapes()
        self._burst: Burst | None = None
        self._rejects: list[list[int]] = []
        self._repeating = False
        self._pings = 0
        self._alive = 0
        self._heard = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading: asyncio.Task[None] | None = None
        self._parting: asyncio.Task[None] | None = None
        self._bye: Bye | None = None
        self.on_welcome: Callable[[], None] | None = None
        self.hello: Hello | None = None
        self.stream: Stream | None = None
        self.fenced = False

    # -- life -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve the connection until it ends."""
        self._alive = self._clock().mono
        self._start(self._watch(), "link-watch")
        self._reading = asyncio.create_task(self._read(), name="link-read")
        try:
            await asyncio.wait({self._reading})
            await self._conclude(self._reading)
        finally:
            self._reading.cancel()
            self._uplink.drop()
            for task in list(self._tasks):
                task.cancel()
            self._intake.parted(self, self._bye)

    async def _conclude(self, reading: "asyncio.Task[None]") -> None:
        """Reading is over: answer what broke the protocol, and let a parting come to its end."""
        error = None if reading.cancelled() else reading.exception()
        if isinstance(error, ProtocolError):
            await self.part(error.close_code, error.text)
        elif error is not None:
            raise error
        if self._parting is not None:
            await asyncio.wait({self._parting})

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside the link; what outlives the link is still brought to its end."""
        task = asyncio.create_task(work, name="link-errand")
        ERRANDS.add(task)
        task.add_done_callback(ERRANDS.discard)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self) -> None:
        """Take frames until the socket ends or the device says BYE."""
        async for frame in self._socket:
            self._heard = True
            if self.fenced:
                continue
            match frame.type:
                case WSMsgType.BINARY:
                    message = self._receive(frame.data)
                    if isinstance(message, Bye):
                        self._bye = message
                        await self._socket.close(code=CloseCode.DONE)
                        return
                case WSMsgType.TEXT:
                    raise WireError("a text message; this protocol is binary")
                case WSMsgType.PING:
                    await self._pong(frame.data)
                case _:
                    pass

    async def _pong(self, payload: bytes) -> None:
        self._pings += 1
        if self._pings > MOST_PINGS:
            raise WireError(f"more than {MOST_PINGS} pings in {PING_S} s")
        await self._socket.pong(payload)

    async def _watch(self) -> None:
        """Demand HELLO in time, ping, and part from a device that fell silent."""
        await asyncio.sleep(HELLO_S)
        if self._session.state is State.OPENING:
            await self.part(CloseCode.NO_HELLO, f"no HELLO within {HELLO_S:.0f} s")
            return
        for beat in count():
            now = self._clock().mono
            self._alive = now if self._heard else self._alive
            self._heard = False
            silence = (now - self._alive) / 1e9
            if silence > SILENCE_S:
                await self.part(CloseCode.SILENT, f"silent for {silence:.0f} s")
                return
            if beat % LOOKS_A_PING == 0:
                self._pings = 0
                with suppress(ConnectionError):
                    await self._socket.ping(b"")
            await asyncio.sleep(PING_S / LOOKS_A_PING)

    async def part(self, code: CloseCode, text: str, *, retry_ms: int | None = None) -> None:
        """Say ERROR where there is time, and close; a second call waits for the first."""
        self.fenced = True
        if self._parting is None:
            work = self._part(code, text, retry_ms)
            self._parting = asyncio.create_task(work, name="link-part")
            ERRANDS.add(self._parting)
            self._parting.add_done_callback(ERRANDS.discard)
        await asyncio.wait({self._parting})

    async def _part(self, code: CloseCode, text: str, retry_ms: int | None) -> None:
        """Close, and read on until the device has closed too.

        To close with something unread resets the connection: the device would not learn why.
        The socket has room for one reader only.
        """
        if self._reading is not None and not self._reading.done():
            self._reading.cancel()
            await asyncio.wait({self._reading})
        if self._socket.closed:
            return
        log.info("link closed", extra={"device": self.name, "code": int(code), "why": text})
        try:
            async with asyncio.timeout(CLOSE_S):
                if self._session.state is not State.PARTED:
                    error = Error(code=int(code), text=text[:120], retry_ms=retry_ms)
                    await self._socket.send_bytes(self._session.send(error))
                await self._socket.close(code=code, message=text[:120].encode()[:120])
        except (TimeoutError, ConnectionError):
            self._abort()

    @property
    def _transport(self) -> asyncio.Transport | None:
        request = self._socket._req  # noqa: SLF001 - aiohttp has no public way to the socket
        return None if request is None else request.transport

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    @property
    def name(self) -> str:
        """The device's name, or "?" before HELLO."""
        return self.hello.device if self.hello else "?"

    @property
    def room(self) -> int:
        """Largest message that the device accepts."""
        return max(SMALLEST_MESSAGE, self.hello.max_message if self.hello else 1024)

    @property
    def live(self) -> bool:
        return self._session.state is State.LIVE and not self.fenced

    # -- uplink -----------------------------------------------------------------------------

    def follow(self, data: bytes) -> int:
        """Take the messages at the beginning of `data`, frames of the socket, that are like some
        before them; how many bytes their frames have.
        """
        at = 0
        while at < len(data) and (found := self._shapes.find(data, at)):
            count = self._follow(found)
            at += count * found.step
            if not count:
                break
        self._heard = self._heard or at > 0
        return at

    def _follow(self, found: Found) -> int:
        """Take as many of the messages as may come now; how many they are."""
        if self.stream is None or self.fenced or not self._uplink.idle:
            return 0
        shape, layout = found.shape, None
        if isinstance(shape, DataShape) and (layout := self.stream.layouts.get(shape.sid)) is None:
            return 0
        count = self._session.follow(found.first, found.n)
        if not count:
            return 0
        size = count * shape.size
        burst = self._burst
        if burst is None or burst.taken or burst.shape is not shape or self._over(burst):
            burst = self._burst = Burst(shape, layout, self._clock(), found.first)
            self._intake.take(self, self.stream, burst)
        burst.add(found.messages[:size], count)
        self._came(size, burst.last)
        return count

    def _over(self, burst: Burst) -> bool:
        """Whether what comes now came at another time than the burst, and that matters."""
        return burst.shape.brief and self._clock().mono - burst.at.mono > MOMENT_NS

    def _came(self, size: int, last: int) -> None:
        """Something waits; a device that used half of its limit should not wait for long."""
        assert self.stream is not None
        hurry = 2 * last >= self._session.limit + self.stream.committed
        self._intake.came(size, hurry=hurry)

    def _receive(self, data: bytes) -> Message | None:
        if len(data) > self._terms.max_message:
            text = f"a message of {len(data)} bytes; at most {self._terms.max_message} are accepted"
            raise SessionError(CloseCode.TOO_BIG, text)
        message = self._session.receive(data)
        match message:
            case None:
                pass
            case Hello():
                self._greet(message)
            case Schema():
                self._learn(message)
            case Timesync():
                self._answer(message)
            case Dack():
                assert self.stream is not None
                self._intake.handled(self.stream.device, message.handled)
            case Duplicate():
                self._acknowledge_soon()
            case Bye() | Error():
                pass
            case _:
                self._arrive(Arrival(message, data, self._clock()))
        return message

    def _greet(self, hello: Hello) -> None:
        if self.hello is not None and hello.device != self.hello.device:
            raise WireError(f"this connection is {self.hello.device}'s")
        self._door.admit(hello, self._bearer)
        self.hello = hello
        self._start(self._claim(hello), "link-claim")

    async def _claim(self, hello: Hello) -> None:
        """Claim the stream, then say WELCOME."""
        try:
            claim = await self._intake.claim(self, hello)
        except ProtocolError as error:
            await self.part(error.close_code, error.text)
            return
        if self.fenced or self._session.state is not State.CLAIMING:
            return
        self.stream = claim.stream
        self._uplink = Uplink(claim.stream.layouts if claim.stream else {})
        self.send(self._welcome(claim, hello))
        for start in range(self._sids, len(claim.wanted), self._sids):
            self.send(Need(sids=claim.wanted[start : start + self._sids]))
        if self.on_welcome is not None and self.stream is not None:
            self.on_welcome()

    @property
    def _sids(self) -> int:
        """How many sids a message for this device can name."""
        return min(SIDS_AT_ONCE, (self.room - SMALLEST_MESSAGE) // 3 + 8)

    def _welcome(self, claim: Claim, hello: Hello) -> Welcome:
        refused = claim.verdict.state == REFUSED
        committed = claim.verdict.committed
        return Welcome(
            version=[MAJOR, min(MINOR, hello.version[1])],
            store_id=self._terms.store_id,
            state=claim.verdict.state,
            committed=committed,
            limit=0 if refused else self._intake.limit(committed, 0),
            max_message=self._terms.max_message,
            unix_ms=self._clock().ms,
            mono_ms=hello.mono_ms,
            ping_s=PING_S,
            wanted=claim.wanted[: self._sids] or None,
            queued=None if refused else claim.device.downlink.waiting(),
            ack_delay_ms=self._terms.ack_delay_ms,
        )

    def _learn(self, schema: Schema) -> None:
        assert self.stream is not None
        layout = read_schema(schema)
        known = self.stream.layouts.get(schema.sid)
        if known is None:
            self._intake.learn(self.stream, schema)
            self._release()
        elif known.fingerprint != layout.fingerprint:
            raise WireError(f"schema {schema.sid} changed within the epoch")

    def _arrive(self, arrival: Arrival) -> None:
        for ready in self._uplink.take(arrival):
            self._pass_on(ready)
        wanted = self._uplink.wanted()
        if wanted:
            self.send(Need(sids=wanted))
            asyncio.get_running_loop().call_later(HOLD_S, self._release)

    def _release(self) -> None:
        if not self.fenced:
            for ready in self._uplink.release(self._clock()):
                self._pass_on(ready)

    def _pass_on(self, arrival: Arrival) -> None:
        assert self.stream is not None
        self._burst = None  # what comes later is taken later
        self._intake.take(self, self.stream, arrival)
        self._came(len(arrival.raw), arrival.last)
        if isinstance(arrival.message, Data | Senml):
            self._shapes.learn(arrival.raw, arrival.message)

    def _answer(self, question: Timesync) -> None:
        assert self.stream is not None
        received = self._clock().ms
        self._intake.sample(self.stream, question.t1)
        self.send(Timesync(t1=question.t1, t2=received, t3=self._clock().ms))

    # -- downlink ---------------------------------------------------------------------------

    def acknowledge(self, rejects: list[list[int]]) -> None:
        """What this connection sent is durable: tell the device, together with other news."""
        self._rejects.extend(rejects)
        if not self.live:
            return
        assert self.stream is not None
        committed = self.stream.committed
        limit = self._intake.limit(committed, self._session.limit)
        if not self._rejects:
            self._write(self._session.acknowledge(committed, limit))
        while self._rejects:
            most = min(REJECTS_AT_ONCE, (self.room - 64) // 16)
            some, self._rejects = self._rejects[:most], self._rejects[most:]
            self.send(Ack(committed=committed, limit=limit, rejects=some))

    def _acknowledge_soon(self) -> None:
        """Once for all that came twice at the same time."""
        if not self._repeating:
            self._repeating = True
            asyncio.get_running_loop().call_soon(self._repeat)

    def _repeat(self) -> None:
        self._repeating = False
        self.acknowledge([])

    def send(self, message: Message) -> None:
        """Write a message at once."""
        if not self.fenced:
            self._write(self._session.send(message))

    def _write(self, message: bytes) -> None:
        """Straight to the socket; a device that reads nothing for long is cut off."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size() > MOST_UNREAD:
            transport.abort()
        else:
            transport.write(binary_frame(message))
