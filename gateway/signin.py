"""Signing in and out in a browser: `/login`, `/logout`, and who one is, `/api/session`.

The form works without JavaScript. The page is the same file for everybody; what went wrong is put
into it, escaped.
"""

import html
from pathlib import Path

from aiohttp import web

from gateway.access import Doors, error
from gateway.core.addresses import asker
from gateway.core.filters import read_query
from gateway.core.summary import dump
from gateway.permit import SignInRefused, TooManyAttempts, permit_of

PAGE = "login.html"
LONGEST_NAME = 64
_NO_USER = "There is no user yet. On the gateway's machine, run: gateway user add NAME"


class SignInPages:
    """Answers, as methods that take a request."""

    def __init__(self, doors: Doors, page: Path) -> None:
        self._doors = doors
        self._page = page.read_text(encoding="utf-8")

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/login", self.form),
            web.post("/login", self.sign_in),
            web.post("/logout", self.sign_out),
            web.get("/api/session", self.session),
        ]

    async def form(self, _: web.Request) -> web.Response:
        return self._form(200)

    async def door(self, _: web.Request) -> web.Response:
        """The form in place of the page that somebody may not see yet."""
        return self._form(401)

    def _form(self, status: int, problem: str = "", user: str = "") -> web.Response:
        problem = problem or ("" if self._doors.has_users else _NO_USER)
        notice = f'<p class="notice" role="alert" id="problem">{html.escape(problem)}</p>'
        text = self._page.replace("{{problem}}", notice if problem else "")
        text = text.replace("{{user}}", html.escape(user))
        headers = {"Cache-Control": "no-store"}
        if status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="gateway"'
        return web.Response(status=status, text=text, content_type="text/html", headers=headers)

    async def sign_in(self, request: web.Request) -> web.Response:
        as_json = request.content_type == "application/json"
        user, password = await (_from_json(request) if as_json else _from_form(request))
        try:
            secret, seconds = await self._doors.sign_in(user, password, address=address(request))
        except SignInRefused as refused:
            return self._refusal(401, str(refused), user=user, as_json=as_json)
        except TooManyAttempts as many:
            text = f"{many}: try again in {_duration(many.wait_s)}"
            answer = self._refusal(429, text, user=user, as_json=as_json)
            answer.headers["Retry-After"] = str(many.wait_s)
            return answer
        answer = _signed_in(user) if as_json else _go("./")
        answer.set_cookie(
            self._doors.cookie,
            secret,
            max_age=seconds,
            path="/",
            httponly=True,
            samesite="Strict",
            secure=_is_https(request),
        )
        return answer

    def _refusal(self, status: int, text: str, *, user: str, as_json: bool) -> web.Response:
        if as_json:
            code = "too_many_attempts" if status == 429 else "wrong_credentials"
            return error(status, code, text)
        return self._form(status, f"{text[0].upper()}{text[1:]}.", user)

    async def sign_out(self, request: web.Request) -> web.Response:
        secret = request.cookies.get(self._doors.cookie)
        if secret:
            await self._doors.sign_out(secret)
        answer = _go("login")
        answer.del_cookie(
            self._doors.cookie,
            path="/",
            httponly=True,
            samesite="Strict",
            secure=_is_https(request),
        )
        return answer

    async def session(self, request: web.Request) -> web.Response:
        read_query(request.raw_path.partition("?")[2], known=())
        permit = permit_of(request)
        body = {"v": 1, "user": permit.user, "expires": permit.expires}
        headers = {"Cache-Control": "no-store"}
        return web.json_response(body, headers=headers, dumps=dump)


async def _from_form(request: web.Request) -> tuple[str, str]:
    if request.content_type != "application/x-www-form-urlencoded":
        raise web.HTTPUnsupportedMediaType
    try:
        fields = await request.post()
    except (ValueError, LookupError):
        raise web.HTTPBadRequest from None
    return _checked(fields.get("user"), fields.get("password"))


async def _from_json(request: web.Request) -> tuple[str, str]:
    try:
        fields = await request.json()
    except (ValueError, LookupError, RecursionError):
        raise web.HTTPBadRequest from None
    if not isinstance(fields, dict):
        raise web.HTTPBadRequest
    return _checked(fields.get("user"), fields.get("password"))


def _checked(user: object, password: object) -> tuple[str, str]:
    if not isinstance(user, str) or not isinstance(password, str):
        raise web.HTTPBadRequest
    return user.strip()[:LONGEST_NAME], password


def _signed_in(user: str) -> web.Response:
    return web.json_response({"v": 1, "user": user}, headers={"Cache-Control": "no-store"})


def _go(place: str) -> web.Response:
    """On to another page; relative, since all may live below a proxy's prefix."""
    return web.Response(status=303, headers={"Location": place, "Cache-Control": "no-store"})


def address(request: web.Request) -> str:
    """Where the client is; behind a proxy on this machine what the proxy says."""
    return asker(request.remote or "", request.headers.getall("X-Forwarded-For", []))


def _is_https(request: web.Request) -> bool:
    return request.secure or request.headers.get("X-Forwarded-Proto", "").lower() == "https"


def _duration(seconds: int) -> str:
    if seconds < 60:
        return f"{seconds} s"
    return f"{-(-seconds // 60)} min"
