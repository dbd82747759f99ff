"""The OpenAPI document says what the gateway does: Schemathesis asks, and events are looked at."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import jsonschema_rs
import pytest
from aiohttp import web
from httpx_sse import connect_sse
from prometheus_client import CollectorRegistry

from gateway.access import Access
from gateway.core.sse import NAMES
from gateway.web import STATIC, make_app
from tests.gateways import FakeGateway
from tests.processes import EVENTFUL, PATIENCE_S, GatewayProcess, fleet, run, until

DOCUMENT = STATIC / "api" / "openapi.json"
CONFIG = Path(__file__).parent / "openapi.toml"
RULE = """[summaries]
windows = ["1s"]
lateness = "1s"
[[alerts]]
name = "measured"
metric = "temperature"
above = -300
"""


class Served(NamedTuple):
    """A gateway with a user, and with devices that push; the header that lets one in."""

    gateway: GatewayProcess
    headers: dict[str, str]

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.gateway.url + path, headers=self.headers, timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return json.loads(DOCUMENT.read_text())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    gateway = GatewayProcess(tmp_path_factory.mktemp("gateway"), more=RULE)
    run(gateway, "user", "add", "ada", given="correct horse battery\n")
    token = run(gateway, "token", "add", "tests")
    gateway.start()
    devices = fleet(gateway, *EVENTFUL)
    there = Served(gateway, {"Authorization": f"Bearer {token}"})
    until(lambda: any(row["summary"] for row in there.get("/api/latest").json()["series"]))
    until(lambda: there.get("/api/alerts").json()["alerts"])
    until(lambda: all(d["losses"] for d in there.get("/api/devices").json()["devices"]))
    yield there
    devices.terminate()
    devices.wait(PATIENCE_S)
    gateway.stop()


# -- the document ---------------------------------------------------------------------------


async def _nothing(_: web.Request) -> web.Response:
    return web.Response()


class _Doors:
    cookie = "gateway-test"
    has_users = False


def test_every_route_is_described_and_nothing_else(document: dict[str, Any]) -> None:
    app = make_app(
        gateway=FakeGateway(),
        events=_nothing,
        metrics=CollectorRegistry(),
        access=Access.of("here", doors=_Doors()),
    )
    page = {f"/{path.relative_to(STATIC).as_posix()}" for path in STATIC.rglob("*.*")}
    page.discard("/api/openapi.json")
    routes = {(route.method, route.resource.canonical) for route in app.router.routes()}
    routes.add(("GET", "/link"))  # serving.py adds it
    described = {
        (method.upper(), path)
        for path, there in document["paths"].items()
        for method in there
        if method != "parameters"
    }
    assert described == {(m, path) for m, path in routes if m != "HEAD" and path not in page}


def test_every_reference_leads_somewhere_and_every_component_is_used(document) -> None:
    def references(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            yield from (part["$ref"],) if "$ref" in part else ()
            part = list(part.values())
        for item in part if isinstance(part, list) else ():
            yield from references(item)

    components = {
        f"#/components/{kind}/{name}"
        for kind, named in document["components"].items()
        if kind != "securitySchemes"
        for name in named
    }
    assert set(references(document)) == components


def test_every_event_is_described(document: dict[str, Any]) -> None:
    assert set(payloads(document)) == NAMES


def payloads(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The schema of each event's payload, complete, by the event's name."""
    named = {}
    for event in document["components"]["schemas"]["Event"]["oneOf"]:
        schema = event["properties"]["data"]["contentSchema"]
        name = event["properties"]["event"]["const"]
        named[name] = {**schema, "components": document["components"]}
    return named


# -- against a gateway ----------------------------------------------------------------------


def test_the_gateway_serves_the_document(served: Served, document: dict[str, Any]) -> None:
    answer = served.get("/api/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == document
    assert httpx.get(answer.url).status_code == 401


def test_the_gateway_does_what_the_document_says(served: Served, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"]
    line += ["--generation-deterministic", "--no-color", "--url", served.gateway.url]
    for name, value in served.headers.items():
        line += ["--header", f"{name}: {value}"]
    done = subprocess.run(
        [*line, str(DOCUMENT)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Selected: 22/22" in done.stdout
    assert "Tested: 22" in done.stdout


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/history?device=power-1&metric=voltage&from=0&to=999999999999999", 200),
        ("/api/history?device=power-1&metric=voltage&from=999999999999998", 400),
        ("/api/history?device=x&metric=x&from=999999999999998&to=999999999999999", 200),
        ("/api/summaries?cursor=0.0.1s", 200),
        ("/api/summaries?cursor=999999999999999999.1.1s", 200),
        ("/api/summaries?cursor=99999999999999999999.1.1s", 400),
        ("/api/summaries?cursor=1_0.1.1s", 400),
        ("/api/summaries?cursor=1.1.1w", 400),
        ("/api/session?colour=red", 400),
        ("/api/alerts?" + "&".join(["device=a"] * 65), 400),
        ("/api/commands/9223372036854775808", 404),
    ],
)
def test_odd_requests(served: Served, path: str, status: int) -> None:
    assert served.get(path).status_code == status


def test_the_link_tells_who_is_no_websocket(served: Served) -> None:
    answer = served.get("/link")
    assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")
    assert answer.json()["error"]["message"] == "this is the devices' WebSocket (sensorlink.v1)"


def test_events_are_what_the_document_says(served: Served, document: dict[str, Any]) -> None:
    schemas = {
        name: jsonschema_rs.validator_for(schema) for name, schema in payloads(document).items()
    }
    missing = {"hello", "snapshot", "summary", "reading"}  # those that surely come
    kinds = {"kind": ["summary", "status", "alert", "reading"]}
    with (
        httpx.Client(base_url=served.gateway.url, headers=served.headers, timeout=60) as client,
        connect_sse(client, "GET", "/events", params=kinds) as stream,
    ):
        for event in stream.iter_sse():
            schemas[event.event].validate(event.json())
            missing.discard(event.event)
            if not missing:
                return
