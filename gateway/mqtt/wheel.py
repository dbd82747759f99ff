"""Keeps a client that has no loop of its own turning on the event loop."""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any, Protocol

log = logging.getLogger(__name__)

GONE_MS = 30_000
TICK_S = 1.0


class Turning(Protocol):
    """The part of a paho client that is driven from outside."""

    def loop_read(self) -> object: ...
    def loop_write(self) -> object: ...
    def loop_misc(self) -> object: ...
    def want_write(self) -> bool: ...


class Wheel:
    """Watches one socket: reads and writes when it can, and keeps time each second.

    `broken` is called, maybe more than once, if the client fails on what it reads.
    """

    def __init__(self, client: Turning, *, broken: Callable[[str], None]) -> None:
        self._client = client
        self._broken = broken
        self._loop = asyncio.get_running_loop()
        self._socket: Any = None
        self._waiting = False
        self._tick: asyncio.TimerHandle | None = None

    def start(self, sock: Any) -> None:
        """Begin to watch; a peer that acknowledges nothing for 30 s is gone."""
        self._socket = sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_MS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop.add_reader(sock, self._readable)
        if self._client.want_write():
            self.want_write()
        self._tick = self._loop.call_later(TICK_S, self._ticking)

    def want_write(self, *_: object) -> None:
        """Write at once, so that the broker is at work while the next message is made."""
        self._writable()
        if self._socket is not None and self._client.want_write():
            self._waiting = True
            self._loop.add_writer(self._socket, self._writable)

    def written(self, *_: object) -> None:
        if self._socket is not None and self._waiting:
            self._waiting = False
            self._loop.remove_writer(self._socket)

    def stop(self, *_: object) -> None:
        """Call this while the socket is still open: afterwards its number may be another's."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket = None
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None

    def _readable(self) -> None:
        self._turn(self._client.loop_read)
        pending = getattr(self._socket, "pending", None)
        if pending is not None and pending():
            self._loop.call_soon(self._readable)  # TLS holds bytes that select cannot see

    def _writable(self) -> None:
        self._turn(self._client.loop_write)

    def _ticking(self) -> None:
        self._tick = self._loop.call_later(TICK_S, self._ticking)
        self._turn(self._client.loop_misc)

    def _turn(self, step: Callable[[], object]) -> None:
        """Let the client work; on bytes that are not MQTT it fails in many ways."""
        if self._socket is None:
            return
        try:
            step()
        except Exception as error:
            log.debug("the MQTT client failed", exc_info=True)
            self._broken(f"the broker sent something that is not MQTT ({error!r})")
