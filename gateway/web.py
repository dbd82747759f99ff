"""The HTTP application: routes, headers, errors; the page and its files."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from gateway.access import Access, Answer, add_cors, error, guard
from gateway.api import Gateway, QueueFull, UnknownDevice
from gateway.core.alert_book import UnknownAlert
from gateway.core.filters import BadQuery
from gateway.core.summary import dump
from gateway.errors import StoreError, StoreFull
from gateway.files import TYPES, file
from gateway.routes import Api, unix_ms
from gateway.signin import PAGE, SignInPages

STATIC = Path(__file__).parent / "static"
MAX_BODY = 64 * 1024
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # With no-referrer browsers would send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
}


def make_app(
    *,
    gateway: Gateway,
    events: Callable[[web.Request], Awaitable[web.StreamResponse]],
    metrics: CollectorRegistry,
    access: Access,
    clock: Callable[[], int] = unix_ms,
    static: Path = STATIC,
) -> web.Application:
    """Everything that is answered over HTTP, but `/link`.

    `events` answers `/events` (Hub.serve), `clock` gives Unix milliseconds. Run it with
    `handler_cancellation=True`.
    """
    pages = None if access.doors is None else SignInPages(access.doors, static / PAGE)
    guarded = guard(access, door=None if pages is None else pages.door)
    app = web.Application(middlewares=[explain, guarded], client_max_size=MAX_BODY)
    app.on_response_prepare.append(_headers(access))
    if pages is not None:
        app.add_routes(pages.routes())
    app.add_routes(Api(gateway, clock=clock).routes())
    app.router.add_get("/events", events)
    _add_files(app, static)
    _add_state(app, gateway, metrics)
    return app


def _headers(access: Access) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    async def add(request: web.Request, response: web.StreamResponse) -> None:
        for header, value in HEADERS.items():
            response.headers.setdefault(header, value)
        add_cors(access, request, response)

    return add


@web.middleware
async def explain(request: web.Request, handler: Answer) -> web.StreamResponse:
    """Turn what went wrong into JSON that says so."""
    try:
        return await handler(request)
    except BadQuery as bad:
        return error(400, "bad_parameter", bad.message, bad.parameter)
    except UnknownDevice:
        return error(404, "unknown_device", "no device of this name is registered", "id")
    except UnknownAlert as unknown:
        return error(404, "unknown_alert", str(unknown), "n")
    except QueueFull as full:
        return error(429, "queue_full", str(full) or "too many commands wait already")
    except StoreError as failed:
        code = "store_full" if isinstance(failed, StoreFull) else "store_unavailable"
        return error(503, code, str(failed))
    except web.HTTPException as other:
        if other.status < 400:
            raise
        return _plain_error(other)


def _plain_error(other: web.HTTPException) -> web.Response:
    """As the router or a handler raised it; a text of the handler's own is the message."""
    words, text = other.reason.lower(), other.text or ""
    own = text and text != f"{other.status}: {other.reason}"
    answer = error(other.status, words.replace(" ", "_"), text.strip() if own else words)
    for header in ("Allow", "Upgrade"):
        if header in other.headers:
            answer.headers[header] = other.headers[header]
    return answer


def _add_files(app: web.Application, static: Path) -> None:
    """One route for each file there is, so that no path leads anywhere else."""
    for path in sorted(static.rglob("*")):
        if path.is_file() and path.suffix in TYPES and path.name != PAGE:
            app.router.add_get(f"/{path.relative_to(static).as_posix()}", file(path))
    index = static / "index.html"
    if index.is_file():
        app.router.add_get("/", file(index))


def _add_state(app: web.Application, gateway: Gateway, metrics: CollectorRegistry) -> None:
    async def alive(_: web.Request) -> web.Response:
        return _state(200, {"status": "alive"})

    async def ready(_: web.Request) -> web.Response:
        why = gateway.not_ready()
        if why is None:
            return _state(200, {"status": "ready"})
        return error(503, "not_ready", why)

    async def measure(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(metrics), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    app.router.add_get("/healthz", alive)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/metrics", measure)


def _state(status: int, body: dict[str, str]) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    return web.Response(
        status=status, text=dump(body), content_type="application/json", headers=headers
    )
