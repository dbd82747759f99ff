"""One connection of a device, from HELLO to the parting."""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aiohttp import ClientError, ClientWebSocketResponse, WSMsgType

from gateway.core.messages import (
    Ack,
    Bye,
    Command,
    Config,
    Dack,
    Data,
    Error,
    Hello,
    Message,
    Need,
    Timesync,
    Welcome,
)
from gateway.core.session import NEW, REFUSED, Role, Session, State
from gateway.errors import CloseCode, ProtocolError, SessionError
from simulators.clocks import true_now
from simulators.obedience import adopt, obey, result
from simulators.spool import Entry

if TYPE_CHECKING:
    from simulators.device import Device

VERSION = [1, 0]
SILENCE_PINGS = 2.5
WELCOME_S = 60.0
BYE_DONE, BYE_SLEEP, BYE_RESTART = 0, 1, 2
REBOOTS = "reboots"
GONE = "the connection is gone"


@dataclass(frozen=True, slots=True)
class Parting:
    """How a connection ended. `code` is the close code, None if the socket just went away."""

    code: int | None = None
    text: str = GONE
    retry_s: float = 0.0
    nap_s: float | None = None
    held: bool = False
    """The socket stays open and is not looked at any more."""
    welcomed: bool = False


class Visit:
    """Speaks the protocol over one socket for `device`, whose spool and memory it uses."""

    def __init__(self, device: "Device", ws: ClientWebSocketResponse) -> None:
        self.device = device
        self.ws = ws
        self.session = Session(Role.DEVICE)
        self.welcome: Welcome | None = None
        self._error = Error(code=0)
        self._flight: deque[tuple[int, float]] = deque()
        self._listed: set[int] = set()
        self._left: Parting | None = None
        self._refusals = 0
        self._uploaded = False
        self._loop = asyncio.get_running_loop()

    async def run(self) -> Parting:
        """Serve the connection until it ends; the first of reading and writing to end decides."""
        name = self.device.name
        await self.say(self._hello())
        reading = asyncio.create_task(self._read(), name=f"{name} reads")
        writing = asyncio.create_task(self._write(), name=f"{name} writes")
        both = (reading, writing)
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        ended = next(task for task in both if not task.cancelled())
        return replace(self._left or ended.result(), welcomed=self.welcome is not None)

    async def say(self, message: Message) -> None:
        await self.ws.send_bytes(self.session.send(message))

    def _hello(self) -> Hello:
        device, memory = self.device, self.device.memory
        known = memory.store_id is not None
        self._listed = device.spool.sids & device.body.schemas.keys()
        return Hello(
            version=VERSION,
            device=device.name,
            epoch=device.spool.epoch,
            lo=device.spool.lo,
            hi=device.spool.hi,
            boot=device.clock.boot,
            mono_ms=device.clock.mono_ms(true_now()),
            position=[memory.store_id, memory.position] if known else None,
            config_version=memory.version,
            schemas={sid: device.body.schemas[sid].fingerprint for sid in sorted(self._listed)}
            or None,
        )

    # Reading

    async def _read(self) -> Parting:
        """Take messages until the socket closes or is silent for too long."""
        while True:
            patience = self.welcome.ping_s * SILENCE_PINGS if self.welcome else WELCOME_S
            try:
                frame = await self.ws.receive(timeout=patience or None)
            except TimeoutError:
                return Parting(None, f"the gateway was silent for {patience:.0f} s")
            if frame.type is not WSMsgType.BINARY:
                return self._parting()
            try:
                await self._take(self.session.receive(frame.data))
            except ProtocolError as error:
                await self._complain(error)
                return Parting(error.close_code, f"we closed the connection: {error}")
            except (ClientError, ConnectionError):
                return self._parting()

    async def _complain(self, error: ProtocolError) -> None:
        with suppress(SessionError, ClientError, ConnectionError):
            await self.say(Error(code=int(error.close_code), text=error.text))
            await self.ws.close(code=int(error.close_code))

    def _parting(self) -> Parting:
        code = self.ws.close_code
        if code in (None, 1006) and self._error.code:
            code = self._error.code
        text = self._error.text or ("" if code in (None, 1000, 1006) else f"closed with {code}")
        gone = code is None or code == 1006
        return Parting(None if gone else code, text or GONE, (self._error.retry_ms or 0) / 1000)

    async def _take(self, message: Message | None) -> None:
        match message:
            case Ack():
                self._acknowledged(message)
            case Welcome():
                await self._welcomed(message)
            case Need():
                for sid in message.sids:
                    await self._introduce(sid)
            case Command():
                await self._command(message)
            case Config():
                draft = adopt(message, body=self.device.body, memory=self.device.memory)
                if draft is not None:
                    self.device.offer(draft)
                await self.say(Dack(handled=self.device.memory.position))
            case Error():
                self._error = message
            case _:
                pass

    async def _welcomed(self, welcome: Welcome) -> None:
        device = self.device
        device.memory.meet(welcome.store_id)
        if welcome.state == REFUSED:
            self._refusals += 1
            if self._refusals > 2:
                raise SessionError(CloseCode.SEQUENCE, "a fresh epoch was refused")
            device.counts.refused += 1
            device.spool.renew()
            device.forget_schemas()
            await self.say(self._hello())
            return
        if welcome.committed > device.spool.hi:
            raise SessionError(CloseCode.SEQUENCE, "WELCOME commits numbers never given out")
        if welcome.state == NEW:
            device.forget_schemas()
        device.introduced = (device.introduced | self._listed) - set(welcome.wanted or ())
        self._free(welcome.committed)
        self.welcome = welcome
        device.welcomed()

    def _acknowledged(self, ack: Ack) -> None:
        now = self._loop.time()
        while self._flight and self._flight[0][0] <= ack.committed:
            self.device.tally.latencies.append(now - self._flight.popleft()[1])
        self.device.counts.rejected += len(ack.rejects or ())
        self._free(min(ack.committed, self.session.next - 1))
        self._uploaded = True
        self.device.wake.set()

    def _free(self, committed: int) -> None:
        counts = self.device.counts
        self.device.freed.set()
        for numbers, readings, lost in self.device.spool.free(committed):
            if lost:
                counts.lost += numbers
                counts.lost_readings += readings
            else:
                counts.acknowledged += 1
                counts.acknowledged_readings += readings

    async def _command(self, command: Command) -> None:
        device = self.device
        outcome = obey(command, body=device.body, memory=device.memory)
        device.counts.commands += 1
        seq = device.offer(result(device.memory, command.seq, outcome))
        await self.say(Dack(handled=device.memory.position))
        if outcome.reboot:
            device.reboot_after = seq

    # Writing

    async def _write(self) -> Parting:
        """Send what the spool holds, as far as the limit allows, until it is time to go."""
        try:
            return await self._send_until_parting()
        except (ClientError, ConnectionError):
            # The reader knows more about the end; it needs a moment to see it.
            await asyncio.sleep(1.0)
            return self._parting()

    async def _send_until_parting(self) -> Parting:
        device = self.device
        sync_at = self._loop.time() + device.link.timesync_s
        while True:
            device.wake.clear()
            if self.welcome is not None and self.session.state is State.LIVE:
                prank = await self._pump()
                if prank is not None:
                    return prank
                if device.crashing:
                    return Parting(None, REBOOTS, nap_s=1.0)
                if (parting := self._leaving()) is not None:
                    return await self._leave(*parting)
            elif device.stopping:
                return Parting(CloseCode.DONE, "stopped")
            try:
                async with asyncio.timeout_at(sync_at):
                    await device.wake.wait()
            except TimeoutError:
                sync_at += device.link.timesync_s
                if self.session.state is State.LIVE:
                    await self.say(Timesync(t1=device.clock.mono_ms(true_now())))

    async def _pump(self) -> Parting | None:
        """Send all that may be sent now; a fault on demand may end the connection."""
        device, session = self.device, self.session
        while (entry := device.spool.after(session.next - 1)) and entry.seq <= session.limit:
            if isinstance(entry.message, Data) and entry.message.sid not in device.introduced:
                await self._introduce(entry.message.sid)
            await self.say(self.outgoing(entry.message))
            self._count(entry)
            if device.mischief is not None:
                prank = await device.mischief.after(entry, self)
                if prank is not None:
                    return prank
        return None

    def outgoing(self, message: Message) -> Message:
        """Times of this very boot need no boot id."""
        if isinstance(message, Data) and message.clock == self.device.clock.boot:
            return replace(message, clock=None)
        return message

    def _count(self, entry: Entry) -> None:
        device = self.device
        if entry.last > device.highest:
            device.highest = entry.last
            device.counts.sent += 1
        else:
            device.counts.resent += 1
        self._flight.append((entry.last, self._loop.time()))

    async def _introduce(self, sid: int) -> None:
        schema = self.device.body.schemas.get(sid)
        if schema is not None:
            await self.say(schema)
            self.device.introduced.add(sid)

    def _leaving(self) -> tuple[Bye, Parting] | None:
        """Whether it is time to say BYE, and what follows it."""
        device = self.device
        if device.stopping:
            return Bye(reason=BYE_DONE), Parting(CloseCode.DONE, "stopped")
        if device.reboot_after is not None and self.session.next > device.reboot_after:
            return Bye(reason=BYE_RESTART), Parting(CloseCode.DONE, REBOOTS, nap_s=1.0)
        nap = device.body.nap_s
        if nap is not None and self._uploaded and device.spool.lo > device.spool.hi:
            bye = Bye(reason=BYE_SLEEP, sleep_ms=round(nap * 1000))
            return bye, Parting(CloseCode.DONE, "sleeps", nap_s=nap)
        return None

    async def _leave(self, bye: Bye, parting: Parting) -> Parting:
        await self.say(bye)
        self._left = parting
        await self.ws.close()
        return parting
