"""A disk that fills to its last byte: no false ACK, living links, a clear status, recovery."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.store.sql import register
from tests.faults.pusher import Pusher, check_stored, until
from tests.mounts import small_disk
from tests.processes import GatewayProcess
from tests.wire_client import WireClient, new_epoch

MIB = 2**20
SIZE = 24 * MIB
MORE = '[summaries]\nwindows = ["1s"]\nlateness = "1s"\n[store]\ncommit_interval_ms = 20\n'
DEVICES = 3


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    with small_disk(tmp_path / "data", SIZE):
        gateway = GatewayProcess(tmp_path, more=MORE)
        yield gateway
        gateway.kill()


@asynccontextmanager
async def pushing(gateway: GatewayProcess, *, size: int = 6000) -> AsyncIterator[list[Pusher]]:
    """Devices whose readings are of so many random bytes, or a third more in text."""
    pushers = [Pusher(f"d{n}", size=size) for n in range(DEVICES)]
    async with asyncio.TaskGroup() as tasks:
        living = [tasks.create_task(pusher.live(gateway.link)) for pusher in pushers]
        yield pushers
        for task in living:
            task.cancel()


def readiness(gateway: GatewayProcess) -> str | None:
    """Why the gateway is not ready; None if it is."""
    try:
        gateway.get("/readyz")
    except urllib.error.HTTPError as error:
        text: str = json.load(error)["error"]["message"]
        return text
    return None


def metric(gateway: GatewayProcess, name: str) -> float:
    with urllib.request.urlopen(f"{gateway.url}/metrics", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    (value,) = [line.split()[1] for line in lines if line.split()[0] == name]
    return float(value)


def status(gateway: GatewayProcess) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "status", "--json", "--config", gateway.config],
        check=True, capture_output=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def alerts(gateway: GatewayProcess) -> list[tuple[str, str, str]]:
    conn = sqlite3.connect(f"file:{gateway.folder}/data/gateway.db?mode=ro", uri=True)
    register(conn)
    sql = "select payload from events where kind = 'alert' order by id"
    found = [json.loads(payload) for (payload,) in conn.execute(sql)]
    conn.close()
    return [(alert["source"], alert["name"], alert["state"]) for alert in found]


def moved_on(pushers: list[Pusher], since: list[int]) -> bool:
    """Whether every device has sent more than it ever has under way, and got it acknowledged."""
    return all(p.acknowledged > n + 40 for p, n in zip(pushers, since, strict=True))


class Junk:
    """A file of something else on the same disk."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "junk"

    def take(self, size: int) -> None:
        with self.path.open("ab") as file:
            os.posix_fallocate(file.fileno(), file.tell(), size)

    def take_all(self) -> None:
        """Down to the last byte that can be had now."""
        with self.path.open("ab", buffering=0) as file:
            for piece in (MIB, 4096, 1):
                while True:
                    try:
                        file.write(bytes(piece))
                    except OSError:
                        break

    def remove(self) -> None:
        self.path.unlink()


async def test_devices_that_fill_the_disk_wait_and_go_on(gateway: GatewayProcess) -> None:
    junk = Junk(gateway.folder / "data")
    gateway.start()
    junk.take(SIZE // 2)
    async with pushing(gateway) as pushers:
        await until(lambda: readiness(gateway), "the disk does not fill")
        await until(lambda: all(pusher.idle for pusher in pushers), "the limit still rises")
        why = readiness(gateway)
        assert why is not None
        assert "full" in why
        limits = [pusher.limit for pusher in pushers]
        for pusher in pushers:
            await pusher.ping()
        assert [pusher.limit for pusher in pushers] == limits
        assert all(pusher.acks[-1] == (pusher.limit, pusher.limit) for pusher in pushers)
        found = status(gateway)["disk"]
        assert (found["state"], found["used_ratio"] > 0.93) == ("full", True)
        assert metric(gateway, "gateway_disk_state") == 2
        check_stored(await asyncio.to_thread(gateway.export), pushers)
        async with WireClient(gateway.link, "new") as late:
            welcome = await late.hello(new_epoch(), 5, 9)
            assert (welcome[5], welcome[6]) == (4, 4)
            junk.remove()
            assert (await late.receive(3))[3] == 36
        await until(lambda: moved_on(pushers, limits), "a device did not hear that there is room")
        assert [pusher.connections for pusher in pushers] == [1] * DEVICES
    await until(lambda: readiness(gateway) is None, "not ready again")
    assert gateway.stop() == 0
    check_stored(gateway.export(), pushers)
    states = alerts(gateway)
    assert states[0] == ("gateway", "disk", "short")
    assert ("gateway", "disk", "full") in states


async def test_a_disk_without_one_byte_left(gateway: GatewayProcess) -> None:
    junk = Junk(gateway.folder / "data")
    gateway.start()
    junk.take(SIZE // 2)
    async with pushing(gateway) as pushers:
        await until(lambda: all(pusher.acknowledged > 20 for pusher in pushers), "nothing comes")
        for _ in range(60):
            junk.take_all()
            await asyncio.sleep(0.05)
        await until(lambda: readiness(gateway), "the disk is full, but it does not say so")
        assert not (gateway.folder / "data" / "ballast").exists()
        for pusher in pushers:
            await pusher.ping()
        check_stored(await asyncio.to_thread(gateway.export), pushers)
        acknowledged = [pusher.acknowledged for pusher in pushers]
        junk.remove()
        await until(lambda: moved_on(pushers, acknowledged), "it does not go on")
        assert [pusher.connections for pusher in pushers] == [1] * DEVICES
    await until(lambda: readiness(gateway) is None, "not ready again")
    await until((gateway.folder / "data" / "ballast").exists, "the ballast is not made again")
    assert gateway.stop() == 0
    check_stored(gateway.export(), pushers)


async def test_it_starts_on_a_full_disk_in_the_room_of_the_ballast(
    gateway: GatewayProcess,
) -> None:
    junk = Junk(gateway.folder / "data")
    gateway.start()
    await until((gateway.folder / "data" / "ballast").exists, "there is no ballast")
    async with pushing(gateway) as pushers:
        await until(lambda: all(pusher.acknowledged > 20 for pusher in pushers), "nothing comes")
    gateway.kill()
    junk.take_all()
    gateway.launch()
    await until(lambda: answers(gateway), "it does not start")
    assert "full" in (readiness(gateway) or "")
    junk.remove()
    await until(lambda: readiness(gateway) is None, "not ready again")
    assert gateway.stop() == 0
    check_stored(gateway.export(), pushers)
    assert alerts(gateway)[-1] == ("gateway", "disk", "plenty")


def answers(gateway: GatewayProcess) -> bool:
    try:
        gateway.get("/healthz")
    except OSError:
        assert gateway.process is not None
        assert gateway.process.poll() is None, (gateway.folder / "log").read_text()
        return False
    return True
