"""Stands before aiohttp's frame reader: cuts off clients that send frames which no device sends,
and takes messages alike past it, many at once.
"""

import asyncio
import logging
from collections.abc import Callable, Sized
from typing import Any

from aiohttp import web

from gateway.core.frames import Frames
from gateway.errors import WireError

log = logging.getLogger(__name__)

PROTOCOL_ERROR = b"\x88\x02\x03\xea"
"""A close frame with code 1002 (RFC 6455 §7.4.1)."""


class Guard:
    """In the shape of aiohttp's reader.

    unread: messages that the reader made and nobody took yet. follow: is offered what came while
    there are none, takes messages from its beginning, and says how many bytes those were.
    """

    def __init__(
        self, reader: Any, transport: asyncio.Transport, *, unread: Sized, most: int
    ) -> None:
        self._reader = reader
        self._transport = transport
        self._unread = unread
        self._frames = Frames(most)
        self.follow: Callable[[bytes], int] = lambda _: 0

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Pass whole frames on if they are legal; else close with 1002."""
        data = self._frames.gather(data)
        if self._frames.between and not self._unread:
            data = data[self.follow(data) :]
        try:
            whole = self._frames.cut(data)
        except WireError as error:
            log.info("link cut", extra={"why": error.text})
            self._transport.write(PROTOCOL_ERROR)
            self._transport.close()
            return True, b""
        if not whole:
            return False, b""
        answer: tuple[bool, bytes] = self._reader.feed_data(whole)
        return answer

    def feed_eof(self) -> None:
        self._reader.feed_eof()


async def prepare(socket: web.WebSocketResponse, request: web.Request, *, most: int) -> Guard:
    """Upgrade the request, with a guard before the reader; most: bytes of a message.

    aiohttp has no public place for it. Raises ConnectionError if the client is gone.
    """
    protocol: Any = request.protocol
    came, protocol._message_tail = bytes(protocol._message_tail), b""  # noqa: SLF001
    await socket.prepare(request)
    if request.transport is None:
        raise ConnectionResetError("the client went before it was answered")
    guard = Guard(
        protocol._payload_parser,  # noqa: SLF001
        request.transport,
        unread=socket._reader._buffer,  # type: ignore[union-attr]  # noqa: SLF001
        most=most,
    )
    protocol._payload_parser = guard  # noqa: SLF001
    if came:
        guard.feed_data(came)
    return guard
