"""What listeners cost: memory and processor time of a gateway while many read its event stream.

    python -m bench.listeners [--clients 64] [--rate 50] [--seconds 10] [--stalled 0]

Starts a gateway of its own; a device's EVENTs are published as alerts at that rate. Every listener
must get every event. Prints a Markdown table.
"""

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.processes import GatewayProcess
from tests.wire_client import WireClient, new_epoch

MARK = b"\nevent: alert\n"
MORE = """
[events]
max_clients = 5000
max_clients_per_address = 5000
[store]
commit_interval_ms = 5
"""


class Figures(NamedTuple):
    """Sizes in bytes of resident memory, time in seconds of one core."""

    clients: int
    events: int
    empty: int
    idle: int
    busy: int
    processor: float
    seconds: float

    @property
    def each(self) -> float:
        """What one client that listens takes."""
        return (self.idle - self.empty) / self.clients


class Listener(asyncio.Protocol):
    """Counts the events that it is sent."""

    def __init__(self) -> None:
        self.count = 0
        self.joined = asyncio.Event()
        self.lost = False
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")

    def data_received(self, data: bytes) -> None:
        data = self._tail + data
        self.count += data.count(MARK)
        if b"event: snapshot" in data:
            self.joined.set()
        self._tail = data[-len(MARK) + 1 :]

    def connection_lost(self, _: Exception | None) -> None:
        self.lost = True


@contextlib.asynccontextmanager
async def crowd(port: int, count: int) -> AsyncIterator[list[Listener]]:
    """So many listeners, all of which have their snapshot."""
    loop = asyncio.get_running_loop()
    listeners = []
    try:
        for _ in range(count):
            _, one = await loop.create_connection(Listener, "127.0.0.1", port)
            listeners.append(one)
        for one in listeners:
            await asyncio.wait_for(one.joined.wait(), 60)
        yield listeners
    finally:
        for one in listeners:
            one.transport.abort()


async def publish(gateway: GatewayProcess, *, rate: float, count: int) -> None:
    """Have a device say something so many times; all of it is committed at the end."""
    async with WireClient(gateway.link, "herald") as device:
        await device.hello(new_epoch())
        begun = time.monotonic()
        for seq in range(1, count + 1):
            await device.send({0: 18, 1: seq, 2: "note", 3: f"number {seq} of {count}"})
            if seq % 16 == 0:
                await device.acked(seq)
            await asyncio.sleep(max(0.0, begun + seq / rate - time.monotonic()))
        await device.acked(count)


async def measure(
    folder: Path, *, clients: int, rate: float, count: int, stalled: int = 0
) -> Figures:
    """Publish `count` events to `clients` listeners, beside `stalled` ones that do not read."""
    gateway = GatewayProcess(folder, more=MORE)
    await asyncio.to_thread(gateway.start)
    assert gateway.process is not None
    process = psutil.Process(gateway.process.pid)
    try:
        await publish(gateway, rate=1000, count=1)
        empty = process.memory_info().rss
        async with crowd(gateway.port, clients) as listeners, crowd(gateway.port, stalled) as deaf:
            for one in deaf:
                one.transport.pause_reading()
            idle, spent = process.memory_info().rss, process.cpu_times()
            before, begun = [one.count for one in listeners], time.monotonic()
            await publish(gateway, rate=rate, count=count)
            while any(one.count - had < count for one, had in zip(listeners, before, strict=True)):
                assert not any(one.lost for one in listeners)
                await asyncio.sleep(0.01)
            seconds, now = time.monotonic() - begun, process.cpu_times()
            busy = process.memory_info().rss
        cost = now.user + now.system - spent.user - spent.system
        return Figures(clients, count, empty, idle, busy, cost, seconds)
    finally:
        await asyncio.to_thread(gateway.stop)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--stalled", type=int, default=0)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--seconds", type=float, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(
            measure(
                Path(folder),
                clients=asked.clients,
                rate=asked.rate,
                count=max(1, round(asked.rate * asked.seconds)),
                stalled=asked.stalled,
            )
        )
    print("| listeners | events/s | MB before | MB idle | KB a listener | MB busy | % of a core |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {found.clients} | {asked.rate:g} | {found.empty / 1e6:.1f} | {found.idle / 1e6:.1f}"
        f" | {found.each / 1e3:.1f} | {found.busy / 1e6:.1f}"
        f" | {found.processor / found.seconds * 100:.0f} |"
    )


if __name__ == "__main__":
    main()
