"""SIGKILL under load: nothing acknowledged is lost, nothing stands twice, every summary is true."""

import asyncio
import json
import sqlite3
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.processes import GatewayProcess
from tests.wire_client import WireClient, new_epoch

DEVICES = 4
KILLS = 6
MORE = '[summaries]\nwindows = ["1s", "2s"]\nlateness = "1s"\n[store]\ncommit_interval_ms = 20\n'


class Device:
    """Numbers its readings by their value, and remembers what was acknowledged."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.epoch = new_epoch()
        self.queue: dict[int, dict[int, Any]] = {}
        self.last = 0
        self.acknowledged = 0

    def measure(self) -> None:
        self.last += 1
        late = 5_000 if self.last % 50 == 0 else 0
        t0 = int(time.time() * 1000) - late
        self.queue[self.last] = {0: 16, 1: self.last, 2: 1, 3: t0, 5: [float(self.last)], 7: 0}

    def free(self, committed: int) -> None:
        assert committed >= self.acknowledged
        self.acknowledged = committed
        for seq in [seq for seq in self.queue if seq <= committed]:
            del self.queue[seq]

    async def visit(self, url: str) -> None:
        """One connection, until it breaks."""
        async with WireClient(url, self.name) as client:
            lo = min(self.queue, default=self.last + 1)
            welcome = await client.hello(self.epoch, lo, self.last)
            if not welcome:
                return
            assert welcome[4] in (0, 1)
            self.free(welcome[5])
            await client.schema()
            sent, limit = welcome[5], welcome[6]
            while True:
                while sent < limit:
                    if sent == self.last:
                        self.measure()
                    sent += 1
                    await client.send(self.queue[sent])
                ack = await client.receive(3)
                if not ack:
                    return
                self.free(ack[2])
                limit = max(limit, ack.get(3, 0))
                await asyncio.sleep(0.005)

    async def live(self, url: str) -> None:
        while True:
            try:
                await self.visit(url)
            except (OSError, TimeoutError):
                await asyncio.sleep(0.02)
            except Exception as error:
                if "aiohttp" not in type(error).__module__:
                    raise
                await asyncio.sleep(0.02)


@pytest.fixture
def gateway(tmp_path: Path) -> GatewayProcess:
    return GatewayProcess(tmp_path, more=MORE)


async def attack(gateway: GatewayProcess, devices: list[Device]) -> None:
    async with asyncio.TaskGroup() as tasks:
        living = [tasks.create_task(device.live(gateway.link)) for device in devices]
        for kill in range(KILLS):
            await asyncio.sleep(0.7 + kill * 0.13)
            gateway.kill()
            await asyncio.to_thread(gateway.start)
        await asyncio.sleep(0.5)
        for task in living:
            task.cancel()


async def settled(gateway: GatewayProcess) -> None:
    """Wait until all windows are closed and nothing is due."""
    database = sqlite3.connect(f"file:{gateway.folder}/data/gateway.db?mode=ro", uri=True)
    newest = max(row["t"] for row in gateway.export()) // 10**6
    while True:
        (due,) = database.execute("select count(*) from revision_due").fetchone()
        (closed,) = database.execute("select max(t1) from summary where window = '2s'").fetchone()
        if not due and closed is not None and closed > newest:
            break
        await asyncio.sleep(0.1)
    database.close()


async def test_what_was_acknowledged_survives(gateway: GatewayProcess) -> None:
    gateway.start()
    devices = [Device(f"d{n}") for n in range(DEVICES)]
    await attack(gateway, devices)
    async with asyncio.timeout(60):
        await settled(gateway)
    rows = gateway.export()
    check_readings(rows, devices)
    check_summaries(gateway, rows)
    assert gateway.stop() == 0


def check_readings(rows: list[dict[str, Any]], devices: list[Device]) -> None:
    stored = Counter((row["dev"], row["v"]) for row in rows)
    assert set(stored.values()) == {1}
    for device in devices:
        assert device.acknowledged > 50
        found = {int(v) for name, v in stored if name == device.name}
        assert set(range(1, device.acknowledged + 1)) <= found <= set(range(1, device.last + 1))


def check_summaries(gateway: GatewayProcess, rows: list[dict[str, Any]]) -> None:
    """The event log holds each revision once; the last one equals brute force."""
    database = sqlite3.connect(f"file:{gateway.folder}/data/gateway.db?mode=ro", uri=True)
    events = [
        json.loads(payload)
        for (payload,) in database.execute(
            "select payload from event where kind = 'summary' order by id"
        )
    ]
    database.close()
    keys = Counter((e["dev"], e["m"], e["w"], e["t0"], e.get("rev", 1)) for e in events)
    assert set(keys.values()) == {1}
    truth: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for row in rows:
        for window, length in (("1s", 1000), ("2s", 2000)):
            t0 = row["t"] // 10**6 // length * length
            truth[row["dev"], window, t0].append(row["v"])
    newest = {(e["dev"], e["w"], e["t0"]): e for e in events}
    assert newest.keys() == truth.keys()
    for key, values in truth.items():
        found = newest[key]
        assert (found["n"], found["min"], found["max"]) == (len(values), min(values), max(values))
        assert found["mean"] == pytest.approx(sum(values) / len(values))
    assert any(e.get("rev", 1) > 1 for e in events)
