"""A broadcast as small as asyncio allows: a POST's body goes to every listener as it is."""

import asyncio
import sys

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\n: ok\n\r\n"
)
LISTENERS: set[asyncio.Transport] = set()


class Connection(asyncio.Protocol):
    """One who listens, or one who publishes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.waiting = b""

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        if self.waiting.startswith(b"GET"):
            LISTENERS.add(self.transport)
            self.transport.write(HEAD)
            return
        while self._publish():
            self.transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    def _publish(self) -> bool:
        head, found, rest = self.waiting.partition(b"\r\n\r\n")
        size = int(head.rpartition(b" ")[2]) if found else 0
        if not found or len(rest) < size:
            return False
        event = b"data: " + rest[:size] + b"\n\n"
        chunk = b"%x\r\n%b\r\n" % (len(event), event)
        for listener in LISTENERS:
            listener.write(chunk)
        self.waiting = rest[size:]
        return True

    def connection_lost(self, _: Exception | None) -> None:
        LISTENERS.discard(self.transport)


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", int(sys.argv[1]), backlog=4096)
    await server.serve_forever()


asyncio.run(main())
