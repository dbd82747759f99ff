"""Faults on demand: what devices and networks do to a gateway on bad days."""

import random
import socket
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import cbor2

from gateway.core import cbor
from gateway.core.messages import Data, Message, to_map
from simulators.body import UNNUMBERED, Draft
from simulators.device import Device
from simulators.parting import REBOOTS, Parting
from simulators.spool import Entry
from simulators.visit import Visit

HALF_OPEN_S = 90.0
OFFLINE_S = 15.0
TINY_SPOOL = 4
OVERFLOW_CHANCE = 0.03
BROKEN = b"\xbf\x00\x10\xff"


@dataclass(frozen=True, slots=True)
class Faults:
    """Chances are per message sent, from 0 to 1.

    drop: abort the socket. half_open: keep the socket, neither read nor write. duplicate: send a
    message again. reboot: restart in the middle. takeover: connect a second time. malformed: a
    message that must be rejected. broken: bytes that are no message (the device is then to come
    back at most hourly). overflow: a tiny spool, and times offline that it cannot bridge.
    """

    drop: float = 0.0
    half_open: float = 0.0
    duplicate: float = 0.0
    reboot: float = 0.0
    takeover: float = 0.0
    malformed: float = 0.0
    broken: float = 0.0
    overflow: bool = False
    lose_counter: bool = False
    skew_s: float = 0.0
    drift_ppm: float = 0.0
    no_clock: bool = False
    backlog_s: float = 0.0

    @property
    def any_prank(self) -> bool:
        """Whether something must be decided after each message."""
        chances = (self.drop, self.half_open, self.duplicate, self.reboot, self.takeover)
        return any((*chances, self.malformed, self.broken, self.overflow))


class Pranks:
    """Plays the faults on one device, reproducibly from its random numbers."""

    def __init__(self, faults: Faults, rng: random.Random, *, scale: float = 1.0) -> None:
        self._faults = faults
        self._rng = rng
        self._scale = scale
        self._recent: deque[Message] = deque(maxlen=40)

    async def after(self, entry: Entry, visit: Visit) -> Parting | None:
        """Do harm, or not; a Parting ends the connection."""
        faults = self._faults
        self._recent.append(entry.message)
        if self._strikes(faults.malformed):
            visit.device.offer(poison(visit.device, self._rng))
        if self._strikes(faults.duplicate):
            await self._repeat(visit)
        if self._strikes(faults.broken):
            await visit.ws.send_bytes(BROKEN)
        return self._end(visit)

    def _end(self, visit: Visit) -> Parting | None:
        faults = self._faults
        if self._strikes(faults.drop):
            cut(visit)
            return Parting(None, "socket dropped on purpose")
        if self._strikes(faults.half_open):
            nap = HALF_OPEN_S * self._scale
            return Parting(None, "half-open on purpose", nap_s=nap, held=True)
        if self._strikes(faults.takeover):
            return Parting(None, "takes itself over on purpose", nap_s=0.0, held=True)
        if self._strikes(faults.reboot):
            cut(visit)
            return Parting(None, REBOOTS, nap_s=0.2 * self._scale)
        if faults.overflow and self._strikes(OVERFLOW_CHANCE):
            return Parting(None, "offline on purpose", nap_s=OFFLINE_S * self._scale)
        return None

    def _strikes(self, chance: float) -> bool:
        return chance > 0 and self._rng.random() < chance

    async def _repeat(self, visit: Visit) -> None:
        """Send something again behind the session's back, acknowledged or not."""
        message = visit.outgoing(self._rng.choice(self._recent))
        if getattr(message, "seq", 0) < visit.session.next:
            await visit.ws.send_bytes(cbor.encode(to_map(message)))


def cut(visit: Visit) -> None:
    """End the socket without a close frame, as a cable that is pulled."""
    sock: Any = visit.ws.get_extra_info("socket")
    if sock is not None:
        sock.shutdown(socket.SHUT_RDWR)


def poison(device: Device, rng: random.Random) -> Draft:
    """A well-formed message whose body is wrong."""
    sid = min(device.body.schemas, default=1)
    fields = len(device.body.schemas[sid].fields) if device.body.schemas else 1
    good = Data(
        seq=UNNUMBERED, sid=sid, t0=1_700_000_000_000, step=1, columns=[0] * fields,
        valid=None, clock=0,
    )  # fmt: skip
    short, long = cbor2.CBORTag(70, bytes(8)), cbor2.CBORTag(70, bytes(12))
    return Draft(
        rng.choice(
            (
                replace(good, columns=[short, *[long] * fields]),
                replace(good, columns=[0] * (fields + 1)),
                replace(good, columns=[cbor2.CBORTag(68, bytes(4))] * fields),
                replace(good, columns=[float("inf")] * fields),
                replace(good, columns=[cbor2.CBORTag(69, bytes(3))] * fields),
                replace(good, t0=2**62),
            )
        )
    )
