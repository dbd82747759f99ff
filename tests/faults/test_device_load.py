"""A backlog of days beside live devices, and a thousand devices that come back at once."""

import asyncio
import json
import sqlite3
from collections import defaultdict
from pathlib import Path
from typing import Any

import aiohttp
import cbor2
import numpy as np
import pytest

from gateway.store.sql import register
from tests.faults.devices import FAST, HEAVY, MARK, begin, healthy, metric, now_ms, reading, until
from tests.processes import GatewayProcess
from tests.wire_client import WireClient, new_epoch

DAYS = 3
BACKLOG = 200_000 if HEAVY else 50_000
ROWS = 500
CROWD = 1000
WINDOWS = '[summaries]\nwindows = ["1h", "6h"]\nlateness = "1s"\n[store]\ncommit_interval_ms = 5\n'


class Live:
    """A device that measures for ever, one reading at a time; counts what was acknowledged."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.acked = 0

    async def run(self, url: str) -> None:
        async with WireClient(url, self.name) as client:
            await client.hello(new_epoch())
            await client.schema()
            while True:
                await client.send(reading(self.acked + 1))
                await client.acked(self.acked + 1)
                self.acked += 1


def backlog(seq: int, t0: int, step: int) -> dict[int, Any]:
    first = (seq - 1) * ROWS
    column = np.arange(first, first + ROWS, dtype="<f8").tobytes()
    return {
        0: 16,
        1: seq,
        2: 1,
        3: t0 + first * step,
        4: step,
        5: [cbor2.CBORTag(86, column)],
        7: 0,
    }


async def deliver(gateway: GatewayProcess, device: str, live: list[Live]) -> int:
    """Send the backlog as the limit allows; in how many waits for an ACK the live ones got one."""
    step = DAYS * 86_400_000 // BACKLOG
    t0, last, served = now_ms() - DAYS * 86_400_000, BACKLOG // ROWS, 0
    async with WireClient(gateway.link, device) as client:
        welcome = await client.hello(new_epoch(), 1, last)
        await client.schema()
        sent, committed, limit = 0, 0, welcome[6]
        while committed < last:
            while sent < min(limit, last):
                sent += 1
                await client.send(backlog(sent, t0, step))
            before = sum(one.acked for one in live)
            ack = await client.receive(3)
            assert ack, client.closed
            committed, limit = ack[2], ack[3]
            served += sum(one.acked for one in live) > before
    return served


def truth(rows: list[dict[str, Any]], length: int) -> dict[tuple[str, int], list[float]]:
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in rows:
        found[row["dev"], row["t"] // 10**6 // length * length].append(row["v"])
    return found


async def test_a_backlog_of_days_beside_live_devices(tmp_path: Path) -> None:
    gateway = begin(tmp_path, WINDOWS)
    live = [Live(f"live-{n}") for n in range(3)]
    running = [asyncio.create_task(one.run(gateway.link)) for one in live]
    await until(lambda: all(one.acked for one in live))
    served = await deliver(gateway, "old", live)
    after = [one.acked for one in live]
    await until(lambda: all(one.acked > then for one, then in zip(live, after, strict=True)))
    assert served > 0
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    await until(lambda: metric(gateway, "gateway_revisions_due") == 0)
    await healthy(gateway)
    assert gateway.stop() == 0
    rows = gateway.export()
    old = sorted(row["v"] for row in rows if row["dev"] == "old")
    assert old == [float(n) for n in range(BACKLOG)]
    check_summaries(gateway, rows)


def check_summaries(gateway: GatewayProcess, rows: list[dict[str, Any]]) -> None:
    """Every window that is over has a summary, and the newest of it is what the readings say."""
    database = sqlite3.connect(f"file:{gateway.folder}/data/gateway.db?mode=ro", uri=True)
    register(database)
    told = database.execute("select payload from events where kind = 'summary' order by id")
    newest = {(e["dev"], e["w"], e["t0"]): e for e in (json.loads(text) for (text,) in told)}
    (watermark,) = database.execute("select value from meta where key='watermark_ns'").fetchone()
    database.close()
    checked = 0
    for window, length in (("1h", 3_600_000), ("6h", 21_600_000)):
        for (device, t0), values in truth(rows, length).items():
            if t0 + length <= int(watermark) // 10**6:
                found = newest[device, window, t0]
                assert (found["n"], found["min"], found["max"]) == (
                    len(values), min(values), max(values)
                )  # fmt: skip
                assert found["mean"] == pytest.approx(sum(values) / len(values))
                checked += 1
    assert checked > DAYS * 24


async def test_a_thousand_devices_come_back_at_once(tmp_path: Path) -> None:
    gateway = begin(tmp_path, FAST)
    epochs = [new_epoch() for _ in range(CROWD)]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        gate = asyncio.Semaphore(CROWD)
        await asyncio.gather(*(visit(http, gateway, gate, n, epochs[n], 1) for n in range(CROWD)))
        await healthy(gateway)
        descriptors, memory = opened(gateway), metric(gateway, "process_resident_memory_bytes")
        gateway.kill()
        await asyncio.to_thread(gateway.start)
        assert metric(gateway, "gateway_devices") == CROWD
        events = asyncio.create_task(shown(gateway))
        await asyncio.gather(*(visit(http, gateway, gate, n, epochs[n], 2) for n in range(CROWD)))
        assert await events
    await healthy(gateway)
    await until(lambda: opened(gateway) <= descriptors + 20)
    assert metric(gateway, "process_resident_memory_bytes") < 1.5 * memory
    assert gateway.stop() == 0
    rows = gateway.export()
    assert sorted((row["dev"], row["v"]) for row in rows) == sorted(
        (f"crowd-{n}", float(seq)) for n in range(CROWD) for seq in (1, 2)
    )


def opened(gateway: GatewayProcess) -> float:
    return metric(gateway, "process_open_fds")


async def visit(
    http: aiohttp.ClientSession,
    gateway: GatewayProcess,
    gate: asyncio.Semaphore,
    n: int,
    epoch: bytes,
    seq: int,
) -> None:
    """One device sends one reading and waits for its ACK."""
    client = WireClient(gateway.link, f"crowd-{n}")
    async with gate, http.ws_connect(gateway.link, protocols=["sensorlink.v1"]) as socket:
        client.socket = socket
        welcome = await client.hello(epoch, seq, seq, x12={1: MARK})
        assert welcome[4] == (1 if seq == 1 else 0)
        assert (11 in welcome) == (seq == 1)
        if seq == 1:
            await client.schema()
        await client.send(reading(seq))
        assert (await client.acked(seq))[2] == seq


async def shown(gateway: GatewayProcess) -> bool:
    """A subscriber that comes in the middle is served."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{gateway.url}/events") as answer,
    ):
        async with asyncio.timeout(60):
            async for line in answer.content:
                if line.startswith(b"event: snapshot"):
                    return True
    return False
