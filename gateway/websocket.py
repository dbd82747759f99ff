"""A device's WebSocket (RFC 6455): read, kept alive, written to, and closed in good order."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from itertools import count
from typing import Any

from aiohttp import WSMsgType, web

from gateway.core.clock import Now
from gateway.core.frames import binary_frame
from gateway.errors import CloseCode, WireError

PING_S = 30
LOOKS_A_PING = 6
SILENCE_S = 75
CLOSE_S = 2.0
MOST_UNREAD = 256 * 1024
MOST_PINGS = 100

ERRANDS: set["asyncio.Task[None]"] = set()
"""Closings under way; they may outlive the connection that began them."""

Receive = Callable[[bytes], CloseCode | None]
"""Takes a message; with which code to close if it was the last."""


def errand(work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
    """Run `work` beside the connection; what outlives it is still brought to its end."""
    task = asyncio.create_task(work, name=name)
    ERRANDS.add(task)
    task.add_done_callback(ERRANDS.discard)
    return task


class WebSocket:
    """The gateway's end of one.

    fenced: what comes is passed over from now on. heard: something came since it was asked last.
    """

    def __init__(self, socket: web.WebSocketResponse, *, clock: Callable[[], Now]) -> None:
        self._socket = socket
        self._clock = clock
        self._alive = clock().mono
        self._pings = 0
        self._reading: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self.heard = False
        self.fenced = False

    # -- reading ----------------------------------------------------------------------------

    async def run(self, receive: Receive) -> None:
        """Read until the connection ends or is closed, and let closing come to its end.

        Raises WireError for what a device must not send, and what `receive` raises.
        """
        self._reading = asyncio.create_task(self.read(receive), name="link-read")
        try:
            await asyncio.wait({self._reading})
            if not self._reading.cancelled():
                self._reading.result()
            if self._closing is not None:
                await asyncio.wait({self._closing})
        finally:
            self._reading.cancel()

    async def read(self, receive: Receive) -> None:
        """Take frames until the connection ends or a message was the last."""
        async for frame in self._socket:
            self.heard = True
            if self.fenced:
                continue
            match frame.type:
                case WSMsgType.BINARY:
                    code = receive(frame.data)
                    if code is not None:
                        await self._socket.close(code=code)
                        return
                case WSMsgType.TEXT:
                    raise WireError("a text message; this protocol is binary")
                case WSMsgType.PING:
                    await self._pong(frame.data)
                case _:
                    pass

    async def _pong(self, payload: bytes) -> None:
        self._pings += 1
        if self._pings > MOST_PINGS:
            raise WireError(f"more than {MOST_PINGS} pings in {PING_S} s")
        await self._socket.pong(payload)

    # -- keeping alive ----------------------------------------------------------------------

    async def ping(self) -> float:
        """Ping for as long as anything is heard; returns for how many s nothing was."""
        beats = count()
        while (silence := self._silence()) <= SILENCE_S:
            if next(beats) % LOOKS_A_PING == 0:
                self._pings = 0
                with suppress(ConnectionError):
                    await self._socket.ping(b"")
            await asyncio.sleep(PING_S / LOOKS_A_PING)
        return silence

    def _silence(self) -> float:
        """For how many s nothing was heard, as far as looks tell."""
        now = self._clock().mono
        self._alive = now if self.heard else self._alive
        self.heard = False
        return (now - self._alive) / 1e9

    # -- writing ----------------------------------------------------------------------------

    def write(self, message: bytes) -> None:
        """Straight to the transport; a device that reads nothing for long is cut off."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size() > MOST_UNREAD:
            transport.abort()
        else:
            transport.write(binary_frame(message))

    @property
    def _transport(self) -> asyncio.Transport | None:
        request = self._socket._req  # noqa: SLF001 - aiohttp has no public way to the socket
        return None if request is None else request.transport

    # -- closing ----------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Whether it is neither closed nor about to be."""
        return self._closing is None and not self._socket.closed

    async def close(self, code: CloseCode, text: str, *, last: bytes | None) -> None:
        """Write a last message where there is time, and close; a second call waits for the first.

        text: the reason, at most 120 bytes of it are sent.
        """
        if self._closing is None:
            self._closing = errand(self._close(code, text, last), "link-part")
        await asyncio.wait({self._closing})

    async def _close(self, code: CloseCode, text: str, last: bytes | None) -> None:
        """Close, and read on until the device has closed too.

        To close with something unread resets the connection: the device would not learn why.
        The socket has room for one reader only.
        """
        if self._reading is not None and not self._reading.done():
            self._reading.cancel()
            await asyncio.wait({self._reading})
        if self._socket.closed:
            return
        try:
            async with asyncio.timeout(CLOSE_S):
                if last is not None:
                    await self._socket.send_bytes(last)
                await self._socket.close(code=code, message=text.encode()[:120])
        except (TimeoutError, ConnectionError):
            if self._transport is not None:
                self._transport.abort()
