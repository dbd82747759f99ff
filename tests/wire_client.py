"""A device client written from docs/wire.md alone: maps in, maps out."""

import os
from collections.abc import Callable
from typing import Any

import aiohttp
import cbor2

PATIENCE_S = 20.0
FIELDS = [{0: "v", 2: 86}]


class WireClient:
    """One connection. `closed` holds the close code once the gateway ended it."""

    def __init__(
        self,
        url: str,
        device: str,
        *,
        token: str | None = None,
        autoping: bool = True,
        http: Callable[[], aiohttp.ClientSession] = aiohttp.ClientSession,
    ) -> None:
        self.url = url
        self.device = device
        self.token = token
        self.autoping = autoping
        self._http = http
        self.closed: int | None = None

    async def __aenter__(self) -> "WireClient":
        self.http = self._http()
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        try:
            self.socket = await self.http.ws_connect(
                self.url, protocols=["sensorlink.v1"], headers=headers, autoping=self.autoping
            )
        except BaseException:
            await self.http.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()

    async def send(self, message: dict[int, Any]) -> None:
        await self.socket.send_bytes(cbor2.dumps(message))

    async def receive(self, kind: int | None = None) -> dict[int, Any]:
        """The next message (of that type); {} once the gateway closed."""
        while True:
            frame = await self.socket.receive(PATIENCE_S)
            if frame.type is not aiohttp.WSMsgType.BINARY:
                self.closed = self.socket.close_code
                return {}
            message: dict[int, Any] = cbor2.loads(frame.data)
            if kind is None or message[0] == kind:
                return message

    async def hello(self, epoch: bytes, lo: int = 1, hi: int = 0, **more: Any) -> dict[int, Any]:
        keys = {int(name[1:]): value for name, value in more.items()}
        await self.send({0: 1, 2: [1, 0], 3: self.device, 4: epoch, 5: lo, 6: hi, **keys})
        return await self.receive(2)

    async def schema(self, sid: int = 1, fields: Any = FIELDS, mark: bytes = b"mark") -> None:
        await self.send({0: 8, 2: sid, 3: fields, 5: mark})

    async def acked(self, seq: int) -> dict[int, Any]:
        """Wait until `seq` is acknowledged; the last ACK."""
        while True:
            ack = await self.receive(3)
            if not ack or ack[2] >= seq:
                return ack

    async def end(self) -> int | None:
        """Read until the gateway closes; the close code."""
        while await self.receive():
            pass
        return self.closed


def new_epoch() -> bytes:
    return os.urandom(8)
