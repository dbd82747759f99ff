"""Commands and configuration from the broker: acknowledged only once they are durable."""

import asyncio
import logging

from gateway.bridge.ground import Accepted, Declined, Ground
from gateway.core.asks import Ask, Configure, Nonsense, read
from gateway.core.broker import Delivery, Link
from gateway.core.topics import result_body
from gateway.errors import StoreError

log = logging.getLogger(__name__)

MOST_WAITING = 100
RETRY_S = 1.0


class Inbox:
    """The deliveries of one connection, one after the other."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._waiting: asyncio.Queue[Delivery] = asyncio.Queue(MOST_WAITING)
        self.overflowed = False

    def put(self, delivery: Delivery) -> None:
        """Let a delivery wait its turn. One too many is left to the broker, unacknowledged:
        it comes again with the next connection."""
        try:
            self._waiting.put_nowait(delivery)
        except asyncio.QueueFull:
            self.overflowed = True

    async def run(self, link: Link) -> None:
        while True:
            delivery = await self._waiting.get()
            await self._take(delivery)
            link.acknowledge(delivery.mid)

    async def _take(self, delivery: Delivery) -> None:
        match read(delivery, self._ground.upstream.topics):
            case Ask() as ask:
                await self._command(ask)
            case Configure() as change:
                await self._configure(change)
            case Nonsense(device, op, origin, text):
                log.warning("MQTT: %s: %s", delivery.topic, text)
                if op is not None:
                    self._answer(device, op, origin, state="rejected", text=text)

    async def _command(self, ask: Ask) -> None:
        """Try until the command is durable, declined or too late."""
        while True:
            left = ask.left(self._ground.clock().mono)
            if left is not None and left <= 0:
                self._answer(ask.device, ask.op, ask.origin, state="expired")
                return
            outcome = await self._put(ask, left)
            if outcome is not None:
                break
            await asyncio.sleep(RETRY_S)
        if isinstance(outcome, Declined):
            log.warning("MQTT: command %s for %s: %s", ask.op, ask.device, outcome.text)
            self._answer(ask.device, ask.op, ask.origin, state="rejected", text=outcome.text)
        else:
            self._ground.stats.commands += 1

    async def _put(self, ask: Ask, ttl_ms: int | None) -> Accepted | Declined | None:
        try:
            return await self._ground.commands.put(
                device=ask.device,
                op=ask.op,
                args=ask.args,
                ttl_ms=ttl_ms,
                flags=ask.flags,
                origin=ask.origin,
                dedupe=ask.dedupe,
            )
        except StoreError as error:
            log.warning("MQTT: command %s for %s must wait: %s", ask.op, ask.device, error)
            return None

    async def _configure(self, change: Configure) -> None:
        while True:
            try:
                outcome = await self._ground.commands.configure(
                    device=change.device, document=change.document
                )
            except StoreError as error:
                log.warning("MQTT: configuration for %s must wait: %s", change.device, error)
                await asyncio.sleep(RETRY_S)
                continue
            if isinstance(outcome, Declined):
                log.warning("MQTT: configuration for %s: %s", change.device, outcome.text)
            return

    def _answer(
        self, device: str, op: str | int, origin: dict[str, str], *, state: str, text: str = ""
    ) -> None:
        """Answer a command that never became one."""
        ground = self._ground
        result = {"error": text} if text else None
        body = result_body(n=None, device=device, op=op, state=state, result=result)
        ground.post(ground.upstream.result(ground.number(), ground.clock().ms, body, origin))
