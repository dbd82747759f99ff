"""What the JSON API and the page need of the rest of the gateway."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.core.facts import Loss, Rejection
from gateway.core.live import Live, Newest
from gateway.core.order import OrderBody
from gateway.errors import GatewayError


class UnknownDevice(GatewayError):
    """No device of that name is registered."""


class QueueFull(GatewayError):
    """Too many commands wait for the device already."""


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A device as `/api/devices` shows it. Times are Unix ms; `losses`: the newest 20 or fewer.

    `epoch` (16 hex digits) and `committed` are those of its present stream, None before the first.
    `schemas` is anything that JSON can say of each schema that is known of the present stream.
    """

    id: str
    state: str
    since: int
    until: int | None
    last_seen: int
    epoch: str | None
    committed: int | None
    window: int
    lost_readings: int
    losses: Sequence[Loss]
    rejected: int
    clock_error_ms: float | None
    schemas: Sequence[Any]
    config_version: int | None


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """The store as `/api/devices` shows it: bytes that it holds, and that its disk has free.

    state: plenty, short or full. time_to_full_s: None if the store does not grow.
    """

    state: str
    bytes: int
    free: int
    time_to_full_s: int | None
    written_per_day: int


@dataclass(frozen=True, slots=True)
class BrokerInfo:
    """The broker as `/api/devices` shows it, and what waits for it.

    waiting: messages that it has not acknowledged, `bytes` of payload, the oldest from `oldest`
    (Unix ms). full_in_s: None if the outbox does not fill. dropped: given up for want of room.
    """

    connected: bool
    waiting: int
    bytes: int
    oldest: int | None
    full_in_s: int | None
    dropped: int


@dataclass(frozen=True, slots=True)
class OrderInfo:
    """A command and what became of it; `op`, `args` and `result` are what JSON can say."""

    n: int
    dev: str
    op: str | int
    args: Any
    state: str
    result: Any
    created: int
    updated: int


class Readings(Protocol):
    """Readings of one series: t int64 ns UTC (n,), v (n,) as in `core.readings.Column`."""

    @property
    def t(self) -> NDArray[np.int64]: ...
    @property
    def v(self) -> NDArray[Any]: ...


class Gateway(Protocol):
    """What the API asks of the rest of the gateway. All reads may raise StoreError."""

    @property
    def live(self) -> Live:
        """The state that the hub shows."""
        ...

    def newest(self) -> Iterable[Newest]:
        """The newest reading of every series that has one."""
        ...

    def unit(self, device: str, metric: str) -> str | None:
        """The SenML unit of a metric; None if there is no such series."""
        ...

    def devices(self) -> Iterable[DeviceInfo]: ...

    def device(self, device: str) -> DeviceInfo | None: ...

    def store(self) -> StoreInfo: ...

    def broker(self) -> BrokerInfo | None:
        """None if no broker is configured."""
        ...

    def readings(
        self, *, device: str, metric: str, since_ns: int, until_ns: int
    ) -> AsyncIterator[Readings]:
        """Readings with since_ns <= t < until_ns, in any order."""
        ...

    async def summaries(
        self,
        *,
        device: str | None,
        metric: str | None,
        window: str | None,
        since_ms: int | None,
        until_ms: int | None,
        cursor: str | None,
        limit: int,
    ) -> tuple[Sequence[Mapping[str, Any]], str | None]:
        """Payloads (`core.summary.payload`) by t0, and the cursor that goes on after them.

        Raises ValueError if `cursor` is none that it gave out.
        """
        ...

    async def losses(self, device: str, *, before: int | None, limit: int) -> Sequence[Loss]:
        """Newest first, ids below `before` only. The device is known to exist."""
        ...

    async def rejections(
        self, device: str, *, before: int | None, limit: int
    ) -> Sequence[Rejection]:
        """Newest first, ids below `before` only. The device is known to exist."""
        ...

    async def put_command(self, device: str, order: OrderBody) -> int:
        """Make a command durable; give its number. Raises UnknownDevice, QueueFull."""
        ...

    async def command(self, n: int) -> OrderInfo | None: ...

    async def acknowledge(self, n: int, *, by: str, note: str) -> Mapping[str, Any]:
        """Acknowledge the open alert `n`; its payload once that is durable. Raises UnknownAlert."""
        ...

    def not_ready(self) -> str | None:
        """Why the gateway cannot commit at present; None if it can."""
        ...
