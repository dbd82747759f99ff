"""The event stream: who listens, what they missed, and what is published to all of them."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence

from aiohttp import web
from aiohttp.http import HttpVersion11

from gateway.core import sse
from gateway.core.addresses import asker
from gateway.core.backlog import Item
from gateway.core.facts import EventLogged
from gateway.core.filters import Filter, Subscription, parse_subscription
from gateway.core.lines import line
from gateway.core.live import Live, Newest
from gateway.core.parcel import Parcel
from gateway.core.summary import dump
from gateway.errors import StoreError
from gateway.outlet import Outlet
from gateway.permit import Permit, permit_of
from gateway.replay import EventLog, Replay
from gateway.subscriber import Limits, Subscriber, jitter
from gateway.welcome import Welcome

__all__ = ["EventLog", "Hub", "Limits"]

logger = logging.getLogger(__name__)

HEADERS = {
    "Content-Type": sse.CONTENT_TYPE,
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


class Hub:
    """All subscribers of the event stream. `live` belongs to the hub from here on."""

    def __init__(
        self,
        *,
        log: EventLog,
        live: Live,
        epoch: str,
        gateway: str,
        limits: Limits = Limits(),  # noqa: B008 — frozen
        clock: Callable[[], int] = unix_ms,
    ) -> None:
        self.live = live
        self._epoch = epoch
        self._limits = limits
        self._clock = clock
        replay = Replay(log, epoch=epoch, limits=limits, clock=clock)
        self._welcome = Welcome(
            replay, live, epoch=epoch, gateway=gateway, limits=limits, clock=clock
        )
        self._subscribers: set[Subscriber] = set()
        self._closing = False
        self._readings: dict[tuple[str, str], Newest] = {}
        self._flush: asyncio.TimerHandle | None = None
        self._left = asyncio.Event()

    @property
    def clients(self) -> int:
        """How many slots are taken. A closed socket frees its slot at once."""
        return sum(not subscriber.outlet.closed for subscriber in self._subscribers)

    def publish(self, events: Sequence[EventLogged]) -> None:
        """Show durable events, ascending, to everyone whom they concern."""
        for event in events:
            self.live.apply(event)
        if not events or not self._subscribers:
            return
        items = [Item.of(event, self._epoch) for event in events]
        parcels: dict[tuple[Filter, bool, bool], Parcel] = {}
        for subscriber in self._subscribers:
            key = subscriber.asked.filter, subscriber.asked.text, subscriber.outlet.chunked
            if key not in parcels:
                where, text, chunked = key
                parcels[key] = Parcel(items, where, text=text, chunked=chunked, head=events[-1].id)
            subscriber.offer(parcels[key])

    def publish_readings(self, readings: Iterable[Newest]) -> None:
        """Show the newest reading of each series; only the newest in 250 ms is sent."""
        if not any("reading" in some.asked.filter.kinds for some in self._subscribers):
            return
        for reading in readings:
            self._readings[reading.dev, reading.m] = reading
        if self._flush is None and self._readings:
            loop = asyncio.get_running_loop()
            self._flush = loop.call_later(self._limits.readings, self._flush_readings)

    def _flush_readings(self) -> None:
        self._flush = None
        wanting = [some for some in self._subscribers if "reading" in some.asked.filter.kinds]
        formats = {some.asked.text for some in wanting}
        for series, reading in self._readings.items():
            rendered = {text: _render_reading(reading, text=text) for text in formats}
            for subscriber in wanting:
                subscriber.offer_reading(series, rendered[subscriber.asked.text])
        self._readings.clear()
        for subscriber in wanting:
            subscriber.flush_readings()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer `/events`: headers, then the connection is the subscriber's. Raises BadQuery."""
        asked = parse_subscription(request.raw_path.partition("?")[2])
        transport = request.transport
        if request.method == "HEAD" or transport is None:
            return web.Response(headers=HEADERS)
        address = asker(request.remote or "", request.headers.getall("X-Forwarded-For", ()))
        full = self._full(address)
        if full and asked.strict:
            return _refusal()
        outlet = Outlet(transport, chunked=request.version >= HttpVersion11)
        subscriber = self._subscriber(asked, outlet, address=address, permit=permit_of(request))
        if not full:
            self._subscribers.add(subscriber)
        response = web.StreamResponse(headers=HEADERS)
        response.force_close()
        taken = False
        try:
            await response.prepare(request)
            if full or self._closing:
                farewell = ("capacity", _later()) if full else ("shutdown", self._retry())
                outlet.write(sse.OPENING + sse.bye(*farewell))
            elif not outlet.closed:
                cursor = request.headers.get("Last-Event-ID", "")
                subscriber.take_over(request.protocol, self._begin(subscriber, cursor))
                taken = True
        except ConnectionError:  # gone before the headers were written
            return response
        finally:
            if not taken:
                self._lose(subscriber)
        return response

    def _lose(self, subscriber: Subscriber) -> None:
        self._subscribers.discard(subscriber)
        self._left.set()

    def _full(self, address: str) -> bool:
        there = [some.address for some in self._subscribers if not some.outlet.closed]
        return (
            len(there) >= self._limits.clients
            or there.count(address) >= self._limits.clients_per_address
        )

    def _subscriber(
        self, asked: Subscription, outlet: Outlet, *, address: str, permit: Permit
    ) -> Subscriber:
        return Subscriber(
            asked,
            outlet,
            address=address,
            permit=permit,
            head=self.live.head,
            epoch=self._epoch,
            limits=self._limits,
            clock=self._clock,
            left=self._lose,
        )

    async def _begin(self, subscriber: Subscriber, cursor: str) -> None:
        """Say hello and what the client missed, then let it live."""
        outlet = subscriber.outlet
        try:
            outlet.write(sse.opening(int(jitter(2000, 5000))))
            await self._welcome.hello(subscriber)
            await self._welcome.join(subscriber, cursor)
        except StoreError as error:
            logger.warning("no event stream, the store fails: %s", error)
            outlet.finish(sse.bye("store", _later()))
        else:
            subscriber.go_live()
        finally:
            if not subscriber.live and not outlet.closed:
                outlet.abort()

    def recheck(self) -> None:
        """Somebody's leave to look may have ended: say goodbye to those who have none any more."""
        for subscriber in self._subscribers:
            subscriber.wake()

    def _retry(self) -> int:
        spread = max(2.0, len(self._subscribers) / 20)
        return 1000 + int(jitter(0, spread) * 1000)

    async def close(self) -> None:
        """Say goodbye to everyone and wait, two seconds at most, until they are gone."""
        self._closing = True
        if self._flush is not None:
            self._flush.cancel()
        for subscriber in self._subscribers:
            subscriber.end(sse.bye("shutdown", self._retry()))
        try:
            async with asyncio.timeout(self._limits.farewell):
                await self._empty()
        except TimeoutError:
            for subscriber in self._subscribers:
                subscriber.cut()

    async def _empty(self) -> None:
        while self._subscribers:
            self._left.clear()
            await self._left.wait()


def _later() -> int:
    """When to try again, in milliseconds, after something that a little time may cure."""
    return int(jitter(10_000, 30_000))


def _refusal() -> web.Response:
    seconds = str(_later() // 1000)
    error = {"code": "capacity", "message": "no slot is free", "parameter": None}
    return web.Response(
        status=503,
        text=dump({"error": error}),
        content_type="application/json",
        headers={"Retry-After": seconds},
    )


def _render_reading(reading: Newest, *, text: bool) -> bytes:
    payload = dump({"v": 1, **reading._asdict()})
    return sse.render("reading", line("reading", payload) if text else payload)
