"""The HTTP API against a real server."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path

import httpx
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from gateway.access import Access, host_name
from gateway.api import DeviceInfo, Gateway
from gateway.core.live import Live, Newest
from gateway.web import make_app
from tests.events import NOW, alert, summary
from tests.gateways import FakeGateway


class Served:
    def __init__(self, fake: FakeGateway, client: httpx.AsyncClient, port: int) -> None:
        self.fake = fake
        self.client = client
        self.port = port

    async def get(self, path: str, **more) -> httpx.Response:
        return await self.client.get(path, **more)

    async def json(self, path: str):
        answer = await self.client.get(path)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        assert answer.text.isascii()
        return answer.json()


@asynccontextmanager
async def serving(static: Path, *, remote: str | None = None) -> AsyncIterator[Served]:
    fake = FakeGateway()
    satisfied: Gateway = fake
    metrics = CollectorRegistry()
    Counter("made_up", "For the test.", registry=metrics).inc(3)

    async def events(request: web.Request) -> web.StreamResponse:
        return web.Response(text="events")

    app = make_app(
        gateway=satisfied,
        events=events,
        metrics=metrics,
        access=Access.of("gateway.lan", ["also.example"]),
        static=static,
    )
    if remote is not None:

        @web.middleware
        async def elsewhere(request: web.Request, handler) -> web.StreamResponse:
            return await handler(request.clone(remote=remote))

        app.middlewares.insert(0, elsewhere)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    base = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient(base_url=base, verify=False) as client:
            yield Served(fake, client, port)
    finally:
        await runner.cleanup()


@pytest.fixture
def static(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_text("<!doctype html><title>page</title>")
    (tmp_path / "app.js").write_text("export {};")
    (tmp_path / "secret.py").write_text("x")
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / "chart.css").write_text("a{}")
    return tmp_path


@pytest.fixture
async def served(static: Path) -> AsyncIterator[Served]:
    async with serving(static) as there:
        yield there


def problem(answer: httpx.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    assert sorted(error) == ["code", "message", "parameter"]
    assert error["message"]
    return answer.status_code, error["code"], error["parameter"]


# -- the page -------------------------------------------------------------------------------


async def test_the_page_and_its_files_are_served_with_a_strict_policy(served):
    page = await served.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["cache-control"] == "no-cache"
    assert "access-control-allow-origin" not in page.headers
    script = await served.get("/app.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert (await served.get("/vendor/chart.css")).text == "a{}"


@pytest.mark.parametrize(
    "path", ["/secret.py", "/../web.py", "/%2e%2e/web.py", "/vendor", "/nothing.js", "/api/nothing"]
)
async def test_other_paths_are_not_found(served, path):
    assert problem(await served.get(path)) == (404, "not_found", None)


async def test_a_wrong_method_is_refused_and_the_right_ones_named(served):
    answer = await served.client.post("/api/latest")
    assert problem(answer) == (405, "method_not_allowed", None)
    assert "GET" in answer.headers["allow"]


async def test_head_and_revalidation_of_files(served):
    head = await served.client.head("/app.js")
    assert (head.status_code, head.content) == (200, b"")
    tag = (await served.get("/app.js")).headers["etag"]
    again = await served.get("/app.js", headers={"If-None-Match": tag})
    assert again.status_code == 304


async def test_files_are_compressed_for_clients_that_can_read_that(static):
    (static / "long.css").write_text("a { color: red }\n" * 100)
    async with serving(static) as served:
        packed = await served.get("/long.css", headers={"Accept-Encoding": "gzip"})
        plain = await served.get("/long.css", headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content)
    assert "content-encoding" not in plain.headers
    assert packed.text == plain.text
    assert packed.headers["etag"] != plain.headers["etag"]
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"


# -- who is let in --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:1",
        "127.0.0.1:8080",
        "[::1]:80",
        "192.168.1.9",
        "GATEWAY.lan:99",
        "also.example",
        "gateway.lan.",
    ],
)
async def test_known_host_names_are_answered(served, host):
    assert (await served.get("/api/devices", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "localhost.evil.example", "", "[::1", "a@localhost b"],
)
async def test_foreign_host_names_are_refused(served, host):
    answer = await served.get("/api/devices", headers={"Host": host})
    assert problem(answer) == (421, "host", "Host")


def test_the_host_is_the_name_without_the_port():
    assert host_name("Pi.local:8080") == "pi.local"
    assert host_name("[fe80::1]:80") == "fe80::1"
    assert host_name("[nothing") == ""


@pytest.mark.parametrize("remote", ["192.168.1.20", "::ffff:10.0.0.1", "fe80::1%eth0", "unknown"])
async def test_other_machines_are_told_to_authenticate(static, remote):
    async with serving(static, remote=remote) as served:
        for path in ("/", "/events", "/api/devices", "/metrics", "/api/nothing"):
            assert problem(await served.get(path)) == (401, "unauthenticated", None)
        assert (await served.get("/healthz")).status_code == 200
        assert (await served.get("/readyz")).status_code == 200
        assert (await served.get("/link")).status_code == 404  # not this part's to refuse


@pytest.mark.parametrize("remote", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
async def test_the_own_machine_is_let_in(static, remote):
    async with serving(static, remote=remote) as served:
        assert (await served.get("/api/devices")).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_other_sites_change_nothing(served, headers):
    order = json.dumps({"op": "relay"})
    answer = await served.client.post("/api/devices/d1/commands", content=order, headers=headers)
    assert problem(answer) == (403, "origin", "Origin")
    assert served.fake.orders == {}
    own = {"Origin": f"http://127.0.0.1:{served.port}", "Sec-Fetch-Site": "same-origin"}
    answer = await served.client.post("/api/devices/d1/commands", content=order, headers=own)
    assert answer.status_code == 202


# -- readings -------------------------------------------------------------------------------


async def test_latest_shows_the_newest_reading_and_summary_of_each_series(served):
    served.fake.live = Live([summary(1), summary(2, window="1m", t0=NOW, t1=NOW + 60_000)])
    served.fake.latest = [
        Newest("d1", "m", "Cel", NOW + 0.5, 21.5, "device"),
        Newest("dé", "x", "", None, "öffnen", "unknown"),
    ]
    answer = await served.json("/api/latest")
    first, second = answer["series"]
    assert answer["v"] == 1
    assert first["summary"]["w"] == "1m"  # it ends last
    assert {key: first[key] for key in ("dev", "m", "u", "t", "value", "clock")} == {
        "dev": "d1",
        "m": "m",
        "u": "Cel",
        "t": NOW + 0.5,
        "value": 21.5,
        "clock": "device",
    }
    assert (second["dev"], second["t"], second["summary"]) == ("dé", None, None)


async def test_history_gives_few_readings_as_they_are(served):
    served.fake.measure([NOW + 2, NOW + 1.25], [2.5, 1])
    served.fake.measure([NOW + 3], [True])
    answer = await served.json(f"/api/history?device=d1&metric=m&from={NOW}&to={NOW + 1000}")
    assert answer == {
        "v": 1,
        "dev": "d1",
        "m": "m",
        "u": "Cel",
        "step": None,
        "points": [[NOW + 1.25, 1.0], [NOW + 2, 2.5], [NOW + 3, True]],
        "gaps": [[NOW + 3, NOW + 500, 1]],
    }


async def test_history_gives_many_readings_in_steps(served):
    served.fake.measure([NOW + i for i in range(20_000)], [float(i % 7) for i in range(20_000)])
    answer = await served.json(f"/api/history?device=d1&metric=m&from={NOW}&to={NOW + 20_000}")
    assert answer["step"] == 5
    assert len(answer["points"]) <= 5000
    assert sum(point[4] for point in answer["points"]) == 20_000
    assert answer["points"][0] == [NOW, 0.0, 2.0, 4.0, 5]


async def test_history_in_asked_steps_and_never_too_many_of_them(served):
    served.fake.measure([NOW, NOW + 999, NOW + 1000], [1.0, 3.0, 9.0])
    span = f"device=d1&metric=m&from={NOW}&to={NOW + 3_600_000}"
    answer = await served.json(f"/api/history?{span}&step=1000")
    assert answer["points"] == [[NOW, 1.0, 2.0, 3.0, 2], [NOW + 1000, 9.0, 9.0, 9.0, 1]]
    assert (await served.json(f"/api/history?{span}&step=1"))["step"] == 1000


async def test_history_as_csv(served):
    served.fake.measure([NOW], ['=1,"x"'])
    answer = await served.get(f"/api/history?device=d1&metric=m&from={NOW}&to={NOW + 1}&format=csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert list(csv.reader(io.StringIO(answer.text))) == [["t", "value"], [str(NOW), '=1,"x"']]


async def test_history_of_an_unknown_device_is_empty(served):
    answer = await served.json("/api/history?device=new&metric=m")
    assert (answer["points"], answer["gaps"], answer["u"]) == ([], [], None)


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("metric=m", "device"),
        ("device=d1", "metric"),
        ("device=d1&metric=", "metric"),
        ("device=d1&device=d2&metric=m", "device"),
        ("device=d1&metric=m&from=x", "from"),
        ("device=d1&metric=m&from=-1", "from"),
        ("device=d1&metric=m&from=9&to=9", "to"),
        ("device=d1&metric=m&step=0", "step"),
        ("device=d1&metric=m&step=1.5", "step"),
        ("device=d1&metric=m&format=xml", "format"),
        ("device=d1&metric=m&colour=red", "colour"),
        ("device=%ff&metric=m", "query"),
    ],
)
async def test_history_names_the_parameter_that_is_wrong(served, query, parameter):
    answer = await served.get(f"/api/history?{query}")
    assert problem(answer) == (400, "bad_parameter", parameter)


async def test_summaries_come_in_pages(served):
    served.fake.stored = [{"v": 1, "t0": i} for i in range(5001)]
    first = await served.json("/api/summaries?device=d1&metric=m&window=10s&from=1.5&to=9")
    assert len(first["summaries"]) == 5000
    asked = {"device": "d1", "metric": "m", "window": "10s", "since_ms": 2, "until_ms": 9}
    assert served.fake.asked == asked
    second = await served.json(f"/api/summaries?cursor={first['next']}")
    assert (len(second["summaries"]), second["next"]) == (1, None)


async def test_summaries_refuse_what_they_do_not_know(served):
    answers = {
        query: problem(await served.get(f"/api/summaries?{query}"))
        for query in ("cursor=abc", "window=10", "limit=3")
    }
    assert answers == {
        "cursor=abc": (400, "bad_parameter", "cursor"),
        "window=10": (400, "bad_parameter", "window"),
        "limit=3": (400, "bad_parameter", "limit"),
    }


async def test_a_failing_store_is_said_so(served):
    served.fake.broken = True
    assert problem(await served.get("/api/summaries")) == (503, "store_unavailable", None)


# -- devices and commands -------------------------------------------------------------------


async def test_devices_and_what_they_lost(served):
    answer = await served.json("/api/devices")
    assert [device["id"] for device in answer["devices"]] == ["d1", "d2"]
    loss = answer["devices"][0]["losses"][0]
    assert (loss["from"], loss["to"], loss["reason"], loss["readings"]) == (4, 9, 1, 300)
    assert set(answer["devices"][0]) == {field.name for field in fields(DeviceInfo)}
    assert (await served.json("/api/devices/d1"))["committed"] == 17
    assert (await served.json("/api/devices/d1/losses"))["losses"] == [loss]
    assert (await served.json("/api/devices/d1/losses?cursor=1"))["losses"] == []
    rejected = await served.json("/api/devices/d1/rejected")
    assert rejected["rejected"][0]["body"] == "a100"


async def test_the_store_and_its_disk(served):
    assert (await served.json("/api/devices"))["store"] == {
        "state": "plenty",
        "bytes": 1_500_000,
        "free": 9_000_000_000,
        "time_to_full_s": None,
        "written_per_day": 40_000_000,
    }


async def test_the_broker_and_what_waits_for_it(served):
    assert (await served.json("/api/devices"))["broker"] == {
        "connected": False,
        "waiting": 120,
        "bytes": 30_000,
        "oldest": 1_732_380_000_000,
        "full_in_s": None,
        "dropped": 7,
    }


async def test_without_a_broker_that_is_said(served):
    served.fake.broker = lambda: None
    assert (await served.json("/api/devices"))["broker"] is None


@pytest.mark.parametrize("path", ["", "/losses", "/rejected"])
async def test_an_unknown_device_is_not_found(served, path):
    assert problem(await served.get(f"/api/devices/nobody{path}")) == (404, "unknown_device", "id")


async def test_a_command_is_put_and_followed(served):
    order = {"op": "relay", "args": {"on": True}, "ttl_ms": 30000, "flags": 1}
    answer = await served.client.post("/api/devices/d1/commands", json=order)
    assert (answer.status_code, answer.json()) == (202, {"n": 1})
    assert await served.json("/api/commands/1") == {
        "n": 1,
        "dev": "d1",
        "op": "relay",
        "args": {"on": True},
        "state": "queued",
        "result": None,
        "created": 5,
        "updated": 5,
    }
    unknown = (404, "unknown_command", "n")
    for n in ("2", "0", "x", "-1", "9" * 30, "²"):
        assert problem(await served.get(f"/api/commands/{n}")) == unknown


async def test_commands_that_cannot_be_put(served):
    post = served.client.post
    assert problem(await post("/api/devices/nobody/commands", json={"op": 1})) == (
        404,
        "unknown_device",
        "id",
    )
    answer = await post("/api/devices/d1/commands", json={"op": 1, "ttl": 3})
    assert problem(answer) == (400, "bad_parameter", "ttl")
    answer = await post("/api/devices/d1/commands", content=b"x" * 100_000)
    assert problem(answer) == (413, "request_entity_too_large", None)
    served.fake.full = True
    answer = await post("/api/devices/d1/commands", json={"op": 1})
    assert problem(answer) == (429, "queue_full", None)


async def test_alerts_are_listed_and_acknowledged(served):
    served.fake.live.apply(alert(1, device="d1", name="hot"))
    served.fake.live.apply(alert(2, device="d2", name="hot"))
    assert len((await served.json("/api/alerts"))["alerts"]) == 2
    assert [row["dev"] for row in (await served.json("/api/alerts?device=d2"))["alerts"]] == ["d2"]
    assert problem(await served.get("/api/alerts?name=hot")) == (400, "bad_parameter", "name")
    served.fake.alerts[7] = {"v": 1, "n": 7}
    post = served.client.post
    answer = await post("/api/alerts/7/ack", json={"by": "ann"})
    assert answer.json() == {"v": 1, "n": 7, "state": "acknowledged", "by": "ann", "note": ""}
    assert (await post("/api/alerts/7/ack")).status_code == 200
    assert problem(await post("/api/alerts/8/ack")) == (404, "unknown_alert", "n")
    answer = await post("/api/alerts/7/ack", json={"note": "x" * 501})
    assert problem(answer) == (400, "bad_parameter", "note")
    assert problem(await post("/api/alerts/7/ack", json={"by": 3})) == (400, "bad_parameter", "by")


# -- state ----------------------------------------------------------------------------------


async def test_health_readiness_and_metrics(served):
    assert await served.json("/healthz") == {"status": "alive"}
    assert await served.json("/readyz") == {"status": "ready"}
    assert "made_up_total 3.0" in (await served.get("/metrics")).text
    served.fake.why = "the disk is full"
    answer = await served.get("/readyz")
    assert problem(answer) == (503, "not_ready", None)
    assert answer.json()["error"]["message"] == "the disk is full"
    assert (await served.get("/healthz")).status_code == 200


async def test_http_1_0_without_a_host_is_answered(served):
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.0 200 OK\r\n")
    writer.close()
