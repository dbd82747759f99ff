"""The doors to the network: how many connections wait there, and how many come in at a time."""

import asyncio
import socket
import ssl
from collections.abc import Sequence

from aiohttp import web

WAITING = 1024
AT_ONCE = 16
"""asyncio accepts as many as its `backlog` says before anything else gets its turn: after an
outage all come back at once, and whoever sends meanwhile would wait for all of them."""


async def listen(
    runner: web.AppRunner, sockets: Sequence[socket.socket], *, tls: ssl.SSLContext | None
) -> None:
    """Serve on these sockets; the runner closes them at its end."""
    for one in sockets:
        await web.SockSite(runner, one, ssl_context=tls, backlog=AT_ONCE).start()
        one.listen(WAITING)


async def bind(host: str, port: int) -> list[socket.socket]:
    """A socket for each address of the host. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    bound: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            bound.append(socket.create_server(address, family=family))
    except OSError:
        for one in bound:
            one.close()
        raise
    return bound
