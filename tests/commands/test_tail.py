"""Following the event stream: its lines, breaks and cursors, against a small server."""

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.commands.tail import Assembly, Event, access_token, follow, own_url
from gateway.config import Config, load
from gateway.control import ControlError


def events(*lines):
    assembly = Assembly()
    return [event for line in lines if (event := assembly.add(line)) is not None]


def test_an_event_is_put_together():
    lines = ["event: summary", "id: k-1", "data: a", "data: b", "", ": comment", ""]
    assert events(*lines) == [Event("summary", "k-1", "a\nb", None)]


def test_a_pause_alone_is_news():
    assert events("retry: 2500", "") == [Event("message", None, "", 2.5)]


def test_odd_lines_do_no_harm():
    assert events("retry: soon", "", "data", "", "data:  x", "", "nonsense: 1", "") == [
        Event("message", None, " x", None)
    ]


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", "http://127.0.0.1:8080"),
        ('[listen]\nhost = "0.0.0.0"\nport = 81', "http://127.0.0.1:81"),
        ('[listen]\nhost = "::1"', "http://[::1]:8080"),
        ('[listen]\ntls_cert = "c"\ntls_key = "c"', "https://127.0.0.1:8080"),
    ],
)
def test_the_gateways_own_address(tmp_path, text, url):
    (tmp_path / "c").touch()
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    assert own_url(load(path, env={})) == url
    assert own_url(Config()) == "http://127.0.0.1:8080"


class Stream:
    """Answers each request with the next of `answers`, and keeps what was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str | None]] = []
        self.done = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.query_string, request.headers.get("Last-Event-ID")))
        if not self.answers:
            self.done.set()
            await asyncio.sleep(60)
        return web.Response(text=self.answers.pop(0), content_type="text/event-stream")


@pytest.fixture
async def serve():
    servers = []

    async def _serve(answer):
        app = web.Application()
        app.router.add_get("/events", answer)
        server = TestServer(app, shutdown_timeout=0)
        await server.start_server()
        servers.append(server)
        return str(server.make_url("/"))

    yield _serve
    for server in servers:
        await server.close()


async def test_it_goes_on_behind_the_last_event_after_a_break(serve, capsys):
    stream = Stream(
        "retry: 1\n\nevent: hello\ndata: {}\n\nevent: summary\nid: k-1\ndata: one\n\n",
        "event: gap\nid: k-7\ndata: too_old\n\nevent: status\nid: k-8\ndata: two\ndata: three\n\n",
    )
    url = await serve(stream.answer)
    following = asyncio.create_task(follow(url, [("format", "text")], trust=None))
    async with asyncio.timeout(20):
        await stream.done.wait()
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    assert stream.asked == [("format=text", None), ("format=text", "k-1"), ("format=text", "k-8")]
    out, err = capsys.readouterr()
    assert out == "one\ntwo\nthree\n"
    assert "events are missing: too_old" in err
    assert "the stream ended" in err


async def test_a_refusal_is_final(serve):
    async def refuse(request):
        return web.json_response({"error": {"parameter": "kind"}}, status=400)

    with pytest.raises(ControlError, match=r"answered 400: .*kind"):
        await follow(await serve(refuse), [], trust=None)


async def test_a_gateway_that_is_away_is_awaited(capsys):
    following = asyncio.create_task(follow("http://127.0.0.1:1", [], trust=None))
    async with asyncio.timeout(20):
        while "connecting again" not in capsys.readouterr().err:
            await asyncio.sleep(0.01)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following


async def test_a_token_is_asked_for_before_each_connection():
    shown: list[str | None] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        shown.append(request.headers.get("Authorization"))
        if len(shown) == 3:
            return web.Response(status=401)
        return web.Response(text="retry: 1\n\n", content_type="text/event-stream")

    tokens = iter([None, "one", "two"])
    application = web.Application()
    application.router.add_get("/events", answer)
    async with TestServer(application) as server:
        with pytest.raises(ControlError, match="SENSOR_GATEWAY_TOKEN"):
            await follow(str(server.make_url("")), [], trust=None, pass_=lambda: next(tokens))
    assert shown == [None, "Bearer one", "Bearer two"]


def test_where_a_token_comes_from(tmp_path, monkeypatch):
    monkeypatch.delenv("SENSOR_GATEWAY_TOKEN", raising=False)
    assert access_token(tmp_path) is None
    monkeypatch.setenv("SENSOR_GATEWAY_TOKEN", "t")
    assert access_token(None) == "t"
