"""The sending side of one long response: the socket's bounds, and bytes written past aiohttp.

aiohttp's own `write` costs more than twice as much as the transport's, and it cannot share the
framed bytes among clients.
"""

import asyncio
import socket
import struct
from asyncio.trsock import TransportSocket

from aiohttp.web_protocol import RequestHandler

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

    __slots__ = ("_moved", "_sent", "_transport", "_written", "chunked")

    def __init__(self, transport: asyncio.Transport, *, chunked: bool) -> None:
        self.chunked = chunked
        self._transport = transport
        self._written = 0
        self._sent = 0
        self._moved = asyncio.get_running_loop().time()
        transport.set_write_buffer_limits(high=HIGH, low=LOW)
        _bound(transport)

    def take_over(self, http: RequestHandler, protocol: asyncio.Protocol) -> None:
        """Let the transport report to `protocol` alone.

        aiohttp is told that it has lost the connection, and lets go of all that it holds for it:
        more than half of what a client costs.
        """
        self._transport.set_protocol(protocol)
        self._transport.resume_reading()  # else the end of the connection would not be seen
        http.transport = None
        http.connection_lost(None)

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

    def finish(self, data: bytes) -> None:
        """Write the last bytes of the response, and close once they are sent."""
        self.write(data)
        if self.chunked:
            self.write(b"")
        self._transport.close()

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
        sock = _tcp(self._transport)
        if sock is None:
            return False
        return silent(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE))

    def abort(self) -> None:
        """Drop the connection and everything unsent."""
        self._transport.abort()


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


def _tcp(transport: asyncio.Transport) -> TransportSocket | None:
    sock: TransportSocket | None = transport.get_extra_info("socket")
    return None if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6) else sock


def _bound(transport: asyncio.Transport) -> None:
    """Bound what the kernel holds for a client that does not read, and for how long."""
    sock = _tcp(transport)
    if sock is None:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_MS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_S)
