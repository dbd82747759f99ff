"""The gateway as the HTTP API sees it: memory and disk to read, the pipeline to write."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from gateway.api import BrokerInfo, DeviceInfo, OrderInfo, QueueFull, StoreInfo, UnknownDevice
from gateway.bridge import Stats
from gateway.core.alert_book import Book
from gateway.core.chunks import Run
from gateway.core.facts import EventLogged, Loss, Rejection
from gateway.core.live import Live, Newest
from gateway.core.order import OrderBody
from gateway.core.orders import OrderRefused, Orders, Request
from gateway.core.readings import NS_PER_MS, Kind, SeriesKey
from gateway.core.registry import Device, Registry
from gateway.core.series import Series
from gateway.core.summary import payload
from gateway.disk import Disk
from gateway.hub import Hub
from gateway.pipeline import Pipeline
from gateway.restore import order as restored
from gateway.store import Store


class Facade:
    """Satisfies `gateway.api.Gateway`."""

    def __init__(
        self,
        *,
        store: Store,
        pipeline: Pipeline,
        orders: Orders,
        book: Book,
        hub: Hub,
        window: Callable[[], int],
        disk: Disk,
        broker: Stats | None,
    ) -> None:
        """`broker`: the bridge's figures; None: no broker is configured."""
        self._store = store
        self._pipeline = pipeline
        self._registry: Registry = pipeline.registry
        self._orders = orders
        self._book = book
        self._hub = hub
        self._window = window
        self._disk = disk
        self._broker = broker

    @property
    def live(self) -> Live:
        return self._hub.live

    # -- memory -----------------------------------------------------------------------------

    def newest(self) -> Iterator[Newest]:
        return (newest(series) for series in self._registry.newest())

    def unit(self, device: str, metric: str) -> str | None:
        for kind in Kind:
            series = self._registry.series.get(SeriesKey(device, metric, kind))
            if series is not None:
                return series.unit
        return None

    def devices(self) -> Iterator[DeviceInfo]:
        known = sorted(self._registry.devices.values(), key=lambda device: device.name)
        return (self._info(device) for device in known if not device.removed)

    def device(self, device: str) -> DeviceInfo | None:
        found = self._registry.devices.get(device)
        return None if found is None or found.removed else self._info(found)

    def _info(self, device: Device) -> DeviceInfo:
        stream = device.stream
        error = device.clock_error_ns
        return DeviceInfo(
            id=device.name,
            state=device.state,
            since=device.since,
            until=device.until,
            last_seen=device.last_seen,
            epoch=None if stream is None else stream.epoch.hex(),
            committed=None if stream is None else stream.committed,
            window=self._window(),
            lost_readings=device.lost_readings,
            losses=list(reversed(device.losses)),
            rejected=device.rejected,
            clock_error_ms=None if error is None else error / NS_PER_MS,
            schemas=[] if stream is None else _schemas(stream.layouts),
            config_version=device.config_version,
        )

    def not_ready(self) -> str | None:
        if self._pipeline.trouble is None and self._disk.full():
            return f"the disk is {self._disk.words}: devices may send nothing new until it has room"
        return self._pipeline.trouble

    def store(self) -> StoreInfo:
        disk, left = self._disk, self._disk.seconds_to_full
        return StoreInfo(
            state=disk.room.word,
            bytes=disk.stored,
            free=disk.usage.available,
            time_to_full_s=None if left is None else int(left),
            written_per_day=disk.written_per_day,
        )

    def broker(self) -> BrokerInfo | None:
        stats = self._broker
        if stats is None:
            return None
        return BrokerInfo(
            connected=stats.connected,
            waiting=stats.depth,
            bytes=stats.held_bytes,
            oldest=stats.oldest,
            full_in_s=None if stats.full_in is None else int(stats.full_in),
            dropped=stats.dropped + stats.rejected,
        )

    # -- disk -------------------------------------------------------------------------------

    async def readings(
        self, *, device: str, metric: str, since_ns: int, until_ns: int
    ) -> AsyncIterator[Run]:
        async for found in self._store.readings(
            device=device, metric=metric, since_ns=since_ns, until_ns=until_ns
        ):
            yield found.run

    async def summaries(self, **asked: Any) -> tuple[Sequence[Mapping[str, Any]], str | None]:
        page = await self._store.summaries(**asked)
        rows = [
            payload(row.summary, device=row.device, metric=row.metric, unit=row.unit, kind=row.kind)
            for row in page.rows
        ]
        return rows, page.cursor

    async def losses(self, device: str, *, before: int | None, limit: int) -> Sequence[Loss]:
        number = self._registry.devices[device].id
        return await self._store.losses(number, before=before, limit=limit)

    async def rejections(
        self, device: str, *, before: int | None, limit: int
    ) -> Sequence[Rejection]:
        number = self._registry.devices[device].id
        return await self._store.rejections(number, before=before, limit=limit)

    # -- commands ---------------------------------------------------------------------------

    async def put_command(self, device: str, order: OrderBody) -> int:
        request = Request(device, order.op, order.args, order.ttl_ms, order.flags)
        try:
            put = await self._pipeline.submit(lambda group: self._orders.put(group, request))
        except OrderRefused as error:
            if device not in self._registry.devices:
                raise UnknownDevice(device) from None
            raise QueueFull(str(error)) from None
        return put.n

    async def command(self, n: int) -> OrderInfo | None:
        row = await self._store.command(n)
        if row is None:
            return None
        order = restored(self._registry, row)
        return OrderInfo(
            n=order.n,
            dev=order.device,
            op="config" if order.op is None else order.op,
            args=order.args,
            state=order.state,
            result=order.result,
            created=order.created,
            updated=order.updated,
        )

    async def acknowledge(self, n: int, *, by: str, note: str) -> dict[str, Any]:
        return await self._pipeline.submit(
            lambda group: self._book.acknowledge(group, n, by=by, note=note)
        )

    async def state(self) -> dict[str, Any]:
        """What `gateway status` shows beside the devices."""
        stats, store = await self._store.outbox_stats(), self.store()
        return {
            "trouble": self._pipeline.trouble,
            "subscribers": self._hub.clients,
            "alerts_open": self._book.in_force,
            "disk": {
                "state": store.state,
                "used_ratio": round(self._disk.used_share, 4),
                "free": store.free,
                "ballast": self._disk.ballast.held,
                "time_to_full_s": store.time_to_full_s,
                "written_per_day": store.written_per_day,
            },
            "outbox": {"depth": stats.depth, "bytes": stats.bytes, "oldest": stats.oldest},
        }


class Shown:
    """Shows the hub's subscribers what became durable."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def publish(self, events: Sequence[EventLogged]) -> None:
        self._hub.publish(events)

    def publish_readings(self, fresh: Iterable[Series]) -> None:
        self._hub.publish_readings(newest(series) for series in fresh)


def newest(series: Series) -> Newest:
    """The newest reading of a series as people see it."""
    value = series.value
    if series.key.kind is Kind.BOOLEAN:
        value = bool(value)
    t = None if series.t is None else series.t / NS_PER_MS
    if t is not None and t.is_integer():
        t = int(t)
    clock = series.clock.name.lower()
    return Newest(series.key.device, series.key.metric, series.unit, t, value, clock)


def _schemas(layouts: Mapping[int, Any]) -> list[dict[str, Any]]:
    return [
        {
            "sid": layout.sid,
            "fingerprint": layout.fingerprint.hex(),
            "fields": [
                {"metric": field.metric, "unit": field.unit, "type": field.type}
                for field in layout.fields
            ],
        }
        for layout in layouts.values()
    ]
