"""Cuts off clients that send frames which no device sends, before they are taken apart."""

import asyncio
import logging
from typing import Any

from aiohttp import web

from gateway.core.frames import Frames
from gateway.errors import WireError

log = logging.getLogger(__name__)

PROTOCOL_ERROR = b"\x88\x02\x03\xea"
"""A close frame with code 1002 (RFC 6455 §7.4.1)."""


class Guard:
    """Stands before aiohttp's frame reader, in its shape."""

    def __init__(self, reader: Any, transport: asyncio.Transport, *, seen: bytes) -> None:
        self._reader = reader
        self._transport = transport
        self._frames = Frames()
        self._frames.feed(seen)

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Pass bytes on if their frames are legal; else close with 1002."""
        try:
            self._frames.feed(data)
        except WireError as error:
            log.info("link cut", extra={"why": error.text})
            self._transport.write(PROTOCOL_ERROR)
            self._transport.close()
            return True, b""
        answer: tuple[bool, bytes] = self._reader.feed_data(data)
        return answer

    def feed_eof(self) -> None:
        self._reader.feed_eof()


async def prepare(socket: web.WebSocketResponse, request: web.Request) -> None:
    """Upgrade the request, with a guard before the reader.

    aiohttp has no public place for it. Raises WireError if the client's first frames, sent
    together with the request, are illegal.
    """
    protocol: Any = request.protocol
    seen = bytes(protocol._message_tail)  # noqa: SLF001
    await socket.prepare(request)
    if request.transport is not None:
        protocol._payload_parser = Guard(  # noqa: SLF001
            protocol._payload_parser,  # noqa: SLF001
            request.transport,
            seen=seen,
        )
