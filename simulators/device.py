"""The device end of `sensorlink.v1`: keeps a spool, connects, obeys close codes, comes back."""

import asyncio
import os
import random
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from aiohttp import (
    ClientError,
    ClientSession,
    ClientWebSocketResponse,
    ClientWSTimeout,
    WSServerHandshakeError,
)

from gateway.core.backoff import Backoff
from gateway.core.messages import Event
from gateway.errors import CloseCode
from simulators.body import OK, UNNUMBERED, Body, Draft, Outcome
from simulators.clocks import DeviceClock, true_now
from simulators.memory import Answer, Memory
from simulators.obedience import result
from simulators.parting import REBOOTS, Parting, advice, why
from simulators.spool import Entry, RamSpool, Spool
from simulators.tally import Counts, Flown, Tally
from simulators.visit import Visit

SUBPROTOCOL = "sensorlink.v1"
HOUR_S = 3600.0
HELD_SOCKETS = 2
MAX_DOWNLINK = 1 << 16
CONNECT_S = 20.0


@dataclass(frozen=True, slots=True)
class Link:
    """Where the gateway is, and how to behave towards it.

    reconnect_scale multiplies the pauses before a new connection (1.0 is what the protocol asks).
    """

    url: str
    reconnect_scale: float = 1.0
    timesync_s: float = 600.0


class Mischief(Protocol):
    """Faults on demand: may spoil the connection after each message that was sent."""

    async def after(self, entry: Entry, visit: Visit) -> Parting | None:
        """Do harm, or not; a Parting ends the connection."""


