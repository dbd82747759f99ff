"""What a device sends, and when it goes."""

import asyncio
from typing import TYPE_CHECKING

from aiohttp import ClientError

from gateway.core.messages import (
    Bye,
    Data,
    Gap,
    Timesync,
)
from gateway.core.session import State
from gateway.errors import CloseCode
from simulators.clocks import true_now
from simulators.parting import REBOOTS, Parting
from simulators.spool import Entry
from simulators.tally import Flown

if TYPE_CHECKING:
    from simulators.visit import Visit

BYE_DONE, BYE_SLEEP, BYE_RESTART = 0, 1, 2
_DONE = (Bye(reason=BYE_DONE, sleep_ms=None), Parting(CloseCode.DONE, "stopped"))
_RESTART = (
    Bye(reason=BYE_RESTART, sleep_ms=None),
    Parting(CloseCode.DONE, REBOOTS, nap_s=1.0),
)


class Sender:
    """The writing half of a connection."""

    def __init__(self, visit: "Visit") -> None:
        self._visit = visit
        self._device = visit.device
        self._loop = asyncio.get_running_loop()

    async def run(self) -> Parting:
        """Send what the spool holds, as far as the limit allows, until it is time to go."""
        try:
            return await self._send_until_parting()
        except (ClientError, ConnectionError):
            # The reader knows more about the end; it needs a moment to see it.
            await asyncio.sleep(1.0)
            return self._visit.parting()

    async def _send_until_parting(self) -> Parting:
        device = self._device
        sync_at = self._loop.time() + device.link.timesync_s
        while True:
            device.wake.clear()
            if self._visit.welcome is not None and self._visit.session.state is State.LIVE:
                prank = await self._pump()
                if prank is not None:
                    return prank
                if device.crashing:
                    return Parting(None, REBOOTS, nap_s=1.0)
                if (parting := self._leaving()) is not None:
                    return await self._leave(*parting)
            elif device.stopping and self._visit.session.state is not State.PARTED:
                return await self._leave(*_DONE)
            try:
                async with asyncio.timeout_at(sync_at):
                    await device.wake.wait()
            except TimeoutError:
                sync_at += device.link.timesync_s
                if self._visit.session.state is State.LIVE:
                    mono = device.clock.mono_ms(true_now())
                    await self._visit.say(Timesync(t1=mono, t2=None, t3=None))

    async def _pump(self) -> Parting | None:
        """Send all that may be sent now; a fault on demand may end the connection."""
        device, session = self._device, self._visit.session
        while (entry := device.spool.after(session.next - 1)) and entry.seq <= session.limit:
            if isinstance(entry.message, Data) and entry.message.sid not in device.introduced:
                await self._visit.introduce(entry.message.sid)
            await self._visit.say(self._visit.outgoing(entry.message))
            self._count(entry)
            if device.mischief is not None:
                prank = await device.mischief.after(entry, self._visit)
                if prank is not None:
                    return prank
        return None

    def _count(self, entry: Entry) -> None:
        device = self._device
        if entry.last > device.highest:
            device.highest = entry.last
            device.counts.sent += 1
        else:
            device.counts.resent += 1
        numbers = entry.last - entry.seq + 1
        lost = isinstance(entry.message, Gap)
        flown = Flown(entry.last, numbers, entry.readings, lost, self._loop.time())
        device.flight.append(flown)

    def _leaving(self) -> tuple[Bye, Parting] | None:
        """Whether it is time to say BYE, and what follows it."""
        device = self._device
        if device.stopping:
            return _DONE
        if device.reboot_after is not None and self._visit.session.next > device.reboot_after:
            return _RESTART
        nap = device.body.nap_s
        if nap is not None and self._visit.uploaded and device.spool.lo > device.spool.hi:
            bye = Bye(reason=BYE_SLEEP, sleep_ms=round(nap * 1000))
            return bye, Parting(CloseCode.DONE, "sleeps", nap_s=nap)
        return None

    async def _leave(self, bye: Bye, parting: Parting) -> Parting:
        await self._visit.say(bye)
        self._visit.left = parting
        await self._visit.ws.close()
        return parting
