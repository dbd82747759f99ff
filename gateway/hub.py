"""The event stream: who listens, what they missed, and what is published to all of them."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from aiohttp import web
from aiohttp.http import HttpVersion11

from gateway.core import sse
from gateway.core.backlog import Item
from gateway.core.facts import EventLogged
from gateway.core.filters import Filter, Subscription, parse_subscription
from gateway.core.lines import line
from gateway.core.live import Chunk, Live
from gateway.core.summary import dump
from gateway.errors import StoreError
from gateway.outlet import Outlet
from gateway.replay import EventLog, Refused, Replay
from gateway.subscriber import Limits, Parcel, Subscriber, gap, jitter

__all__ = ["EventLog", "Hub", "Limits", "LiveReading"]

logger = logging.getLogger(__name__)

HEADERS = {
    "Content-Type": sse.CONTENT_TYPE,
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}


class LiveReading(NamedTuple):
    """The newest reading of a series, `t` in Unix milliseconds, as `/api/latest` shows it."""

    dev: str
    m: str
    u: str
    t: float
    value: float | str | bool
    clock: str


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
        self._gateway = gateway
        self._limits = limits
        self._clock = clock
        self._replay = Replay(log, epoch=epoch, limits=limits, clock=clock)
        self._subscribers: set[Subscriber] = set()
        self._closing = False
        self._readings: dict[tuple[str, str], LiveReading] = {}
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

    def publish_readings(self, readings: Iterable[LiveReading]) -> None:
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
        """Answer `/events`; returns when the stream is over. Raises BadQuery."""
        asked = parse_subscription(request.raw_path.partition("?")[2])
        transport = request.transport
        if request.method == "HEAD" or transport is None:
            return web.Response(headers=HEADERS)
        address = request.remote or ""
        full = self._full(address)
        if full and asked.strict:
            return _refusal()
        outlet = Outlet(transport, chunked=request.version >= HttpVersion11)
        subscriber = self._subscriber(asked, outlet, address=address)
        if not full:
            self._subscribers.add(subscriber)
        response = web.StreamResponse(headers=HEADERS)
        response.force_close()
        try:
            writer = await response.prepare(request)
            if writer is not None:
                outlet.begin(writer)
                await self._stream(subscriber, request, full=full)
        finally:
            self._subscribers.discard(subscriber)
            self._left.set()
        return response

    def _full(self, address: str) -> bool:
        there = [some.address for some in self._subscribers if not some.outlet.closed]
        return (
            len(there) >= self._limits.clients
            or there.count(address) >= self._limits.clients_per_address
        )

    def _subscriber(self, asked: Subscription, outlet: Outlet, *, address: str) -> Subscriber:
        return Subscriber(
            asked,
            outlet,
            address=address,
            head=self.live.head,
            epoch=self._epoch,
            limits=self._limits,
            clock=self._clock,
        )

    async def _stream(self, subscriber: Subscriber, request: web.Request, *, full: bool) -> None:
        if full or self._closing:
            farewell = _bye("capacity", _later()) if full else _bye("shutdown", self._retry())
            subscriber.outlet.write(sse.OPENING + farewell)
            return
        subscriber.outlet.write(sse.opening(int(jitter(2000, 5000))))
        try:
            await self._hello(subscriber)
            await self._join(subscriber, request.headers.get("Last-Event-ID", ""))
        except StoreError as error:
            logger.warning("no event stream, the store fails: %s", error)
            subscriber.outlet.write(_bye("store", _later()))
            return
        await subscriber.run()

    async def _hello(self, subscriber: Subscriber) -> None:
        newest = subscriber.backlog.head
        subscriber.oldest = await self._replay.oldest(newest)
        hello = {
            "v": 1,
            "epoch": self._epoch,
            "oldest": self._id(min(subscriber.oldest, newest)),
            "newest": self._id(newest),
            "heartbeat_s": self._limits.heartbeat,
            "now": self._clock(),
            "gateway": self._gateway,
        }
        subscriber.send("hello", dump(hello))

    def _id(self, seq: int) -> str:
        return sse.format_id(self._epoch, seq)

    async def _join(self, subscriber: Subscriber, header: str) -> None:
        """Bring a new client up to the moment from which everything has queued for it."""
        asked = subscriber.asked
        cursor = header or asked.last_event_id
        subscriber.join(self.live.head)
        try:
            if cursor:
                await self._replay.from_id(subscriber, cursor)
            elif asked.since is not None:
                await self._replay.from_time(subscriber, asked.since)
            else:
                await self._fresh(subscriber)
        except Refused as refused:
            shown = cursor or asked.since
            await self._gap(subscriber, refused, shown[:64] if isinstance(shown, str) else shown)

    async def _gap(
        self, subscriber: Subscriber, refused: Refused, asked: str | float | None
    ) -> None:
        """Say what is missing, then show the present state instead."""
        if isinstance(asked, str):
            asked = asked.encode("utf-8", "replace").decode()
        subscriber.oldest = await self._replay.oldest(self.live.head)
        newest = self.live.head
        payload = gap(
            refused.reason,
            asked,
            resume=self._id(newest),
            oldest=self._id(min(subscriber.oldest, newest)),
            missed=refused.missed,
        )
        subscriber.send("gap", payload)
        await self._fresh(subscriber)

    async def _fresh(self, subscriber: Subscriber) -> None:
        """Show the present state; the log up to `live.head` is known with the last chunk."""
        head = self.live.head
        subscriber.join(head)
        if not subscriber.asked.snapshot:
            subscriber.beat()
            return
        for chunk in self.live.snapshot(subscriber.asked.filter).chunks():
            if not await subscriber.room():
                return
            text = subscriber.asked.text
            data = _chunk_text(chunk) if text else chunk.json()
            subscriber.send("snapshot", data, ident=None if chunk.more else head)

    def _retry(self) -> int:
        spread = max(2.0, len(self._subscribers) / 20)
        return 1000 + int(jitter(0, spread) * 1000)

    async def close(self) -> None:
        """Say goodbye to everyone and wait, two seconds at most, until they are gone."""
        self._closing = True
        if self._flush is not None:
            self._flush.cancel()
        for subscriber in self._subscribers:
            subscriber.end(_bye("shutdown", self._retry()))
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


def _bye(reason: str, retry: int) -> bytes:
    return sse.render("bye", dump({"v": 1, "reason": reason}), retry=retry)


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


def _render_reading(reading: LiveReading, *, text: bool) -> bytes:
    payload = dump({"v": 1, **reading._asdict()})
    return sse.render("reading", line("reading", payload) if text else payload)


def _chunk_text(chunk: Chunk) -> str:
    kinds = ("summary", chunk.summaries), ("status", chunk.statuses), ("alert", chunk.alerts)
    return "\n".join(line(kind, payload) for kind, rows in kinds for payload in rows)
