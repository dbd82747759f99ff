"""Who may look: the rules that every request passes before it is answered."""

import socket
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from gateway.core.addresses import is_address, is_loopback
from gateway.core.summary import dump

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

FOR_ALL = frozenset({"/healthz", "/readyz"})
"""Answered whoever asks, by whatever name."""
DEVICES = "/link"
"""Devices show a token of their own there."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Access:
    """By which host names the gateway may be asked, beside IP addresses and `localhost`."""

    names: frozenset[str]

    @classmethod
    def of(cls, listen_host: str, also: Collection[str] = ()) -> "Access":
        """Accept the listener's name, the machine's (also as `.local`), and the given ones."""
        machine = socket.gethostname()
        local = f"{machine.partition('.')[0]}.local"
        names = {"localhost", listen_host, machine, local, *also}
        return cls(frozenset(name.lower().rstrip(".") for name in names if name))

    def refuses(self, request: web.Request) -> web.Response | None:
        """The answer to a request that is not let in; None if it is."""
        if request.path == DEVICES or request.path in FOR_ALL:
            return None
        host = request.headers.get("Host")
        if host is not None and not self._known(host):
            return error(421, "host", "the gateway does not go by this host name", "Host")
        if not is_loopback(request.remote):
            text = "only clients on the gateway's own machine are let in: use 127.0.0.1 there"
            return error(401, "unauthenticated", text)
        if request.method not in SAFE and _foreign(request, host):
            return error(403, "origin", "the request comes from another site", "Origin")
        return None

    def _known(self, host: str) -> bool:
        name = host_name(host)
        return name in self.names or is_address(name)


def host_name(host: str) -> str:
    """The name within a Host header, without the port; empty if it cannot be read."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _foreign(request: web.Request, host: str | None) -> bool:
    origin = request.headers.get("Origin")
    if origin is not None:
        scheme, _, place = origin.partition("://")
        return scheme not in ("http", "https") or place.lower() != (host or "").lower()
    return request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")


def error(status: int, code: str, message: str, parameter: str | None = None) -> web.Response:
    """An error as everywhere: `{"error": {"code", "message", "parameter"}}`."""
    body = {"error": {"code": code, "message": message, "parameter": parameter}}
    headers = {"Cache-Control": "no-store"}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="gateway"'
    return web.Response(
        status=status, text=dump(body), content_type="application/json", headers=headers
    )


def guard(access: Access) -> Middleware:
    """The rules as a middleware."""

    @web.middleware
    async def guarded(request: web.Request, handler: Answer) -> web.StreamResponse:
        refused = access.refuses(request)
        return refused if refused is not None else await handler(request)

    return guarded
