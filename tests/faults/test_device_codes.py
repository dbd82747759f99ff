"""Close codes and configuration against the gateway that runs."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.control import ask
from tests.faults.devices import FAST, begin, healthy, hello, names, reading, values
from tests.faults.test_disk_errors import Failing
from tests.processes import PATIENCE_S, GatewayProcess
from tests.wire_client import WireClient, new_epoch

name = names("code")


def device_command(gateway: GatewayProcess, what: str, device: str) -> str:
    asked = [sys.executable, "-m", "gateway", "device", what, device]
    made = subprocess.run(
        [*asked, "--config", str(gateway.config)], check=True, capture_output=True, text=True
    )
    return made.stdout.strip()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    process = begin(tmp_path_factory.mktemp("codes"), auth="token")
    yield process
    assert process.stop() == 0


@pytest.fixture
def device(gateway: GatewayProcess) -> WireClient:
    one = name()
    return WireClient(gateway.link, one, token=device_command(gateway, "add", one))


async def test_no_hello_in_time(gateway: GatewayProcess, device: WireClient) -> None:
    """Takes the ten seconds that the protocol gives."""
    async with device:
        error = await device.receive(6)
        assert error[2] == 4002
        assert await device.end() == 4002
    await healthy(gateway)


async def test_disabled_while_connected_and_at_the_door(
    gateway: GatewayProcess, device: WireClient
) -> None:
    epoch = new_epoch()
    async with device:
        await device.hello(epoch)
        await device.schema()
        await device.send(reading(1))
        await device.acked(1)
        end = asyncio.create_task(device.end())
        await asyncio.to_thread(device_command, gateway, "disable", device.device)
        assert await end == 4502
    async with device:
        await device.send(hello(device.device, epoch, 2, 1))
        assert await device.end() == 4502
    await asyncio.to_thread(device_command, gateway, "enable", device.device)
    async with device:
        assert (await device.hello(epoch, 2, 1))[4] == 0
    assert values(gateway, device.device) == [1.0]
    await healthy(gateway)


async def test_a_failing_disk_at_the_door_and_a_sound_one_again(tmp_path: Path) -> None:
    """Who comes while nothing can be stored is told 4006; who is there waits."""
    gateway = begin(tmp_path, FAST)
    try:
        async with WireClient(gateway.link, "d") as device:
            await device.hello(new_epoch())
            await device.schema()
            await device.send(reading(1))
            await device.acked(1)
            with Failing(gateway, "fdatasync,fsync", "EIO"):
                await device.send(reading(2))
                await until_trouble(gateway)
                async with WireClient(gateway.link, "e") as other:
                    await other.send(hello("e", new_epoch()))
                    assert await other.end() == 4006
            await device.acked(2)
        assert values(gateway, "d") == [1.0, 2.0]
    finally:
        gateway.stop()


async def until_trouble(gateway: GatewayProcess) -> None:
    """A commit has failed."""
    async with asyncio.timeout(PATIENCE_S):
        while ask(gateway.folder / "data", "status")["trouble"] is None:
            await asyncio.sleep(0.05)


async def test_a_configuration_reaches_the_device_until_it_is_applied(
    tmp_path: Path,
) -> None:
    """MQTT → CONFIG (22) → HELLO 11."""
    from tests.faults.test_broker import Mosquitto

    broker = Mosquitto(tmp_path, "allow_anonymous true")
    broker.start()
    more = f'{FAST}[mqtt]\nurl = "mqtt://127.0.0.1:{broker.port}"\n'
    gateway = begin(tmp_path, more)
    epoch = new_epoch()
    publish = ["mosquitto_pub", "-p", str(broker.port), "-q", "1"]
    topic = "sensors/gw-1/d/config"
    try:
        async with WireClient(gateway.link, "d") as device:
            await device.hello(epoch)
            subprocess.run([*publish, "-r", "-t", topic, "-m", '{"period": 5}'], check=True)
            config = await device.receive(22)
            assert (config[2], config[3]) == (1, {"period": 5})
        async with WireClient(gateway.link, "d") as device:
            await device.hello(epoch)
            again = await device.receive(22)
            assert again == config
            await device.send({0: 9, 2: again[1]})
            await device.send({0: 18, 1: 1, 2: "x"})
            await device.acked(1)
        async with WireClient(gateway.link, "d") as device:
            welcome = await device.hello(epoch, 2, 1, x11=1)
            assert welcome.get(12, 0) == 0
        assert ask(gateway.folder / "data", "status")["trouble"] is None
    finally:
        gateway.stop()
        broker.kill()
