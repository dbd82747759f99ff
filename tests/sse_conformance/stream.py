"""One event stream of any server, read off the socket, with every byte of its body kept."""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from tests.events import PATIENCE, Client
from tests.sse_parser import Event, Parser


class Recorder(Parser):
    """The strict parser, and what went through it."""

    def __init__(self) -> None:
        super().__init__()
        self.raw = b""

    def feed(self, data: bytes) -> list[Event]:
        self.raw += data
        return super().feed(data)


class Stream(Client):
    """A request for an event stream; `async with` closes it."""

    parser: Recorder
    live = False
    """Whether something that happened since the request has come through."""
    _left = 0
    """Bytes of the present chunk that are still to come."""

    @classmethod
    async def ask(
        cls,
        url: str,
        *,
        headers: Mapping[str, str],
        method: str = "GET",
        version: str = "1.1",
        source: str | None = None,
        paused: bool = False,
    ) -> "Stream":
        """Send the request, from the address `source` if there is one; read nothing if `paused`."""
        where = urlsplit(url)
        secure = None
        if where.scheme == "https":
            secure = ssl.create_default_context()
            secure.check_hostname, secure.verify_mode = False, ssl.CERT_NONE
        port = where.port or (443 if secure else 80)
        sent = {"Host": where.netloc, "Accept": "text/event-stream"} | dict(headers)
        sock = await _connected(where.hostname or "", port, source, small=paused)
        reader, writer = await asyncio.open_connection(
            sock=sock,
            ssl=secure,
            server_hostname=sent["Host"].partition(":")[0] if secure else None,
        )
        if paused:
            writer.transport.pause_reading()
        stream = cls(reader, writer)
        stream.parser = Recorder()
        target = (where.path or "/") + (f"?{where.query}" if where.query else "")
        lines = [f"{method} {target} HTTP/{version}"]
        lines += [f"{name}: {value}" for name, value in sent.items()]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        return stream

    async def __aenter__(self) -> "Stream":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()  # a proxy may leave the end of TLS unanswered for 30 s

    @property
    def code(self) -> int:
        """The status, once `head` was awaited."""
        return int(self.status.split(" ", 2)[1])

    async def answer(self) -> "Stream":
        """Wait for the status and the headers."""
        async with asyncio.timeout(PATIENCE):
            if not self.headers:
                await self.head()
        return self

    async def _more(self) -> None:
        """Take what is there, be it half a chunk, as a browser does."""
        if self.headers.get("transfer-encoding") != "chunked":
            await super()._more()
            return
        while not self._left and not self.ended:
            line = await self.reader.readuntil(b"\r\n")
            if line != b"\r\n":  # as ends the chunk before
                self._left = int(line.partition(b";")[0], 16)
                self.ended = not self._left
        data = await self.reader.read(self._left)
        if not data and not self.ended:
            raise EOFError
        self._left -= len(data)
        self._events += self.parser.feed(data)


async def _connected(host: str, port: int, source: str | None, *, small: bool) -> socket.socket:
    """A connection; with a small buffer for what was not read yet if that is wanted."""
    loop = asyncio.get_running_loop()
    (family, kind, protocol, _, where), *_ = await loop.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    )
    sock = socket.socket(family, kind, protocol)
    sock.setblocking(False)
    if small:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    if source is not None:
        sock.bind((source, 0))
    await loop.sock_connect(sock, where)
    return sock
