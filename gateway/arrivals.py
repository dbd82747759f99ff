"""What arrives on a connection for its stream: one by one, or many messages alike at once.

In order, and into the pipeline; data of an unknown schema waits for it.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from gateway import waiting
from gateway.core.alike import Found, Shapes
from gateway.core.clock import Now
from gateway.core.data_shapes import DataShape
from gateway.core.layouts import read_schema
from gateway.core.messages import Data, Message, Need, Schema, Senml
from gateway.core.registry import Device, Stream
from gateway.core.session import Session
from gateway.core.shapes import Burst
from gateway.core.uplink import Arrival, Uplink
from gateway.errors import WireError

MOMENT_NS = 1_000_000
HOLD_S = 10.5


class Peer(waiting.Peer, Protocol):
    """The connection."""

    def send(self, message: Message) -> None: ...


class Intake(Protocol):
    """What a connection puts into the pipeline."""

    def learn(self, stream: Stream, schema: Schema) -> None: ...

    def take(self, peer: Peer, stream: Stream, arrival: Arrival | Burst) -> None: ...

    def came(self, size: int, *, hurry: bool) -> None: ...

    def sample(self, stream: Stream, device_ms: int) -> None: ...

    def handled(self, device: Device, seq: int) -> None: ...

    def limit(self, committed: int, granted: int) -> int: ...


class Arrivals:
    """Of one connection and its stream."""

    def __init__(
        self,
        peer: Peer,
        stream: Stream,
        *,
        session: Session,
        intake: Intake,
        clock: Callable[[], Now],
    ) -> None:
        self._peer = peer
        self._stream = stream
        self._session = session
        self._intake = intake
        self._clock = clock
        self._uplink = Uplink(stream.layouts)
        self._shapes = Shapes()
        self._burst: Burst | None = None

    # -- messages alike ---------------------------------------------------------------------

    def follow(self, data: bytes) -> int:
        """Take the messages at the beginning of `data`, frames of the socket, that are like some
        before them; how many bytes their frames have.
        """
        at, now = 0, None
        while at < len(data) and (found := self._shapes.find(data, at)):
            now = now or self._clock()
            count = self._follow(found, now)
            at += count * found.step
            if not count:
                break
        return at

    def follow_one(self, raw: bytes) -> bool:
        """Take a message, if it is like one before it."""
        found = self._shapes.one(raw)
        return found is not None and self._follow(found, self._clock()) > 0

    def _follow(self, found: Found, now: Now) -> int:
        """Take as many of the messages as may come now; how many they are."""
        if not self._uplink.idle:
            return 0
        shape, layout = found.shape, None
        if isinstance(shape, DataShape):
            layout = self._stream.layouts.get(shape.sid)
            if layout is None:
                return 0
        count = self._session.follow(found.first, found.n)
        if not count:
            return 0
        size = count * shape.size
        burst = self._burst
        if burst is None or burst.taken or burst.shape is not shape or _over(burst, now):
            burst = self._burst = Burst(shape, layout, now, found.first)
            self._intake.take(self._peer, self._stream, burst)
        burst.add(found.messages[:size], count)
        self._came(size, burst.last)
        return count

    def _came(self, size: int, last: int) -> None:
        """Something waits; a device that used half of its limit should not wait for long."""
        hurry = 2 * last >= self._session.limit + self._stream.committed
        self._intake.came(size, hurry=hurry)

    # -- one by one -------------------------------------------------------------------------

    def learn(self, schema: Schema) -> None:
        """Raises WireError if the stream has another schema of that number."""
        layout = read_schema(schema)
        known = self._stream.layouts.get(schema.sid)
        if known is None:
            self._intake.learn(self._stream, schema)
            self._release()
        elif known.fingerprint != layout.fingerprint:
            raise WireError(f"schema {schema.sid} changed within the epoch")

    def take(self, arrival: Arrival) -> None:
        """Pass a sequenced message on, or let it wait and ask for its schema."""
        for ready in self._uplink.take(arrival):
            self._pass_on(ready)
        wanted = self._uplink.wanted()
        if wanted:
            self._peer.send(Need(sids=wanted))
            asyncio.get_running_loop().call_later(HOLD_S, self._release)

    def _release(self) -> None:
        for ready in self._uplink.release(self._clock()):
            self._pass_on(ready)

    def _pass_on(self, arrival: Arrival) -> None:
        self._burst = None  # what comes later is taken later
        self._intake.take(self._peer, self._stream, arrival)
        self._came(len(arrival.raw), arrival.last)
        if isinstance(arrival.message, Data | Senml):
            self._shapes.learn(arrival.raw, arrival.message)

    def drop(self) -> None:
        """Forget what waits: the device will send it again."""
        self._uplink.drop()


def _over(burst: Burst, now: Now) -> bool:
    """Whether what comes now came at another time than the burst, and that matters."""
    return burst.shape.brief and now.mono - burst.at.mono > MOMENT_NS
