"""Alerts at a gateway that runs: the stream, the API, the command line, a broker, and restarts."""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.core.filters import Filter
from tests.brokers import mosquitto
from tests.processes import PATIENCE_S, GatewayProcess
from tests.site import Machine, Site
from tests.sse_parser import Event, Parser
from tests.watcher import Subscriber
from tests.wire_client import WireClient, new_epoch

RULES = """
[[alerts]]
name = "hot"
device = "shed-*"
metric = "v"
above = 30
hysteresis = 2
text = "open the door"
[[alerts]]
name = "silent"
device = "quiet"
silent = "1s"
"""


class Sensor:
    """The device shed-1, one connection after another; readings a second apart from now on."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.gateway = gateway
        self.epoch = new_epoch()
        self.seq = 0
        self.t = time.time_ns() // 10**6 - 600_000

    async def measure(self, *values: float, device: str = "shed-1") -> None:
        """Send a message with these values, and wait until it is acknowledged."""
        async with WireClient(self.gateway.link, device) as client:
            await client.hello(self.epoch, lo=self.seq + 1, hi=self.seq)
            await client.schema()
            self.seq += 1
            data = {0: 16, 1: self.seq, 2: 1, 3: self.t, 4: 1000, 5: [list(values)], 7: 0}
            if len(values) == 1:
                del data[4]
            self.t += 1000 * len(values)
            await client.send(data)
            await client.acked(self.seq)


@asynccontextmanager
async def stream(gateway: GatewayProcess, query: str = "") -> AsyncIterator[Callable[[str], Any]]:
    """`await next_of(name)`: the next event of that name, as JSON."""
    async with aiohttp.ClientSession() as http, http.get(f"{gateway.url}/events{query}") as answer:
        parser = Parser()

        async def events() -> AsyncIterator[Event]:
            async for data in answer.content.iter_any():
                for event in parser.feed(data):
                    yield event

        async with aclosing(events()) as every:

            async def next_of(name: str) -> Any:
                async with asyncio.timeout(PATIENCE_S):
                    async for event in every:
                        if event.name == name:
                            return event.json
                raise AssertionError(f"the stream ended before a {name}")

            yield next_of


def post(gateway: GatewayProcess, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    asked = urllib.request.Request(
        gateway.url + path,
        method="POST",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def command(gateway: GatewayProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments, "--config", str(gateway.config)],
        check=False, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.02)


def open_alerts(gateway: GatewayProcess) -> list[str]:
    return [f"{row['name']} {row['state']}" for row in gateway.get("/api/alerts")["alerts"]]


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    found = GatewayProcess(tmp_path, more=RULES)
    await asyncio.to_thread(found.start)
    yield found
    found.stop()


async def test_a_sensor_goes_out_of_range_and_comes_back(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        more = f'[mqtt]\nurl = "mqtt://127.0.0.1:{broker.port}"\n{RULES}'
        gateway = GatewayProcess(tmp_path, more=more)
        async with Subscriber(broker.port, "sensors/gw-1/shed-1/alert").running() as subscriber:
            await subscriber.ready.wait()
            await asyncio.to_thread(gateway.start)
            sensor = Sensor(gateway)
            await _story(gateway, sensor)
            await until(lambda: len(subscriber.numbered()) >= 3)
        gateway.stop()
    bodies = {number: json.loads(body) for number, _, body in subscriber.numbered()}
    told = [bodies[number] for number in sorted(bodies)]
    assert [body["state"] for body in told] == ["open", "acknowledged", "closed"]
    assert {body["n"] for body in told} == {1}


async def _story(gateway: GatewayProcess, sensor: Sensor) -> None:
    async with stream(gateway, "?kind=alert") as next_of:
        await sensor.measure(20.0)
        at = sensor.t
        await sensor.measure(31.5)
        opened = await next_of("alert")
        assert {**opened, "t": 0} == {
            "v": 1, "dev": "shed-1", "m": "v", "source": "rule", "name": "hot", "state": "open",
            "n": 1, "since": at, "detail": {"value": 31.5, "above": 30.0},
            "text": "open the door", "t": 0,
        }  # fmt: skip
        assert (await asyncio.to_thread(gateway.get, "/api/alerts"))["alerts"] == [opened]
        await sensor.measure(29.0)
    await asyncio.to_thread(gateway.stop)
    await asyncio.to_thread(gateway.start)
    async with stream(gateway, "?kind=alert") as next_of:
        assert (await next_of("snapshot"))["alerts"] == [opened]
        asked = {"by": "ann", "note": "on my way"}
        status, told = await asyncio.to_thread(post, gateway, "/api/alerts/1/ack", asked)
        assert (status, told["state"], told["by"], told["note"]) == (
            200,
            "acknowledged",
            *asked.values(),
        )
        assert await next_of("alert") == told
        await sensor.measure(28.0)
        closed = await next_of("alert")
        assert (closed["state"], closed["n"], closed["detail"]) == ("closed", 1, {"value": 28.0})
        assert await asyncio.to_thread(open_alerts, gateway) == []


async def test_an_alert_is_told_once_whenever_the_gateway_is_killed(
    gateway: GatewayProcess,
) -> None:
    sensor, began = Sensor(gateway), time.time_ns() // 10**6 - 1000
    for value in (20.0, 31.0, 20.0, 31.0, 29.0, 20.0, 31.0):
        await sensor.measure(value)
        await asyncio.to_thread(gateway.kill)
        await asyncio.to_thread(gateway.start)
    await until(lambda: open_alerts(gateway) == ["hot open"])
    async with stream(gateway, f"?kind=alert&since={began}") as next_of:
        told = [await next_of("alert") for _ in range(5)]
    assert [(body["state"], body["n"]) for body in told] == [
        ("open", 1), ("closed", 1), ("open", 2), ("closed", 2), ("open", 3),
    ]  # fmt: skip


async def test_alerts_on_the_command_line(gateway: GatewayProcess) -> None:
    sensor = Sensor(gateway)
    await sensor.measure(31.0)
    await until(lambda: open_alerts(gateway) == ["hot open"])
    shown = await asyncio.to_thread(command, gateway, "alerts")
    assert all(word in shown.stdout for word in ("shed-1", "hot", "open the door"))
    done = await asyncio.to_thread(command, gateway, "alerts", "ack", "1", "--by", "ann")
    assert (done.returncode, done.stderr) == (0, "alert 1 (hot, shed-1) is acknowledged\n")
    (row,) = (await asyncio.to_thread(gateway.get, "/api/alerts"))["alerts"]
    assert (row["state"], row["by"]) == ("acknowledged", "ann")
    wrong = await asyncio.to_thread(command, gateway, "alerts", "ack", "7")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: no alert 7 is open")
    await asyncio.to_thread(gateway.stop)
    stored = await asyncio.to_thread(command, gateway, "alerts", "--json")
    assert json.loads(stored.stdout) == row
    assert (await asyncio.to_thread(command, gateway, "alerts", "ack", "1")).returncode == 1


async def test_the_api_lists_and_refuses(gateway: GatewayProcess) -> None:
    sensor = Sensor(gateway)
    await sensor.measure(31.0)
    await until(lambda: open_alerts(gateway) == ["hot open"])

    def rows(query: str) -> int:
        return len(gateway.get(f"/api/alerts?{query}")["alerts"])

    assert await asyncio.to_thread(rows, "device=shed-1&metric=v") == 1
    assert await asyncio.to_thread(rows, "device=shed-2") == 0
    status, answer = await asyncio.to_thread(post, gateway, "/api/alerts/9/ack", {})
    assert (status, answer["error"]["code"]) == (404, "unknown_alert")
    status, answer = await asyncio.to_thread(post, gateway, "/api/alerts/1/ack", {"who": "ann"})
    assert (status, answer["error"]["parameter"]) == (400, "who")
    metrics = await asyncio.to_thread(
        lambda: urllib.request.urlopen(gateway.url + "/metrics").read()
    )
    assert b"gateway_alerts_open 1.0" in metrics


async def test_an_alert_of_the_gateway_itself_is_acknowledged_and_outlasts_a_restart(
    tmp_path: Path,
) -> None:
    machine = Machine(time.time_ns())

    def standing(site: Site) -> list[tuple[str, str]]:
        rows = site.parts.facade.live.snapshot(Filter()).alerts
        return [(row["name"], row["state"]) for row in map(json.loads, rows)]

    async with Site(tmp_path, machine) as site:
        site.parts.upkeep._clock_told("wrong")
        await site.until(lambda: standing(site) == [("clock", "wrong")])
        told = await site.parts.facade.acknowledge(1, by="ann", note="")
        assert (told["source"], told["state"], told["by"]) == ("gateway", "acknowledged", "ann")
    async with Site(tmp_path, machine) as site:
        assert standing(site) == [("clock", "acknowledged")]
        await site.turns()
        assert standing(site) == [("clock", "acknowledged")]
        site.parts.upkeep._clock_told("ok")
        await site.until(lambda: standing(site) == [])


async def test_a_silent_device_is_told_and_heard_again(gateway: GatewayProcess) -> None:
    sensor = Sensor(gateway)
    await sensor.measure(5.0, device="quiet")
    await until(lambda: open_alerts(gateway) == ["silent open"])
    async with stream(gateway, "?kind=alert&snapshot=0") as next_of:
        await sensor.measure(5.0, device="quiet")
        closed = await next_of("alert")
    assert (closed["dev"], closed["name"], closed["state"]) == ("quiet", "silent", "closed")
