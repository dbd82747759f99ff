"""Chromium through a reverse proxy: many tabs on one connection, and a WebSocket beside them."""

import base64
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cbor2
import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.processes import PATIENCE_S, GatewayProcess
from tests.reverse_proxies import KINDS, NAME, ReverseProxy
from tests.wire_client import new_epoch

PASSWORD = "correct horse battery"
TABS = 9
"""More than the six connections that a browser opens to one host."""
LISTEN = """() => new Promise((heard) => {
    window.source = new EventSource("/events");
    source.addEventListener("snapshot", () => heard("heard"));
})"""
PROTOCOLS = 'performance.getEntriesByType("resource").map((entry) => entry.nextHopProtocol)'
REQUEST = r'^127\.0\.0\.1:(\d+) .*"GET https://[^/]*(/\w*)[^"]* HTTP/2.0"$'
GREET = """(hello) => new Promise((heard, failed) => {
    const socket = new WebSocket(`wss://${location.host}/link`, "sensorlink.v1");
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(Uint8Array.from(atob(hello), (c) => c.charCodeAt(0)));
    socket.onmessage = ({data}) => heard(new Uint8Array(data)[0]);
    socket.onerror = () => failed(new Error("no WebSocket"));
})"""


@pytest.fixture(params=KINDS)
def proxy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ReverseProxy]:
    gateway = GatewayProcess(tmp_path)
    text = gateway.config.read_text().replace("[listen]\n", f'[listen]\nhosts = ["{NAME}"]\n')
    gateway.config.write_text(text)
    add = [sys.executable, "-m", "gateway", "user", "add", "ada", "--config", str(gateway.config)]
    subprocess.run(add, input=PASSWORD.encode(), check=True, capture_output=True)
    gateway.start()
    with ReverseProxy(request.param, tmp_path, gateway.port).running() as proxy:
        yield proxy
    gateway.kill()


@pytest.fixture
def context(browser: Browser, proxy: ReverseProxy) -> Iterator[BrowserContext]:
    context = browser.new_context(
        base_url=f"https://{proxy.host}",
        ignore_https_errors=True,
    )
    yield context
    context.close()


def test_many_tabs_share_one_connection(context: BrowserContext, proxy: ReverseProxy) -> None:
    sign_in(context)
    tabs = [context.new_page() for _ in range(TABS)]
    for tab in tabs:
        tab.goto("/healthz")
        assert tab.evaluate(LISTEN) == "heard"
    page = context.new_page()
    page.goto("/")
    expect(page.locator("#connection")).to_have_text("live")
    assert set(page.evaluate(PROTOCOLS)) == {"h2"}
    hello = cbor2.dumps({0: 1, 2: [1, 0], 3: "browser", 4: new_epoch(), 5: 1, 6: 0})
    page.evaluate(GREET, base64.b64encode(hello).decode())
    if proxy.kind == "haproxy":
        page.close()
        assert_one_connection(proxy)


def sign_in(context: BrowserContext) -> None:
    page = context.new_page()
    page.goto("/")
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("#connection")).to_have_text("live")
    (cookie,) = context.cookies()
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Strict")
    page.close()


def assert_one_connection(proxy: ReverseProxy) -> None:
    """By HAProxy's log, which has a line once a request is over: the WebSocket was on it too."""
    deadline = time.monotonic() + PATIENCE_S
    ports: dict[str, str] = {}
    while not {"/events", "/link"} <= set(ports):
        assert time.monotonic() < deadline, proxy.log.read_text()
        time.sleep(0.02)
        found = re.findall(REQUEST, proxy.log.read_text(), re.MULTILINE)
        ports = {path: port for port, path in found}
    assert ports["/events"] == ports["/link"]
