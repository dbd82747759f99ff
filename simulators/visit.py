"""One connection of a device, from HELLO to the parting."""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from aiohttp import ClientWebSocketResponse

from gateway.core.messages import (
    Data,
    Error,
    Hello,
    Message,
    Welcome,
)
from gateway.core.session import Role, Session
from simulators.clocks import true_now
from simulators.parting import GONE, Parting
from simulators.receiving import Receiver
from simulators.sending import Sender

if TYPE_CHECKING:
    from simulators.device import Device

VERSION = [1, 0]
MOST_BYTES = 1024
"""The largest message that a device takes."""


class Visit:
    """Speaks the protocol over one socket for `device`, whose spool and memory it uses."""

    def __init__(self, device: "Device", ws: ClientWebSocketResponse) -> None:
        self.device = device
        self.ws = ws
        self.session = Session(Role.DEVICE)
        self.welcome: Welcome | None = None
        self.error = Error(code=0, text=None, retry_ms=None)
        self.listed: set[int] = set()
        """The schemas that our HELLO named."""
        self.left: Parting | None = None
        """Set as soon as we have said BYE."""
        self.uploaded = False
        """Something was acknowledged in this connection."""

    async def run(self) -> Parting:
        """Serve the connection until it ends; the first of reading and writing to end decides."""
        name = self.device.name
        await self.say(self.hello())
        reading = asyncio.create_task(Receiver(self).run(), name=f"{name} reads")
        writing = asyncio.create_task(Sender(self).run(), name=f"{name} writes")
        both = (reading, writing)
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        for task in both:
            if not task.cancelled() and (error := task.exception()):
                raise error
        ended = next(task for task in both if not task.cancelled())
        return replace(self.left or ended.result(), welcomed=self.welcome is not None)

    async def say(self, message: Message) -> None:
        await self.ws.send_bytes(self.session.send(message))

    def hello(self) -> Hello:
        """The claim of the device as things stand."""
        device, memory = self.device, self.device.memory
        known = memory.store_id is not None
        self.listed = device.spool.sids & device.body.schemas.keys()
        return Hello(
            version=VERSION,
            max_message=MOST_BYTES,
            capabilities=0,
            token=None,
            device=device.name,
            epoch=device.spool.epoch,
            lo=device.spool.lo,
            hi=device.spool.hi,
            boot=device.clock.boot,
            mono_ms=device.clock.mono_ms(true_now()),
            position=[memory.store_id, memory.position] if known else None,
            config_version=memory.version,
            schemas={sid: device.body.schemas[sid].fingerprint for sid in sorted(self.listed)}
            or None,
        )

    def outgoing(self, message: Message) -> Message:
        """Times of this very boot need no boot id."""
        if isinstance(message, Data) and message.clock == self.device.clock.boot:
            return replace(message, clock=None)
        return message

    async def introduce(self, sid: int) -> None:
        """Send a schema."""
        schema = self.device.body.schemas.get(sid)
        if schema is not None:
            await self.say(schema)
            self.device.introduced.add(sid)

    def parting(self) -> Parting:
        """What the closed socket and the gateway's last ERROR say."""
        code = self.ws.close_code
        if code in (None, 1006) and self.error.code:
            code = self.error.code
        text = self.error.text or ("" if code in (None, 1000, 1006) else f"closed with {code}")
        gone = code is None or code == 1006
        return Parting(None if gone else code, text or GONE, (self.error.retry_ms or 0) / 1000)
