"""What the broker asks of devices, made durable before the broker is told."""

from collections.abc import Callable
from typing import Any

from gateway.bridge import Accepted, Declined
from gateway.core.clock import Now
from gateway.core.downlink import FINAL
from gateway.core.orders import DEDUPE_MS, OrderRefused, Orders, Request
from gateway.core.registry import Registry
from gateway.core.summary import dump
from gateway.pipeline import Pipeline
from gateway.store import Store

CORRELATED_MS = 86_400_000


class Requests:
    """Satisfies `gateway.bridge.Commands`."""

    def __init__(
        self, *, store: Store, pipeline: Pipeline, orders: Orders, clock: Callable[[], Now]
    ) -> None:
        self._store = store
        self._pipeline = pipeline
        self._registry: Registry = pipeline.registry
        self._orders = orders
        self._clock = clock

    async def put(
        self,
        *,
        device: str,
        op: str | int,
        args: Any,
        ttl_ms: int | None,
        flags: int,
        origin: dict[str, str],
        dedupe: str,
    ) -> Accepted | Declined:
        """Take a command in; a repetition gives the number of the command that it repeats."""
        known = self._registry.devices.get(device)
        if known is None:
            return Declined(f"the device {device} is unknown")
        earlier = await self._earlier(known.id, dedupe, correlated="correlation" in origin)
        if earlier is not None:
            return Accepted(earlier)
        return await self._submit(Request(device, op, args, ttl_ms, flags, origin, dedupe))

    async def _earlier(self, device: int, dedupe: str, *, correlated: bool) -> int | None:
        """The command that this one repeats: open, or young enough."""
        row = await self._store.command_by_dedupe(device, dedupe)
        if row is None:
            return None
        young = CORRELATED_MS if correlated else DEDUPE_MS
        age = abs(self._clock().ms - row.created)
        return row.n if row.state not in FINAL or age <= young else None

    async def configure(self, *, device: str, document: Any) -> Accepted | Declined:
        """Set a device's configuration; the same document again changes nothing."""
        known = self._registry.devices.get(device)
        if known is None:
            return Declined(f"the device {device} is unknown")
        if known.config_version is not None and dump(known.config) == dump(document):
            return Accepted(0)
        args = {"version": (known.config_version or 0) + 1, "document": document}
        return await self._submit(Request(device, None, args))

    async def _submit(self, request: Request) -> Accepted | Declined:
        try:
            order = await self._pipeline.submit(lambda group: self._orders.put(group, request))
        except OrderRefused as error:
            return Declined(str(error))
        return Accepted(order.n)
