"""SIGTERM: everybody is told, and the process ends by itself."""

from pathlib import Path

import aiohttp

from tests.processes import GatewayProcess
from tests.wire_client import WireClient, new_epoch


async def test_devices_and_subscribers_are_told(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path)
    gateway.start()
    async with aiohttp.ClientSession() as http, WireClient(gateway.link, "d1") as device:
        await device.hello(new_epoch())
        stream = await http.get(gateway.url + "/events")
        await stream.content.readuntil(b"\n\n")
        assert gateway.process is not None
        gateway.process.terminate()
        assert await device.end() == 4000
        farewell = await stream.content.read()
        assert b"event: bye" in farewell
        assert b"shutdown" in farewell
        assert gateway.process.wait(30) == 0
        gateway.process = None


async def test_what_waits_at_the_end_is_committed(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path, more="[store]\ncommit_interval_ms = 10000\n")
    gateway.start()
    async with WireClient(gateway.link, "d1") as device:
        await device.hello(new_epoch())
        await device.schema()
        await device.send({0: 16, 1: 1, 2: 1, 3: 1_700_000_000_000, 5: [1.0], 7: 0})
        await device.send({0: 4, 2: 1})
        await device.receive(4)
        assert gateway.stop() == 0
    assert [row["v"] for row in gateway.export()] == [1.0]
