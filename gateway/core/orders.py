"""Commands and configuration of all devices: from the request to the device's answer.

Every step is a fact in a group; what goes on the wire goes after the group is durable.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from gateway.core import cbor
from gateway.core import facts as f
from gateway.core.downlink import CONFIG, FINAL, RESULT_STATES, Order
from gateway.core.group import Group
from gateway.core.json import plain
from gateway.core.messages import Message, Result, to_map
from gateway.core.readings import NS_PER_S
from gateway.core.registry import Device, Registry
from gateway.core.summary import dump
from gateway.errors import GatewayError

DEDUPE_MS = 10_000


class OrderRefused(GatewayError):
    """The command cannot be taken; the text says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks of a device. `op` None carries a configuration document in `args`."""

    device: str
    op: int | str | None
    args: Any = None
    ttl_ms: int | None = None
    flags: int = 0
    origin: dict[str, str] | None = None
    dedupe: str | None = None


class Orders:
    """All orders that are not answered for good."""

    def __init__(
        self, registry: Registry, *, store_id: bytes, send: Callable[[Device, Message], None],
        room: Callable[[Device], int | None],
    ) -> None:  # fmt: skip
        """`send` puts a message on a device's link; `room` is the largest message that the
        device accepts, None while it is not connected."""
        self._registry = registry
        self._store_id = store_id
        self._send = send
        self._room = room
        self._seen: dict[tuple[str, str], Order] = {}
        self._looked = 0

    def restore(self, orders: Iterator[tuple[Order, str | None]]) -> None:
        """Take in the stored orders in the sequence of their numbers, with their dedupe keys."""
        for order, dedupe in orders:
            self._registry.devices[order.device].downlink.restore(order)
            if dedupe is not None:
                self._seen[order.device, dedupe] = order

    # -- from whoever asks ------------------------------------------------------------------

    def put(self, group: Group, request: Request) -> Order:
        """Take a request in; a repetition gives the order that it repeats.

        Raises OrderRefused for an unknown device, a message that no device could take, or when
        too much waits already.
        """
        known = self._repeated(group, request)
        if known is not None:
            return known
        device = self._registry.devices.get(request.device)
        if device is None or device.removed:
            raise OrderRefused(f"the device {request.device} is unknown")
        if device.downlink.full:
            raise OrderRefused(f"too many commands wait for {request.device} already")
        order = self._order(group, request)
        if request.op is CONFIG:
            self._supersede(group, device, order)
        device.downlink.put(order)
        group.add(_put(order, device, request.dedupe))
        self._tell(group, order, "accepted")
        self.dispatch(group, device)
        return order

    def _order(self, group: Group, request: Request) -> Order:
        now = group.now.ms
        expires = None if request.ttl_ms is None else now + request.ttl_ms
        order = Order(
            n=group.registry.number("command"),
            device=request.device,
            op=request.op,
            args=request.args,
            flags=request.flags,
            expires=expires,
            created=now,
            updated=now,
            origin=request.origin,
        )
        if request.dedupe is not None:
            self._seen[request.device, request.dedupe] = order
        return order

    def _repeated(self, group: Group, request: Request) -> Order | None:
        """A request seen before, as long as its order is open or ten seconds young."""
        if request.dedupe is None:
            return None
        order = self._seen.get((request.device, request.dedupe))
        if order is None:
            return None
        if order.state in FINAL and abs(group.now.ms - order.created) > DEDUPE_MS:
            del self._seen[request.device, request.dedupe]
            return None
        return order

    def _supersede(self, group: Group, device: Device, order: Order) -> None:
        device.config_version = order.args["version"]
        device.config = order.args["document"]
        group.add(f.DeviceConfig(order.args["version"], dump(device.config), device.id))
        for old in device.downlink.superseded():
            device.downlink.withdraw(old)
            self._move(group, old, "expired", {"superseded": order.n})

    # -- to the device ----------------------------------------------------------------------

    def dispatch(self, group: Group, device: Device) -> None:
        """Number what may be sent now; it is sent as soon as its number is durable."""
        room = self._room(device)
        if room is None:
            return
        self.expire(group, device)
        for order in device.downlink.due():
            if _size(order, group.now.ms) > room:
                device.downlink.withdraw(order)
                self._move(group, order, "failed", {"error": f"larger than {room} bytes"})
                continue
            device.downlink.number(order)
            self._move(group, order, "sent")
            self._after(group, device, order)

    def resend(self, group: Group, device: Device) -> None:
        """A device came back: send again what it has not handled, then what waits."""
        for order in device.downlink.unhandled():
            self._after(group, device, order)
        self.dispatch(group, device)

    def _after(self, group: Group, device: Device, order: Order) -> None:
        message = order.message(group.now.ms)
        group.after.append(lambda: self._send(device, message))

    def expire(self, group: Group, device: Device) -> None:
        """Orders whose time ran out in the queue are answered without being sent."""
        for order in device.downlink.expired(group.now.ms):
            self._move(group, order, "expired")

    def tick(self, group: Group) -> None:
        """Answer what expired in the queues; looked at once a second."""
        if group.now.mono - self._looked >= NS_PER_S:
            self._looked = group.now.mono
            for device in self._registry.devices.values():
                if device.downlink.waiting():
                    self.expire(group, device)

    # -- from the device --------------------------------------------------------------------

    def position(self, group: Group, device: Device, position: list[Any] | None) -> None:
        """HELLO key 10: what the device handled, if it knows this store."""
        if position is not None and position[0] == self._store_id:
            self.handled(group, device, position[1])

    def handled(self, group: Group, device: Device, seq: int) -> None:
        """DACK: everything up to `seq` was handled."""
        for order in device.downlink.handle(seq):
            if order.state == "sent":
                self._move(group, order, "handled")
                self._tell(group, order, "delivered")
        self.dispatch(group, device)

    def answered(self, group: Group, device: Device, result: Result) -> None:
        """RESULT: the device's answer; one for another store or an old number changes nothing."""
        store_id, seq = result.command
        order = device.downlink.answer(seq) if store_id == self._store_id else None
        if order is not None:
            self._move(group, order, RESULT_STATES[result.status], plain(result.value))

    def _move(self, group: Group, order: Order, state: str, result: Any = None) -> None:
        order.state, order.result, order.updated = state, result, group.now.ms
        text = None if result is None else dump(result)
        group.add(f.CommandMoved(order.seq, state, text, order.updated, order.n))
        self._registry.devices[order.device].downlink.settle(order)
        if state in FINAL:
            self._tell(group, order, state)

    def _tell(self, group: Group, order: Order, state: str) -> None:
        """Answer upstream: to whoever asked by MQTT, or on the device's result topic."""
        if group.rules.upstream is not None and order.op is not CONFIG:
            body = {
                "v": 1,
                "n": order.n,
                "dev": order.device,
                "op": order.op,
                "state": state,
                "result": order.result,
            }
            group.outgoing(group.rules.upstream.result, body, order.origin)


def _put(order: Order, device: Device, dedupe: str | None) -> f.CommandPut:
    return f.CommandPut(
        order.n,
        device.id,
        None,
        json.dumps(order.op),
        None if order.args is None else dump(order.args),
        order.flags,
        order.expires,
        order.state,
        None if order.origin is None else dump(order.origin),
        dedupe,
        order.created,
    )


def _size(order: Order, now_ms: int) -> int:
    """Bytes of the order's message under the largest number there is."""
    seq, order.seq = order.seq, 2**53 - 1
    try:
        return len(cbor.encode(to_map(order.message(now_ms))))
    finally:
        order.seq = seq
