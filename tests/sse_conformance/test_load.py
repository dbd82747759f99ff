"""Many clients, stalled clients, clients that come and go: what the gateway spends on them."""

import asyncio
from pathlib import Path

import psutil
import pytest

from bench.listeners import crowd, measure
from tests.events import Client
from tests.processes import PATIENCE_S, GatewayProcess
from tests.sse_conformance.server import ours

pytestmark = pytest.mark.usefixtures("only_ours")

EACH = 100_000
"""Bytes of memory that a listener may take."""


async def subscribers(gateway: GatewayProcess, wanted: int) -> None:
    """Wait until so many are counted."""
    async with asyncio.timeout(PATIENCE_S):
        while f"gateway_subscribers {wanted}.0" not in await _metrics(gateway):
            await asyncio.sleep(0.02)


async def _metrics(gateway: GatewayProcess) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    return text


@pytest.mark.case(28)
async def test_64_clients_get_50_events_a_second(tmp_path: Path) -> None:
    found = await measure(tmp_path, clients=64, rate=50, count=100, stalled=4)
    assert found.busy - found.empty < 68 * EACH + 5_000_000


@pytest.mark.case(28)
async def test_1000_clients_are_held(tmp_path: Path) -> None:
    found = await measure(tmp_path, clients=1000, rate=1, count=2)
    assert found.each < EACH


@pytest.mark.case(28)
async def test_what_a_client_does_not_read_is_bounded(alone: GatewayProcess) -> None:
    """3 MB for a client that stands still: neither the gateway nor the kernel keeps them."""
    server = ours(alone)
    process = psutil.Process(alone.process.pid)
    async with server.ask() as witness:
        await server.settle(witness)
        before = process.memory_info().rss
        idle = await Client.open(alone.port, paused=True)
        await subscribers(alone, 2)
        port = idle.writer.get_extra_info("sockname")[1]
        for _ in range(5):
            await server.publish(*["x" * 12_000] * 50)
            assert len(await server.take(witness, 50)) == 50
            assert _queued(alone.port, port) < 300_000
        await subscribers(alone, 1)  # alerts are never conflated: it is cut, and may come back
        assert process.memory_info().rss - before < 20_000_000
        await idle.close()


def _queued(server: int, client: int) -> int:
    """Bytes in the kernel's send queue of the connection between these ports."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        ports = [int(words[n].partition(":")[2], 16) for n in (1, 2)]
        if ports == [server, client]:
            return int(words[4].partition(":")[0], 16)
    return 0


@pytest.mark.case(30, 32)
async def test_a_thousand_who_came_and_went_leave_nothing(alone: GatewayProcess) -> None:
    process = psutil.Process(alone.process.pid)
    async with crowd(alone.port, 20):
        await subscribers(alone, 20)
    await subscribers(alone, 0)
    files, memory = process.num_fds(), process.memory_info().rss
    for _ in range(10):
        async with crowd(alone.port, 50):
            hasty = [await Client.open(alone.port) for _ in range(50)]
        for client in hasty:
            client.writer.transport.abort()
    await subscribers(alone, 0)
    async with asyncio.timeout(PATIENCE_S):
        while process.num_fds() > files + 9:  # the store opens some when it needs them
            await asyncio.sleep(0.02)
    assert process.memory_info().rss - memory < 10_000_000


@pytest.mark.case(34, 35)
async def test_at_the_end_64_clients_are_told_and_return_spread(alone: GatewayProcess) -> None:
    clients = [await Client.open(alone.port, "?device=nobody") for _ in range(64)]
    for client in clients:
        await client.until("snapshot")
    alone.process.terminate()
    retries = []
    for client in clients:
        last = (await client.rest())[-1]
        assert (last.name, last.json["reason"]) == ("bye", "shutdown")
        retries.append(client.parser.retry)
    assert await asyncio.to_thread(alone.process.wait, PATIENCE_S) == 0
    seconds = [retry // 1000 for retry in retries]
    assert len(set(seconds)) > 2
    assert max(seconds.count(second) for second in seconds) < 48
