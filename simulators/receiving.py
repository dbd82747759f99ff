"""What a device does with each message of the gateway."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from aiohttp import ClientError, WSMsgType

from gateway.core.messages import (
    Ack,
    Command,
    Config,
    Dack,
    Error,
    Message,
    Need,
    Welcome,
)
from gateway.core.session import NEW, REFUSED
from gateway.errors import CloseCode, ProtocolError, SessionError
from simulators.obedience import adopt, obey, result
from simulators.parting import Parting
from simulators.tally import Flown

if TYPE_CHECKING:
    from simulators.visit import Visit

SILENCE_PINGS = 2.5
WELCOME_S = 60.0


class Receiver:
    """The reading half of a connection."""

    def __init__(self, visit: "Visit") -> None:
        self._visit = visit
        self._device = visit.device
        self._refusals = 0
        self._loop = asyncio.get_running_loop()

    async def run(self) -> Parting:
        """Take messages until the socket closes or is silent for too long."""
        while True:
            patience = (
                self._visit.welcome.ping_s * SILENCE_PINGS if self._visit.welcome else WELCOME_S
            )
            try:
                frame = await self._visit.ws.receive(timeout=patience or None)
            except TimeoutError:
                return Parting(None, f"the gateway was silent for {patience:.0f} s")
            if frame.type is not WSMsgType.BINARY:
                return self._visit.parting()
            try:
                await self._take(self._visit.session.receive(frame.data))
            except ProtocolError as error:
                await self._complain(error)
                return Parting(error.close_code, f"we closed the connection: {error}")
            except (ClientError, ConnectionError):
                return self._visit.parting()

    async def _complain(self, error: ProtocolError) -> None:
        with suppress(SessionError, ClientError, ConnectionError):
            await self._visit.say(Error(code=int(error.close_code), text=error.text, retry_ms=None))
            await self._visit.ws.close(code=int(error.close_code))

    async def _take(self, message: Message | None) -> None:
        match message:
            case Ack():
                self._acknowledged(message)
            case Welcome():
                await self._welcomed(message)
            case Need():
                for sid in message.sids:
                    await self._visit.introduce(sid)
            case Command():
                await self._command(message)
            case Config():
                draft = adopt(message, body=self._device.body, memory=self._device.memory)
                if draft is not None:
                    self._device.offer(draft)
                await self._visit.say(Dack(handled=self._device.memory.position))
            case Error():
                self._visit.error = message
            case _:
                pass

    async def _welcomed(self, welcome: Welcome) -> None:
        device = self._device
        device.memory.meet(welcome.store_id)
        if welcome.state == REFUSED:
            self._refusals += 1
            if self._refusals > 2:
                raise SessionError(CloseCode.SEQUENCE, "a fresh epoch was refused")
            device.counts.refused += 1
            device.spool.renew()
            device.forget_schemas()
            await self._visit.say(self._visit.hello())
            return
        if welcome.committed > device.spool.hi:
            raise SessionError(CloseCode.SEQUENCE, "WELCOME commits numbers never given out")
        if welcome.state == NEW:
            device.forget_schemas()
        device.introduced = (device.introduced | self._visit.listed) - set(welcome.wanted or ())
        self._landed(welcome.committed)
        device.flight.clear()
        self._visit.welcome = welcome
        device.welcomed()

    def _acknowledged(self, ack: Ack) -> None:
        for seq, _ in ack.rejects or ():
            self._rejected(seq)
        now = self._loop.time()
        committed = min(ack.committed, self._visit.session.next - 1)
        for flown in self._landed(committed):
            self._device.tally.latencies.append(now - flown.at)
        self._visit.uploaded = True
        self._device.wake.set()

    def _landed(self, committed: int) -> list[Flown]:
        """Free and count what is committed; what of it was on its way."""
        device, landed = self._device, []
        while device.flight and device.flight[0].last <= committed:
            landed.append(device.flight.popleft())
            device.counts.land(landed[-1])
        device.spool.free(committed)
        device.freed.set()
        return landed

    def _rejected(self, seq: int) -> None:
        counts = self._device.counts
        counts.rejected += 1
        for flown in self._device.flight:
            if flown.last == seq:
                counts.rejected_readings += flown.readings
                counts.acknowledged_readings -= flown.readings

    async def _command(self, command: Command) -> None:
        device = self._device
        outcome = obey(command, body=device.body, memory=device.memory)
        device.counts.commands += 1
        seq = device.offer(result(device.memory, command.seq, outcome))
        await self._visit.say(Dack(handled=device.memory.position))
        if outcome.reboot:
            device.reboot_after = seq
            device.reboot_command = command.seq
