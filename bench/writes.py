"""Bytes that the gateway writes to disk, by the kernel's own account of its process.

    python bench/writes.py [--devices 20] [--rate 1] [--batch 1] [--commit-ms 1000] [--seconds 120]

Starts a gateway of its own with real devices over WebSocket (and a real broker with --mqtt),
waits for the seconds to pass, and prints bytes per commit, per reading and per day. Everything is
included: WAL, checkpoints, compaction, summaries, event log and outbox.
"""

import argparse
import asyncio
import contextlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import aiohttp
import cbor2
import numpy as np

SETTLE_S = 12


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def device(url: str, name: str, rate: float, batch: int) -> None:
    """One device that sends `batch` readings a message."""
    rng = np.random.default_rng(abs(hash(name)) % 2**32)
    value = 2150
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(url, protocols=["sensorlink.v1"], max_msg_size=0) as link,
    ):
        await link.send_bytes(
            cbor2.dumps({0: 1, 2: [1, 0], 3: name, 4: rng.bytes(8), 5: 1, 6: 0, 8: 0})
        )
        await link.receive()
        field = {0: "temperature", 1: "Cel", 2: 77, 3: 0.01}
        await link.send_bytes(cbor2.dumps({0: 8, 2: 1, 3: [field], 5: b"mark"}))
        reader = asyncio.create_task(drain(link))
        begun = time.monotonic()
        await asyncio.sleep(rng.random() * batch / rate)
        for seq in range(1, 10**9):
            steps = np.cumsum(rng.integers(-3, 4, batch)) + value
            value = int(steps[-1])
            now = int((time.monotonic() - begun) * 1000)
            raw = cbor2.CBORTag(77, steps.astype("<i2").tobytes())
            t0 = max(0, now - int(1000 * (batch - 1) / rate))
            message = {0: 16, 1: seq, 2: 1, 3: t0, 4: int(1000 / rate), 5: [raw]}
            if batch == 1:
                message = {0: 16, 1: seq, 2: 1, 3: now, 5: [value]}
            await link.send_bytes(cbor2.dumps(message))
            await asyncio.sleep(batch / rate)
        reader.cancel()


async def drain(link: aiohttp.ClientWebSocketResponse) -> None:
    async for _ in link:
        pass


def metric(port: int, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(f"gateway_{name} "):
                return float(line.split()[1])
    raise KeyError(name)


@contextlib.contextmanager
def broker(folder: Path, port: int):
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen(["/usr/sbin/mosquitto", "-c", config], stderr=subprocess.DEVNULL)
    yield
    process.kill()


@contextlib.contextmanager
def gateway(folder: Path, port: int, commit_ms: int, mqtt: int | None):
    config = folder / "gateway.toml"
    more = "" if mqtt is None else f'[mqtt]\nurl = "mqtt://127.0.0.1:{mqtt}"\n'
    config.write_text(
        f'[gateway]\ndata_dir = "./data"\n[listen]\nport = {port}\n[devices]\nauth = "open"\n'
        f"[store]\ncommit_interval_ms = {commit_ms}\n{more}"
    )
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "run", "--config", config], stderr=log
    )
    while True:
        try:
            metric(port, "ready")
            break
        except OSError:
            time.sleep(0.05)
    yield process
    process.terminate()
    process.wait()


async def measure(args: argparse.Namespace, port: int) -> dict[str, float]:
    names = [f"d{n}" for n in range(args.devices)]
    url = f"ws://127.0.0.1:{port}/link"
    tasks = [asyncio.create_task(device(url, name, args.rate, args.batch)) for name in names]
    await asyncio.sleep(SETTLE_S)
    keys = ("written_bytes", "commits_total", "readings_total")
    before = {key: await asyncio.to_thread(metric, port, key) for key in keys}
    await asyncio.sleep(args.seconds)
    after = {key: await asyncio.to_thread(metric, port, key) for key in keys}
    for task in tasks:
        task.cancel()
    return {key: after[key] - before[key] for key in keys}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--rate", type=float, default=1.0, help="readings a second and device")
    parser.add_argument("--batch", type=int, default=1, help="readings a message")
    parser.add_argument("--commit-ms", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--mqtt", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, port, mqtt = Path(name), free_port(), free_port() if args.mqtt else None
        upstream = broker(folder, mqtt) if mqtt else contextlib.nullcontext()
        with upstream, gateway(folder, port, args.commit_ms, mqtt):
            found = asyncio.run(measure(args, port))
    written, commits = found["written_bytes"], found["commits_total"]
    print(
        f"{args.devices} devices, {args.rate:g} readings/s each, {args.batch} a message, commit "
        f"{args.commit_ms} ms, mqtt {'on' if args.mqtt else 'off'}: "
        f"{commits:.0f} commits, {written / commits / 1024:.1f} KiB a commit, "
        f"{written / args.seconds / 1024:.1f} KiB/s, "
        f"{written / found['readings_total']:.0f} bytes a reading, "
        f"{written / args.seconds * 86400 / 1e9:.2f} GB a day"
    )


if __name__ == "__main__":
    main()
