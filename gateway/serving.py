"""What others reach the gateway by: HTTP with the devices' link, and the control socket."""

import socket
import ssl
from collections.abc import Sequence
from contextlib import AsyncExitStack

from aiohttp import web

from gateway.access import Access
from gateway.config_keys import ListenKeys
from gateway.control import Control, socket_path
from gateway.errors import ConfigError
from gateway.listening import bind, listen
from gateway.parts import Parts
from gateway.web import make_app

IDLE_S = 15.0
FAREWELL_S = 1.0


async def serve(
    parts: Parts, *, sockets: Sequence[socket.socket] | None, stack: AsyncExitStack
) -> str:
    """Serve until the stack unwinds, on these sockets or the configured address; the URL.

    Raises ConfigError for an unusable certificate, OSError if the address cannot be bound.
    """
    listening = parts.config.listen
    tls = _tls(listening)
    runner = await _http(parts, stack)
    await listen(runner, sockets or await bind(listening.host, listening.port), tls=tls)
    control = Control(socket_path(parts.config.gateway.data_dir), parts.admin.commands())
    await control.start()
    stack.push_async_callback(control.close)
    return _url(runner, "http" if tls is None else "https")


async def _http(parts: Parts, stack: AsyncExitStack) -> web.AppRunner:
    config = parts.config
    app = make_app(
        gateway=parts.facade,
        events=parts.hub.serve,
        metrics=parts.measures.registry,
        access=Access.of(
            config.listen.host,
            config.listen.hosts,
            origins=config.access.origins,
            doors=parts.authority,
        ),
        clock=lambda: parts.clock().ms,
    )
    app.router.add_get("/link", parts.reception.serve)
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        keepalive_timeout=IDLE_S,
        shutdown_timeout=FAREWELL_S,
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    return runner


def _tls(listening: ListenKeys) -> ssl.SSLContext | None:
    if listening.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(listening.tls_cert, listening.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError("listen.tls_cert", f"cannot be used: {error}") from None
    return context


def _url(runner: web.AppRunner, scheme: str) -> str:
    host, port = runner.addresses[0][:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