class Device:
    """One device. `offer` gives it messages at any time, `run` keeps it connected."""

    def __init__(
        self,
        name: str,
        body: Body,
        spool: Spool,
        *,
        clock: DeviceClock,
        http: ClientSession,
        link: Link,
        tally: Tally,
        memory: Memory | None = None,
        token: str | None = None,
        mischief: Mischief | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.name = name
        self.body = body
        self.spool = spool
        self.clock = clock
        self.http = http
        self.link = link
        self.tally = tally
        self.memory = memory or Memory()
        self.counts = Counts()
        self.token = token
        self.mischief = mischief
        self.rng = rng or random.Random()
        self.wake = asyncio.Event()
        self.introduced: set[int] = set()
        """Schemas that the gateway has, as far as we know."""
        self.highest = 0
        self.flight: deque[Flown] = deque()
        """What was sent and is not acknowledged, in order."""
        self.connected = False
        self.reboot_after: int | None = None
        """Reboot as soon as this number was sent."""
        self.crashing = False
        self.loses_counter = False
        """A reboot takes the spool and its counter along."""
        self.stopping = False
        self.freed = asyncio.Event()
        """Set whenever the gateway has taken something."""
        self.reboot_command: int | None = None
        """The number of the command that asked for the reboot."""
        self._stale = False
        self._stopped = asyncio.Event()
        self._held: deque[ClientWebSocketResponse] = deque()
        self._backoff = Backoff(self.rng.random)

    def offer(self, draft: Draft) -> int:
        """Put a message into the spool; its number."""
        seq = self.spool.append(draft.message, draft.readings)
        self.wake.set()
        return seq

    def stop(self) -> None:
        """Say BYE and end `run`."""
        self.stopping = True
        self._stopped.set()
        self.wake.set()

    def forget_schemas(self) -> None:
        """The gateway knows nothing of our epoch: every schema must be sent again."""
        self.introduced = set()
        self.highest = 0
        self.flight.clear()

    def welcomed(self) -> None:
        """The gateway took our HELLO."""
        self.connected = True
        self.tally.troubles.pop(self.name, None)
        self._backoff.connected(asyncio.get_running_loop().time())
        self.wake.set()

    def reboot(self) -> None:
        """Start anew: another boot, another monotonic clock."""
        self.reboot_after = None
        self.crashing = False
        self.clock.reboot(os.urandom(8), true_now())
        if self.loses_counter and isinstance(self.spool, RamSpool):
            self._forget(self.spool)
            return
        self.offer(Draft(Event(seq=UNNUMBERED, name="boot", detail={"reason": "restart"})))
        if self.reboot_command is not None:
            self.memory.finish(Answer(self.reboot_command, OK, None))
            self.offer(result(self.memory, self.reboot_command, Outcome(OK)))
            self.reboot_command = None

    def crash(self) -> None:
        """Restart without a word to the gateway."""
        if self.connected:
            self.crashing = True
            self.wake.set()
        else:
            self.reboot()

    def _forget(self, spool: RamSpool) -> None:
        """All memory is gone. Some firmware then claims its old epoch, and must be refused."""
        self.counts.forgotten += len(spool)
        self._stale = self.rng.random() < 0.5
        self.spool = RamSpool(spool.capacity, epoch=spool.epoch if self._stale else None)
        self.memory = Memory()
        self.forget_schemas()

    async def run(self) -> None:
        """Stay connected until `stop`."""
        try:
            while not self.stopping:
                parting = await self._once()
                self.connected = False
                if parting.text == REBOOTS:
                    self.reboot()
                if not self.stopping:
                    await self._rest(self._pause(parting))
                    self.counts.reconnects += parting.welcomed and parting.code != CloseCode.DONE
        finally:
            for ws in self._held:
                await ws.close()

    async def _once(self) -> Parting:
        """Make one connection and use it until it ends."""
        if self._stale and self.spool.hi:
            # With numbers given out, the old epoch would make new messages look committed.
            self.spool.renew()
        self._stale = False
        try:
            ws = await self._connect()
        except WSServerHandshakeError as error:
            if error.status in (401, 403):
                return Parting(CloseCode.UNAUTHENTICATED, f"HTTP {error.status}: wrong token")
            return Parting(None, f"{self.link.url} answers HTTP {error.status} {error.message}")
        except (ClientError, OSError, TimeoutError) as error:
            return Parting(None, f"cannot reach {self.link.url}: {why(error)}")
        parting = Parting()
        try:
            parting = await Visit(self, ws).run()
        except (ClientError, ConnectionError) as error:
            parting = Parting(None, why(error))
        finally:
            await self._put_away(ws, held=parting.held)
        return parting

    async def _connect(self) -> ClientWebSocketResponse:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        async with asyncio.timeout(CONNECT_S):
            return await self.http.ws_connect(
                self.link.url,
                protocols=(SUBPROTOCOL,),
                headers=headers,
                max_msg_size=MAX_DOWNLINK,
                timeout=ClientWSTimeout(ws_close=2.0),
            )

    async def _put_away(self, ws: ClientWebSocketResponse, *, held: bool) -> None:
        if not held:
            await ws.close()
            return
        self._held.append(ws)
        if len(self._held) > HELD_SOCKETS:
            await self._held.popleft().close()

    def _pause(self, parting: Parting) -> float:
        """Seconds until the next try, as the close code asks."""
        if parting.nap_s is not None:
            return parting.nap_s
        scale = self.link.reconnect_scale
        code = parting.code
        if code == CloseCode.TOO_BIG:
            self.spool.surrender()
        if code is not None and 4500 <= code < 5000:
            pause = HOUR_S * (1 + 0.1 * self.rng.random())
        elif code is not None and 4000 <= code < 4500:
            pause = self.rng.uniform(1.0, 60.0)
        else:
            pause = self._backoff.lost(asyncio.get_running_loop().time())
        pause = max(pause, parting.retry_s) * scale
        self._complain(parting, pause)
        return pause

    def _complain(self, parting: Parting, pause: float) -> None:
        code = parting.code
        text = parting.text if code is None else f"{code} {parting.text}"
        text += advice(code, self.name)
        when = f"{pause / 60:.0f} min" if pause >= 120 else f"{pause:.0f} s"
        self.tally.troubles[self.name] = f"{text}; next try in {when}"

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        except TimeoutError:
            return
