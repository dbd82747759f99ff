"""The sending side of one long response: the socket's bounds, and bytes written past aiohttp.

aiohttp's own `write` costs more than twice as much as the transport's, and it cannot share the
framed bytes among clients.
"""

import asyncio
import socket
import struct
from asyncio.trsock import TransportSocket
from contextlib import suppress

from aiohttp.abc import AbstractStreamWriter

from gateway.core.sse import frame

HIGH = 32 * 1024
LOW = 8 * 1024
SEND_BUFFER = 64 * 1024
UNSENT = 16 * 1024
GONE_MS = 30_000
PROBE_S = 5
SILENT_MS = 14_000
"""A living peer acknowledges at least every PROBE_S; we look every 5 s."""
_INFO_SIZE = 148


class Outlet:
    """What one client's socket takes, and whether it takes anything at all.

    The time is that of the event loop, in seconds.
    """

    def __init__(self, transport: asyncio.Transport, *, chunked: bool) -> None:
        self.chunked = chunked
        self._transport = transport
        self._writer: AbstractStreamWriter | None = None
        self._draining: asyncio.Task[None] | None = None
        self._written = 0
        self._sent = 0
        self._moved = asyncio.get_running_loop().time()
        transport.set_write_buffer_limits(high=HIGH, low=LOW)
        self._sock = _bound(transport)

    def begin(self, writer: AbstractStreamWriter) -> None:
        """The headers are out: `writer` tells from now on when the buffer has drained."""
        self._writer = writer

    @property
    def closed(self) -> bool:
        return self._transport.is_closing()

    @property
    def room(self) -> bool:
        """True while the client keeps up."""
        return self._transport.get_write_buffer_size() <= HIGH

    def write(self, data: bytes) -> None:
        self.write_framed(frame(data, chunked=self.chunked))

    def write_framed(self, data: bytes) -> None:
        if not self.closed:
            self._written += len(data)
            self._transport.write(data)

    async def drained(self, seconds: float) -> None:
        """Wait until there is room for more, the client is gone, or the time is over."""
        await asyncio.sleep(0)
        if self._writer is None or self.closed:
            return
        if self._draining is None or self._draining.done():
            self._draining = asyncio.create_task(_drain(self._writer), name="event stream drains")
        await asyncio.wait({self._draining}, timeout=seconds)

    def idle_for(self) -> float:
        """For how many seconds the client has taken nothing although something waited for it."""
        now = asyncio.get_running_loop().time()
        waiting = self._transport.get_write_buffer_size()
        if not waiting or self._written - waiting > self._sent:
            self._moved = now
        self._sent = self._written - waiting
        return now - self._moved

    @property
    def vanished(self) -> bool:
        """True if the peer's kernel does not answer: the cable is pulled, the radio off."""
        if self._sock is None:
            return False
        return silent(self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE))

    def abort(self) -> None:
        """Drop the connection and everything unsent."""
        self._transport.abort()


async def _drain(writer: AbstractStreamWriter) -> None:
    """Must never be cancelled: aiohttp would give its cancelled future to whoever drains next."""
    with suppress(ConnectionError):
        await writer.drain()


def silent(info: bytes) -> bool:
    """Whether Linux's `struct tcp_info` speaks of a peer that is gone.

    A peer that lives but does not read is probed ever more rarely, and has 30 s: of its kind are
    those for whom something waits although all that was sent is acknowledged.
    """
    if len(info) < _INFO_SIZE:  # a kernel before 4.6
        return False
    (unacknowledged,) = struct.unpack_from("I", info, 24)
    (since_answer_ms,) = struct.unpack_from("I", info, 56)
    (unsent,) = struct.unpack_from("I", info, 144)
    return bool(since_answer_ms > SILENT_MS and (unacknowledged or not unsent))


def _bound(transport: asyncio.Transport) -> TransportSocket | None:
    """Bound what the kernel holds for a client that does not read, and for how long."""
    sock: TransportSocket | None = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_MS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_S)
    return sock
