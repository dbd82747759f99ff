"""Devices that misbehave: a connection cut at any byte, and what the gateway shows afterwards."""

import asyncio
import base64
import os
import socket
import struct
import time
import urllib.request
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import cbor2

from tests.processes import PATIENCE_S, GatewayProcess
from tests.wire_client import WireClient, new_epoch

FAST = '[summaries]\nwindows = ["10s", "1m"]\nlateness = "1s"\n[store]\ncommit_interval_ms = 5\n'
MARK = b"mark"
HEAVY = bool(os.environ.get("SOAK"))
"""Set by `make soak`: every cut, longer fights, greater numbers."""


def now_ms() -> int:
    return int(time.time() * 1000)


def hello(device: str, epoch: bytes, lo: int = 1, hi: int = 0) -> dict[int, Any]:
    return {0: 1, 2: [1, 0], 3: device, 4: epoch, 5: lo, 6: hi, 12: {1: MARK}}


def schema() -> dict[int, Any]:
    return {0: 8, 2: 1, 3: [{0: "v", 2: 86}], 5: MARK}


def reading(seq: int, value: float | None = None, *, t0: int | None = None) -> dict[int, Any]:
    """One reading in Unix time; its value is its number unless another one is given."""
    value = float(seq) if value is None else value
    return {0: 16, 1: seq, 2: 1, 3: now_ms() if t0 is None else t0, 5: [value], 7: 0}


def upgrade(gateway: GatewayProcess) -> bytes:
    key = base64.b64encode(bytes(16)).decode()
    lines = ["GET /link HTTP/1.1", f"Host: 127.0.0.1:{gateway.port}", "Upgrade: websocket"]
    lines += ["Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
    lines += ["Sec-WebSocket-Protocol: sensorlink.v1", "", ""]
    return "\r\n".join(lines).encode()


def frame(message: dict[int, Any]) -> bytes:
    """A masked binary frame (RFC 6455) of one message."""
    body, mask = cbor2.dumps(message), b"\x01\x02\x03\x04"
    length = bytes([0x80 | len(body)]) if len(body) < 126 else struct.pack(">BH", 0xFE, len(body))
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(body))
    return b"\x82" + length + mask + masked


class Cut:
    """One raw connection that sends what it is given and then breaks."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.socket = socket.create_connection(("127.0.0.1", gateway.port), PATIENCE_S)

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def hear(self, until: bytes) -> bytes:
        """Read until these bytes came; what came."""
        heard = b""
        while until not in heard:
            more = self.socket.recv(4096)
            assert more, heard
            heard += more
        return heard

    def fin(self) -> None:
        self.socket.close()

    def rst(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def opened(gateway: GatewayProcess) -> Cut:
    """A WebSocket on which nothing was said yet."""
    line = Cut(gateway)
    line.say(upgrade(gateway))
    line.hear(b"\r\n\r\n")
    return line


def introduced(gateway: GatewayProcess, device: str, epoch: bytes | None = None) -> Cut:
    """A connection on which a device was welcomed."""
    line = opened(gateway)
    line.say(frame(hello(device, epoch or new_epoch())))
    line.hear(b"\x82")
    return line


def metric(gateway: GatewayProcess, name: str) -> float:
    with urllib.request.urlopen(f"{gateway.url}/metrics", timeout=PATIENCE_S) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
    raise KeyError(name)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, with a deadline."""
    async with asyncio.timeout(PATIENCE_S):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.02)


async def healthy(gateway: GatewayProcess, *, links: int = 0) -> None:
    """No connection leaked, the process lives, and nothing was thrown that nobody expected."""
    await until(lambda: metric(gateway, "gateway_links") == links)
    assert gateway.process is not None
    assert gateway.process.poll() is None
    log = (gateway.folder / "log").read_text()
    for word in ("Traceback", "never retrieved"):
        assert word not in log, log


def values(gateway: GatewayProcess, device: str) -> list[float]:
    return [row["v"] for row in gateway.export() if row["dev"] == device]


def losses(gateway: GatewayProcess, device: str) -> list[tuple[int, int]]:
    found = gateway.get(f"/api/devices/{device}/losses")["losses"]
    return sorted((loss["from"], loss["to"]) for loss in found)


def names(kind: str) -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"{kind}-{next(numbers)}"


def begin(folder: Path, more: str = FAST, *, auth: str = "open") -> GatewayProcess:
    gateway = GatewayProcess(folder, more=more, auth=auth)
    gateway.start()
    return gateway


async def resumed(gateway: GatewayProcess, device: str, epoch: bytes, last: int) -> dict[int, Any]:
    """Come back with all of 1 … last still queued, send what is asked for; the WELCOME."""
    async with WireClient(gateway.link, device) as client:
        welcome = await client.hello(epoch, 1, last, x12={1: MARK})
        assert welcome[4] in (0, 1), welcome
        if 11 in welcome:
            await client.schema()
        for seq in range(welcome[5] + 1, last + 1):
            await client.send(reading(seq))
        if welcome[5] < last:
            assert await client.acked(last), client.closed
        return welcome
