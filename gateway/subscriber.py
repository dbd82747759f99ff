"""One client of the event stream: what it wants, what waits for it, and when it is written."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from aiohttp.web_protocol import RequestHandler

from gateway.core import sse
from gateway.core.backlog import Backlog
from gateway.core.facts import EventLogged
from gateway.core.filters import Subscription
from gateway.core.parcel import SLICE, Parcel
from gateway.core.summary import dump
from gateway.outlet import Outlet
from gateway.permit import Permit

AUTH_RETRY_MS = 10_000
SeriesName = tuple[str, str]
"""Device, metric."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of the event stream; the design's values are the defaults. Times in seconds."""

    clients: int = 64
    clients_per_address: int = 12
    replay_events: int = 10_000
    replay_seconds: float = 900.0
    replay_bytes: int = 2 * 1024 * 1024
    replay_page: int = 500
    heartbeat: float = 15.0
    stalled: float = 30.0
    readings: float = 0.25
    farewell: float = 1.5


def jitter(low: float, high: float) -> float:
    """A random number in between, so that clients do not act in step."""
    return random.uniform(low, high)  # noqa: S311


class Subscriber(asyncio.Protocol):
    """One client, and the protocol of its transport. Once it is live it needs no task.

    Events queue until then, and whenever the client is slow. left: called when it is gone.
    """

    __slots__ = (
        "_clock", "_epoch", "_farewell", "_joining", "_left", "_limits", "_loop", "_next_beat",
        "_permit", "_readings", "_resumed", "_timer", "address", "asked", "backlog", "joined",
        "live", "oldest", "outlet",
    )  # fmt: skip

    def __init__(
        self,
        asked: Subscription,
        outlet: Outlet,
        *,
        address: str,
        permit: Permit,
        head: int,
        epoch: str,
        limits: Limits,
        clock: Callable[[], int],
        left: Callable[["Subscriber"], None],
    ) -> None:
        self.asked = asked
        self.outlet = outlet
        self.address = address
        self.backlog = Backlog(head=head, text=asked.text)
        self.joined = head
        self.oldest = 0
        self.live = False
        self._permit = permit
        self._epoch = epoch
        self._limits = limits
        self._clock = clock
        self._left = left
        self._farewell: bytes | None = None
        self._readings: dict[SeriesName, bytes] = {}
        self._loop = asyncio.get_running_loop()
        self._joining: asyncio.Task[None] | None = None
        self._resumed: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next_beat = 0.0

    def take_over(self, http: RequestHandler, joining: Coroutine[Any, Any, None]) -> None:
        """Take the connection over from aiohttp; `joining` ends with `go_live`."""
        self.outlet.take_over(http, self)
        self._joining = self._loop.create_task(joining, name="event stream begins")

    def join(self, head: int) -> None:
        """Begin to queue here: up to `head` the client learns everything by other means."""
        self.joined = head
        self.backlog.clear(head)

    def wants(self, event: EventLogged) -> bool:
        return self.asked.filter.matches(event)

    def offer(self, parcel: Parcel) -> None:
        """Write what the client takes at once; queue the rest."""
        if self.gone:
            return
        backlog = self.backlog
        straight = self.live and not backlog
        for items, framed in parcel.slices:
            if straight and self.outlet.room:
                self.outlet.write_framed(framed)
                continue
            straight = False
            if not all(backlog.push(item) for item in items):
                self.cut()
                return
        backlog.head = parcel.head

    def offer_reading(self, series: SeriesName, rendered: bytes) -> None:
        """Note the newest reading of a series; `flush_readings` sends it."""
        if self.asked.filter.shows(*series):
            self._readings[series] = rendered

    def flush_readings(self) -> None:
        """Send the readings if the client is ready for more; else they wait, only the newest."""
        if self._readings and self.live and not self.backlog and self.outlet.room:
            self.outlet.write(b"".join(self._readings.values()))
            self._readings.clear()

    def send(self, event: str, data: str, *, ident: int | None = None) -> None:
        """Write an event that is this client's own."""
        shown = None if ident is None else sse.format_id(self._epoch, ident)
        self.outlet.write(sse.render(event, data, ident=shown))

    def end(self, farewell: bytes) -> None:
        """Say goodbye, as soon as the client takes it, and close."""
        self._farewell = farewell
        self.wake()

    def cut(self) -> None:
        """Drop a client that is too slow; it comes back with its cursor."""
        self.outlet.abort()

    @property
    def gone(self) -> bool:
        return self._farewell is not None or self.outlet.closed

    def wake(self) -> None:
        """Look at once whether the client may still look."""
        if self.live:
            self._turn()
        elif self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)

    async def room(self) -> bool:
        """Wait until the client takes more; False if it is gone."""
        self._check()
        while not self.gone and not self.outlet.room:
            self._resumed = self._loop.create_future()
            await asyncio.wait((self._resumed,), timeout=1.0)
            self._check()
        return not self.gone

    # -- the connection ---------------------------------------------------------------------

    def resume_writing(self) -> None:
        self.wake()

    def connection_lost(self, _: Exception | None) -> None:
        self._rest()
        if self._joining is not None:
            self._joining.cancel()
        self._left(self)

    def go_live(self) -> None:
        """Release what queued."""
        self._joining = self._resumed = None
        if not self.outlet.closed:
            self.live = True
            self._turn()

    def _turn(self) -> None:
        """Write what the client takes and has to know, and come again in time."""
        self._rest()
        self._check()
        if self._farewell is None:
            self._drain()
            self._beat()
        elif self.outlet.room:
            self.outlet.finish(self._farewell)
        if not self.outlet.closed:
            self._timer = self._loop.call_later(self._delay(), self._turn)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _delay(self) -> float:
        if self.backlog or self._farewell is not None or not self.outlet.room:
            return 1.0
        return max(0.0, min(5.0, self._next_beat - self._loop.time(), self._permit.left()))

    def beat(self) -> None:
        """Write a heartbeat; its id never passes an event that was not delivered yet."""
        self._next_beat = self._loop.time() + self._limits.heartbeat * jitter(0.9, 1.1)
        self.send("heartbeat", dump({"v": 1, "now": self._clock()}), ident=self.backlog.cursor)

    def _drain(self) -> None:
        while self.backlog and self.outlet.room:
            if self.backlog.missed:
                self._tell_missed()
            self.outlet.write(b"".join(self.backlog.take(SLICE)))
        self.flush_readings()

    def _tell_missed(self) -> None:
        backlog = self.backlog
        known, newest, oldest = (
            sse.format_id(self._epoch, seq)
            for seq in (backlog.cursor, backlog.head, min(self.oldest, backlog.head))
        )
        self.send("gap", gap("slow", known, resume=newest, oldest=oldest, missed=backlog.missed))
        backlog.missed = 0

    def _beat(self) -> None:
        if not self._next_beat:
            self._next_beat = self._loop.time() + self._limits.heartbeat * jitter(0.9, 1.1)
        elif self._loop.time() >= self._next_beat and self.outlet.room:
            self.beat()

    def _check(self) -> None:
        """End the stream if the client may not look any more, or takes nothing."""
        if not self.gone and self._permit.left() <= 0:
            self._farewell = sse.bye("auth", AUTH_RETRY_MS)
        stalled = self.outlet.idle_for() >= self._limits.stalled
        if not self.outlet.closed and (stalled or self.outlet.vanished):
            self.cut()


def gap(
    reason: str, asked: str | float | None, *, resume: str, oldest: str, missed: int | None
) -> str:
    """The payload of a `gap` event."""
    shape = {"v": 1, "reason": reason, "asked": asked}
    return dump(shape | {"resume": resume, "oldest": oldest, "missed": missed})
