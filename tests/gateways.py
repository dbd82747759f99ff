"""A gateway made of lists, for tests of the HTTP side."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from gateway.api import BrokerInfo, DeviceInfo, OrderInfo, QueueFull, StoreInfo
from gateway.core.alert_book import UnknownAlert
from gateway.core.facts import Loss, Rejection
from gateway.core.live import Live, Newest
from gateway.core.order import OrderBody
from gateway.errors import StoreUnavailable

DEVICE = DeviceInfo(
    id="d1",
    state="online",
    since=1_732_380_000_000,
    until=None,
    last_seen=1_732_380_001_000,
    epoch="00112233445566aa",
    committed=17,
    window=32,
    lost_readings=300,
    losses=(Loss(1, 1, "00112233445566aa", 4, 9, 1, 300, 1_732_380_000_500),),
    rejected=1,
    clock_error_ms=1.5,
    schemas=({"sid": 1, "fields": ["m"]},),
    config_version=None,
)


class Piece(NamedTuple):
    t: Any
    v: Any


class FakeGateway:
    """Satisfies `gateway.api.Gateway`."""

    def __init__(self) -> None:
        self.live = Live()
        self.readings_of: dict[tuple[str, str], list[Piece]] = {}
        self.known = {"d1": DEVICE, "d2": replace(DEVICE, id="d2", losses=())}
        self.latest: list[Newest] = []
        self.stored: list[dict[str, Any]] = []
        self.orders: dict[int, OrderInfo] = {}
        self.alerts: dict[int, dict[str, Any]] = {}
        self.why: str | None = None
        self.full = False
        self.broken = False
        self.asked: dict[str, Any] = {}

    def newest(self) -> list[Newest]:
        return self.latest

    def unit(self, device: str, metric: str) -> str | None:
        return "Cel" if (device, metric) in self.readings_of else None

    def devices(self) -> list[DeviceInfo]:
        return list(self.known.values())

    def device(self, device: str) -> DeviceInfo | None:
        return self.known.get(device)

    def store(self) -> StoreInfo:
        return StoreInfo("plenty", 1_500_000, 9_000_000_000, None, 40_000_000)

    def broker(self) -> BrokerInfo | None:
        return BrokerInfo(False, 120, 30_000, 1_732_380_000_000, None, 7)

    async def readings(
        self, *, device: str, metric: str, since_ns: int, until_ns: int
    ) -> AsyncIterator[Piece]:
        for piece in self.readings_of.get((device, metric), []):
            there = (piece.t >= since_ns) & (piece.t < until_ns)
            yield Piece(piece.t[there], piece.v[there])

    def measure(self, t_ms: Sequence[float], v: Sequence[Any], *, device="d1", metric="m") -> None:
        kind = object if any(isinstance(value, str) for value in v) else None
        t = np.array([round(ms * 1_000_000) for ms in t_ms], np.int64)
        pieces = self.readings_of.setdefault((device, metric), [])
        pieces.append(Piece(t, np.array(v, dtype=kind)))

    async def summaries(
        self, *, cursor: str | None, limit: int, **where: Any
    ) -> tuple[Sequence[Mapping[str, Any]], str | None]:
        if self.broken:
            raise StoreUnavailable("the disk is gone")
        self.asked = where
        start = int(cursor or 0)
        rest = self.stored[start:]
        return rest[:limit], str(start + limit) if len(rest) > limit else None

    async def losses(self, device: str, *, before: int | None, limit: int) -> Sequence[Loss]:
        found = sorted(self.known[device].losses, reverse=True)
        return [loss for loss in found if before is None or loss.id < before][:limit]

    async def rejections(
        self, device: str, *, before: int | None, limit: int
    ) -> Sequence[Rejection]:
        row = Rejection(1, 1, "00112233445566aa", 3, 6, "infinite", 1_732_380_000_000, b"\xa1\x00")
        return [row] if before is None else []

    async def put_command(self, device: str, order: OrderBody) -> int:
        if self.full:
            raise QueueFull
        n = len(self.orders) + 1
        self.orders[n] = OrderInfo(n, device, order.op, order.args, "queued", None, 5, 5)
        return n

    async def command(self, n: int) -> OrderInfo | None:
        return self.orders.get(n)

    async def acknowledge(self, n: int, *, by: str, note: str) -> Mapping[str, Any]:
        if n not in self.alerts:
            raise UnknownAlert(f"no alert {n} is open")
        self.alerts[n] |= {"state": "acknowledged", "by": by, "note": note}
        return self.alerts[n]

    def not_ready(self) -> str | None:
        return self.why
