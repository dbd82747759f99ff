"""One device's connection: the session over its WebSocket (docs/wire.md).

Lets the device introduce itself, hears what it sends, and tells it what is stored.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.arrivals import Arrivals, Intake
from gateway.core.claims import Claim
from gateway.core.clock import Now
from gateway.core.messages import (
    Ack,
    Bye,
    Dack,
    Error,
    Hello,
    Message,
    Need,
    Schema,
    Timesync,
    Welcome,
)
from gateway.core.registry import Device, Stream
from gateway.core.session import MAJOR, MINOR, REFUSED, Duplicate, Role, Session, State
from gateway.core.uplink import Arrival
from gateway.errors import CloseCode, ProtocolError, SessionError, WireError
from gateway.websocket import PING_S, WebSocket, errand

log = logging.getLogger(__name__)

SUBPROTOCOL = "sensorlink.v1"
HELLO_S = 10.0
REJECTS_AT_ONCE = 40
SIDS_AT_ONCE = 100
SMALLEST_MESSAGE = 128


class Door(Protocol):
    """Lets devices in, and sees them go."""

    def admit(self, hello: Hello, bearer: Device | None) -> None:
        """Raise SessionError (4501, 4502) unless this HELLO may be accepted."""

    async def claim(self, link: "Link", hello: Hello) -> Claim: ...

    def parted(self, link: "Link", bye: Bye | None) -> None: ...


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
        socket: WebSocket,
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
        self._arrivals: Arrivals | None = None
        self._rejects: list[list[int]] = []
        self._repeating = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._bye: Bye | None = None
        self.on_welcome: Callable[[], None] | None = None
        self.hello: Hello | None = None
        self.stream: Stream | None = None

    # -- life -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve the connection until it ends."""
        self._start(self._watch(), "link-watch")
        try:
            await self._socket.run(self._receive)
        except ProtocolError as error:
            await self.part(error.close_code, error.text)
        finally:
            self._drop()
            for task in list(self._tasks):
                task.cancel()
            self._door.parted(self, self._bye)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside the link; what outlives the link is still brought to its end."""
        errand(work, "link-errand")

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self) -> None:
        """Demand HELLO in time, then ping, and part from a device that fell silent."""
        await asyncio.sleep(HELLO_S)
        if self._session.state is State.OPENING:
            await self.part(CloseCode.NO_HELLO, f"no HELLO within {HELLO_S:.0f} s")
            return
        silence = await self._socket.ping()
        await self.part(CloseCode.SILENT, f"silent for {silence:.0f} s")

    def fence(self) -> None:
        """From now on take nothing from the device, and tell it no more than why."""
        self._socket.fenced = True
        self._drop()

    def _drop(self) -> None:
        """Nothing arrives any more."""
        if self._arrivals is not None:
            self._arrivals.drop()
            self._arrivals = None

    async def part(self, code: CloseCode, text: str, *, retry_ms: int | None = None) -> None:
        """Say ERROR where there is time, and close; a second call waits for the first."""
        self.fence()
        if self._socket.open:
            log.info("link closed", extra={"device": self.name, "code": int(code), "why": text})
        last = None
        if self._session.state is not State.PARTED:
            last = self._session.send(Error(code=int(code), text=text[:120], retry_ms=retry_ms))
        await self._socket.close(code, text, last=last)

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
        return self._session.state is State.LIVE and not self._socket.fenced

    # -- uplink -----------------------------------------------------------------------------

    def follow(self, data: bytes) -> int:
        """Take the messages at the beginning of `data`, frames of the socket, that are like some
        before them; how many bytes their frames have.
        """
        if self._arrivals is None:
            return 0
        taken = self._arrivals.follow(data)
        if taken:
            self._socket.heard = True
        return taken

    def _receive(self, data: bytes) -> CloseCode | None:
        """Take one message; BYE is the last."""
        if len(data) > self._terms.max_message:
            text = f"a message of {len(data)} bytes; at most {self._terms.max_message} are accepted"
            raise SessionError(CloseCode.TOO_BIG, text)
        if self._arrivals is not None and self._arrivals.follow_one(data):
            return None
        message = self._session.receive(data)
        match message:
            case None:
                pass
            case Hello():
                self._greet(message)
            case Schema():
                assert self._arrivals is not None
                self._arrivals.learn(message)
            case Timesync():
                self._answer(message)
            case Dack():
                assert self.stream is not None
                self._intake.handled(self.stream.device, message.handled)
            case Duplicate():
                self._acknowledge_soon()
            case Bye():
                self._bye = message
                return CloseCode.DONE
            case Error():
                pass
            case _:
                assert self._arrivals is not None
                self._arrivals.take(Arrival(message, data, self._clock()))
        return None

    def _greet(self, hello: Hello) -> None:
        if self.hello is not None and hello.device != self.hello.device:
            raise WireError(f"this connection is {self.hello.device}'s")
        self._door.admit(hello, self._bearer)
        self.hello = hello
        self._start(self._claim(hello), "link-claim")

    async def _claim(self, hello: Hello) -> None:
        """Claim the stream, then say WELCOME."""
        try:
            claim = await self._door.claim(self, hello)
        except ProtocolError as error:
            await self.part(error.close_code, error.text)
            return
        if self._socket.fenced or self._session.state is not State.CLAIMING:
            return
        if claim.stream is not None:
            self._open(claim.stream)
        self.send(self._welcome(claim, hello))
        for start in range(self._sids, len(claim.wanted), self._sids):
            self.send(Need(sids=claim.wanted[start : start + self._sids]))
        if self.on_welcome is not None and self.stream is not None:
            self.on_welcome()

    def _open(self, stream: Stream) -> None:
        self.stream = stream
        self._arrivals = Arrivals(
            self, stream, session=self._session, intake=self._intake, clock=self._clock
        )

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
            self._socket.write(self._session.acknowledge(committed, limit))
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
        if not self._socket.fenced:
            self._socket.write(self._session.send(message))
