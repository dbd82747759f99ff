"""A TCP proxy that loses bytes, cuts connections and refuses them, on demand."""

import asyncio
import socket
import struct
from collections.abc import Iterator
from itertools import repeat


class Proxy:
    """Stands before a port of this machine.

    up, down: False swallows what goes to the target, or comes from it, and keeps the connection.
    budgets: how many bytes each new connection may pass, both ways together, before it is reset.
    """

    def __init__(self, target: int) -> None:
        self.up = self.down = True
        self.budgets: Iterator[float] = repeat(float("inf"))
        self.port = 0
        self.connections = 0
        self._target = target
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> "Proxy":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; again on the same port after `stop`."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse new connections and reset those that are open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.reset()

    def reset(self) -> None:
        for writer in list(self._open):
            _reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            there = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            _reset(writer)
            return
        pair = {writer, there[1]}
        self._open |= pair
        left = [next(self.budgets)]
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pass(reader, there[1], left, name="up"))
                tasks.create_task(self._pass(there[0], writer, left, name="down"))
        except* (OSError, EOFError):
            pass
        finally:
            self._open -= pair
            for one in pair:
                _reset(one)

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        left: list[float],
        *,
        name: str,
    ) -> None:
        while data := await reader.read(4096):
            if not getattr(self, name):
                continue
            part = data[: int(min(left[0], len(data)))]
            left[0] -= len(part)
            writer.write(part)
            await writer.drain()
            if left[0] <= 0:
                raise EOFError
        raise EOFError


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a RST, as a router that forgot the connection would."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
