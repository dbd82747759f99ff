"""Chromium's own EventSource on the gateway's stream, without our page."""

import asyncio
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.processes import GatewayProcess
from tests.sse_conformance.server import Device

LISTEN = """() => {
    window.seen = [];
    window.source = new EventSource("/events?kind=alert");
    for (const name of ["hello", "alert", "gap", "bye"]) {
        source.addEventListener(name, (event) => seen.push([name, event.lastEventId, event.data]));
    }
}"""
NAMES = "() => seen.map(([name]) => name)"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    gateway = GatewayProcess(tmp_path, more="[events]\nmax_clients = 1\n")
    gateway.start()
    yield gateway
    gateway.kill()


def publish(device: Device, *texts: str) -> None:
    """Playwright has a loop of its own in this thread."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, device.publish(texts)).result()


def test_eventsource_comes_back_with_its_cursor_and_misses_nothing(
    page: Page, gateway: GatewayProcess
) -> None:
    device = Device(gateway, "herald")
    page.goto(gateway.url + "/healthz")
    page.evaluate(LISTEN)
    page.wait_for_function("() => seen.length === 1")
    publish(device, "one", "two")
    page.wait_for_function("() => seen.length === 3")
    gateway.kill()
    gateway.start()
    publish(device, "three", "four")
    page.wait_for_function("() => seen.some(([, , data]) => data.includes('four'))", timeout=60_000)
    seen = page.evaluate("() => seen")
    assert [name for name, *_ in seen] == ["hello", "alert", "alert", "hello", "alert", "alert"]
    details = [data.partition('"detail":"')[2].partition('"')[0] for *_, data in seen]
    assert [detail for detail in details if detail] == ["one", "two", "three", "four"]


def test_at_capacity_eventsource_waits_and_does_not_give_up(
    page: Page, gateway: GatewayProcess
) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port)) as occupant:
        occupant.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert occupant.recv(999)
        page.goto(gateway.url + "/healthz")
        page.evaluate(LISTEN)
        page.wait_for_function("() => seen.length === 1")
        assert page.evaluate(NAMES) == ["bye"]
        page.wait_for_function("() => source.readyState === EventSource.CONNECTING")
