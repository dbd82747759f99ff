"""An older backup under devices that went on: no wedge, loss declared, no command run twice."""

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.processes import PATIENCE_S, GatewayProcess
from tests.wire_client import WireClient, new_epoch


def command(gateway: GatewayProcess, *words: str) -> "subprocess.CompletedProcess[str]":
    call = [sys.executable, "-m", "gateway", *words, "--config", str(gateway.config)]
    return subprocess.run(call, capture_output=True, text=True, check=False)


def ask(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as conn:
        return conn.execute(sql).fetchall()


@pytest.fixture
def gateway(tmp_path: Path) -> Any:
    gateway = GatewayProcess(tmp_path, more="[store]\ncommit_interval_ms = 1\n")
    gateway.start()
    yield gateway
    gateway.kill()


async def send(client: WireClient, first: int, last: int) -> None:
    await client.schema()
    for seq in range(first, last + 1):
        t0 = time.time_ns() // 10**6
        await client.send({0: 16, 1: seq, 2: 1, 3: t0, 5: [float(seq)], 7: 0})
    await client.acked(last)


def gap_reason(gateway: GatewayProcess, cursor: str) -> str:
    url = f"{gateway.url}/events?last_event_id={cursor}"
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        for line in answer:
            if line.startswith(b"event: gap"):
                data = next(line for line in answer if line.startswith(b"data: "))
                return str(json.loads(data[6:])["reason"])
    raise AssertionError("no gap")


async def test_devices_go_on_after_an_older_backup(gateway: GatewayProcess) -> None:
    database = gateway.folder / "data" / "gateway.db"
    backup = gateway.folder / "backup.db"
    epoch, orders = new_epoch(), []
    async with WireClient(gateway.link, "d1") as device:
        welcome = await device.hello(epoch, 1, 50)
        store_id = welcome[3]
        await send(device, 1, 20)
        queued = await asyncio.to_thread(command, gateway, "command", "d1", "open", "--ttl", "1h")
        assert queued.returncode == 0, queued.stderr
        orders.append(await device.receive(21))
        made = await asyncio.to_thread(command, gateway, "backup", str(backup))
        assert made.returncode == 0, made.stderr
        refused = await asyncio.to_thread(command, gateway, "backup", str(backup))
        assert refused.returncode == 1
        assert "--force" in refused.stderr
        await send(device, 21, 50)
        await device.send({0: 9, 2: 1})
        await device.send({0: 19, 1: 51, 2: [store_id, 1], 3: 0})
        await device.acked(51)
    cursor = "-".join(
        str(ask(database, sql)[0][0])
        for sql in ("SELECT value FROM meta WHERE key = 'log_epoch'", "SELECT max(id) FROM event")
    )
    running = command(gateway, "restore", str(backup))
    assert running.returncode == 1
    assert "stop it first" in running.stderr
    gateway.stop()
    restored = command(gateway, "restore", str(backup))
    assert restored.returncode == 0, restored.stderr
    (aside,) = database.parent.glob("gateway.db.replaced-*")
    assert ask(aside, "SELECT committed FROM stream") == [(51,)]
    gateway.start()
    assert gap_reason(gateway, cursor) == "epoch"
    async with WireClient(gateway.link, "d1") as device:
        welcome = await device.hello(epoch, 52, 60, _10=[store_id, 1])
        assert welcome[4] == 2
        assert welcome[5] == 51
        assert welcome[3] != store_id
        await send(device, 52, 60)
        again = await asyncio.to_thread(command, gateway, "command", "d1", "close", "--ttl", "1h")
        assert again.returncode == 0, again.stderr
        orders.append(await device.receive(21))
    assert [(order[1], order[2]) for order in orders] == [(1, "open"), (1, "close")]
    assert ask(database, "SELECT first, last, reason FROM loss") == [(21, 51, 0)]
    assert ask(database, "SELECT state FROM command WHERE n = 1") == [("unknown",)]
    values = [int(row["v"]) for row in gateway.export()]
    assert values == [*range(1, 21), *range(52, 61)]


async def test_a_device_with_lower_numbers_takes_a_new_epoch(gateway: GatewayProcess) -> None:
    backup = gateway.folder / "backup.db"
    epoch = new_epoch()
    async with WireClient(gateway.link, "d1") as device:
        await device.hello(epoch, 1, 20)
        await send(device, 1, 20)
    gateway.stop()
    assert command(gateway, "backup", str(backup)).returncode == 0
    assert command(gateway, "restore", str(backup)).returncode == 0
    gateway.start()
    async with WireClient(gateway.link, "d1") as device:
        refused = await device.hello(epoch, 1, 10)
        assert (refused[4], refused[5], refused[6]) == (3, 20, 0)
        assert (await device.hello(new_epoch(), 1, 10))[4] == 1
        await send(device, 1, 10)
    assert len(gateway.export()) == 30
