"""A connection cut after every byte of the handshake and of the first frames."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.faults.devices import (
    HEAVY,
    Cut,
    begin,
    frame,
    healthy,
    hello,
    metric,
    names,
    opened,
    reading,
    resumed,
    schema,
    until,
    upgrade,
    values,
)
from tests.processes import GatewayProcess
from tests.wire_client import new_epoch

LAST = 3
STEP = 1 if HEAVY else 3
name = names("cut")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    process = begin(tmp_path_factory.mktemp("drops"))
    yield process
    assert process.stop() == 0


def broken(gateway: GatewayProcess, said: bytes, *, answered: bytes, how: str) -> None:
    """Open up to what `answered` ends with, say `said`, and break."""
    cut = opened(gateway) if answered else Cut(gateway)
    if answered:
        cut.say(answered)
        cut.hear(b"\x82")
    cut.say(said)
    getattr(cut, how)()


@pytest.mark.parametrize("how", ["rst", "fin"])
async def test_a_cut_in_the_upgrade(gateway: GatewayProcess, how: str) -> None:
    request = upgrade(gateway)
    for length in range(0, len(request) + 1, STEP):
        await asyncio.to_thread(broken, gateway, request[:length], answered=b"", how=how)
    await healthy(gateway)


@pytest.mark.parametrize("how", ["rst", "fin"])
async def test_a_cut_in_the_hello_and_a_return(gateway: GatewayProcess, how: str) -> None:
    """Cut within the HELLO, which was sent together with the request."""
    device, epoch = name(), new_epoch()
    said = frame(hello(device, epoch, 1, LAST))
    for length in range(0, len(said) + 1, STEP):
        whole = upgrade(gateway) + said[:length]
        await asyncio.to_thread(broken, gateway, whole, answered=b"", how=how)
    await resumed(gateway, device, epoch, LAST)
    assert values(gateway, device) == [1.0, 2.0, 3.0]
    await healthy(gateway)


@pytest.mark.parametrize("how", ["rst", "fin"])
async def test_a_cut_in_the_readings_and_a_return_each_time(
    gateway: GatewayProcess, how: str
) -> None:
    """Cut after every byte of a SCHEMA and three DATA frames; each device comes back at once."""
    said = frame(schema()) + b"".join(frame(reading(seq)) for seq in range(1, LAST + 1))
    devices = []
    for length in range(0, len(said) + 1, STEP):
        device, epoch = name(), new_epoch()
        devices.append(device)
        opened = frame(hello(device, epoch, 1, LAST))
        await asyncio.to_thread(broken, gateway, said[:length], answered=opened, how=how)
        welcome = await resumed(gateway, device, epoch, LAST)
        assert 0 <= welcome[5] <= LAST
    rows = gateway.export()
    stored = {d: sorted(row["v"] for row in rows if row["dev"] == d) for d in devices}
    assert stored == {device: [1.0, 2.0, 3.0] for device in devices}
    await healthy(gateway)


async def test_a_connection_that_says_nothing_is_counted_until_it_goes(
    gateway: GatewayProcess,
) -> None:
    cut = opened(gateway)
    await until(lambda: metric(gateway, "gateway_links") == 1)
    cut.rst()
    await healthy(gateway)
