"""Who may look: the rules that every request passes before it is answered."""

import socket
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from gateway.core.addresses import is_address, is_loopback
from gateway.core.summary import dump
from gateway.permit import PERMIT, Permit

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

FOR_ALL = frozenset({"/healthz", "/readyz"})
"""Answered whoever asks, by whatever name."""
DEVICES = "/link"
"""Devices show a token of their own there."""
FRONT = frozenset({"/login", "/logout", "/login.js", "/theme.js", "/style.css", "/favicon.svg"})
"""What somebody needs who is not signed in yet."""
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP")
"""In these a proxy tells for whom it asks."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
CORS_HEADERS = "Authorization, Cache-Control, Content-Type, Last-Event-ID"
CORS_S = "600"


class Doors(Protocol):
    """Who may look; `gateway.authority` decides."""

    @property
    def cookie(self) -> str:
        """The name of the cookie that holds a sign-in."""

    @property
    def has_users(self) -> bool:
        """Whether anybody could sign in."""

    def by_token(self, token: str) -> Permit | None: ...
    def by_cookie(self, secret: str) -> Permit | None: ...
    def by_place(self) -> Permit | None:
        """The permit of anybody on this machine."""

    async def sign_in(self, user: str, password: str, *, address: str) -> tuple[str, int]:
        """A secret for the cookie and its seconds; raises SignInRefused, TooManyAttempts."""

    async def sign_out(self, secret: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Access:
    """By which host names the gateway may be asked, beside IP addresses and `localhost`.

    origins: other sites that may read what is answered (CORS), as browsers write them.
    doors: None lets everybody on this machine in, and nobody else.
    """

    names: frozenset[str]
    origins: frozenset[str] = frozenset()
    doors: Doors | None = None

    @classmethod
    def of(
        cls,
        listen_host: str,
        also: Collection[str] = (),
        *,
        origins: Collection[str] = (),
        doors: Doors | None = None,
    ) -> "Access":
        """Accept the listener's name, the machine's (also as `.local`), and the given ones."""
        machine = socket.gethostname()
        local = f"{machine.partition('.')[0]}.local"
        names = {"localhost", listen_host, machine, local, *also}
        known = frozenset(name.lower().rstrip(".") for name in names if name)
        return cls(known, frozenset(origin.lower() for origin in origins), doors)

    def refuses(self, request: web.Request) -> web.Response | None:
        """The answer to a request that is not let in; None if it is, with `PERMIT` set."""
        if request.path == DEVICES or request.path in FOR_ALL:
            return None
        host = request.headers.get("Host")
        if host is not None and not self._known(host):
            return error(421, "host", "the gateway does not go by this host name", "Host")
        if self.listed(request) and _preflight(request):
            return web.Response(status=204)
        permit = self._permit(request)
        if permit is not None:
            request[PERMIT] = permit
        elif request.path not in FRONT:
            return error(401, "unauthenticated", self._how_to_get_in(request))
        if not self.listed(request) and _foreign(request, host):
            return error(403, "origin", "the request comes from another site", "Origin")
        return None

    def listed(self, request: web.Request) -> bool:
        """Whether another site asks that may."""
        return request.headers.get("Origin", "").lower() in self.origins

    def _known(self, host: str) -> bool:
        name = host_name(host)
        return name in self.names or is_address(name)

    def _permit(self, request: web.Request) -> Permit | None:
        """By the token if one is shown, else by the cookie, else by where the client is."""
        doors, local = self.doors, is_local(request)
        if doors is None:
            return Permit() if local else None
        token = bearer(request)
        if token is not None:
            return doors.by_token(token)
        secret = request.cookies.get(doors.cookie)
        found = doors.by_cookie(secret) if secret else None
        return found or (doors.by_place() if local else None)

    def _how_to_get_in(self, request: web.Request) -> str:
        if self.doors is None:
            return "only clients on the gateway's own machine are let in: use 127.0.0.1 there"
        if bearer(request) is not None:
            return "the access token is wrong or revoked: `gateway token add NAME` makes one"
        return (
            "sign in at /login, or send an access token (Authorization: Bearer TOKEN): "
            "`gateway user add NAME` and `gateway token add NAME` make them"
        )


def is_local(request: web.Request) -> bool:
    """Whether the client is on this machine, and so is everybody for whom it asks."""
    told = [value for name in FORWARDED for value in request.headers.getall(name, ())]
    addresses = [part.strip() for value in told for part in value.split(",")]
    return all(is_loopback(address) for address in (request.remote, *addresses))


def bearer(request: web.Request) -> str | None:
    """The token that a request shows; None without an `Authorization: Bearer` (RFC 6750)."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def host_name(host: str) -> str:
    """The name within a Host header, without the port; empty if it cannot be read."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _foreign(request: web.Request, host: str | None) -> bool:
    """Whether a page of another site asks; if it only links to us, no browser sends an Origin."""
    origin = request.headers.get("Origin")
    if origin is not None:
        scheme, _, place = origin.partition("://")
        return scheme not in ("http", "https") or place.lower() != (host or "").lower()
    if request.method in SAFE:
        return False
    return request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")


def _preflight(request: web.Request) -> bool:
    return request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers


def error(status: int, code: str, message: str, parameter: str | None = None) -> web.Response:
    """An error as everywhere: `{"error": {"code", "message", "parameter"}}`."""
    body = {"error": {"code": code, "message": message, "parameter": parameter}}
    headers = {"Cache-Control": "no-store"}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="gateway"'
    return web.Response(
        status=status, text=dump(body), content_type="application/json", headers=headers
    )


def guard(access: Access, *, door: Answer | None = None) -> Middleware:
    """The rules as a middleware. `door` answers a browser that asks for the page in vain."""

    @web.middleware
    async def guarded(request: web.Request, handler: Answer) -> web.StreamResponse:
        refused = access.refuses(request)
        if refused is None:
            return await handler(request)
        if door is not None and refused.status == 401 and _wants_page(request):
            return await door(request)
        return refused

    return guarded


def _wants_page(request: web.Request) -> bool:
    return (
        request.path == "/"
        and request.method in SAFE
        and bearer(request) is None
        and "text/html" in request.headers.get("Accept", "")
    )


def add_cors(access: Access, request: web.Request, response: web.StreamResponse) -> None:
    """Let a listed site, and exactly that one, read the answer."""
    if not access.origins:
        return
    response.headers.add("Vary", "Origin")
    if access.listed(request):
        response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
        response.headers["Access-Control-Allow-Credentials"] = "true"
        if _preflight(request):
            response.headers["Access-Control-Allow-Methods"] = "GET, HEAD, POST"
            response.headers["Access-Control-Allow-Headers"] = CORS_HEADERS
            response.headers["Access-Control-Max-Age"] = CORS_S
