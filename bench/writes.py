"""Bytes that the gateway writes to disk.

    python bench/writes.py [--devices 20] [--rate 1] [--batch 1] [--commit-ms 1000] [--seconds 1000]

Starts a gateway of its own with real devices over WebSocket (and a real broker with --mqtt),
waits for the seconds to pass, and prints bytes per commit, per reading and per day. Everything is
included: WAL, checkpoints, summaries, event log and outbox; compaction if the run is long enough
for it (20,000 readings).

With --disk (as root) the data folder is an ext4 of its own on a loop device, whose writes are
counted, those of the file system's journal too. Without it the kernel's account of the process
counts: with large folios (ext4 on Linux 6.18) it takes a whole one for a few bytes of it.
"""

import argparse
import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import cbor2
import numpy as np

SECTOR = 512
DISK_BYTES = 2**30
PRIMING = 640


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


async def prime(url: str) -> None:
    """Let the WAL reach its full size: from then on it is written over, as in a long run."""
    rng = np.random.default_rng(1)
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(url, protocols=["sensorlink.v1"], max_msg_size=0) as link,
    ):
        await link.send_bytes(
            cbor2.dumps({0: 1, 2: [1, 0], 3: "primer", 4: rng.bytes(8), 5: 1, 6: 0, 8: 0})
        )
        await link.receive()
        await link.send_bytes(cbor2.dumps({0: 8, 2: 1, 3: [{0: "noise", 2: 86}], 5: b"mark"}))
        for seq in range(1, PRIMING + 1):
            column = cbor2.CBORTag(86, rng.random(1000).tobytes())
            await link.send_bytes(cbor2.dumps({0: 16, 1: seq, 2: 1, 3: seq, 4: 1, 5: [column]}))
            while seq % 16 == 0:
                answer = cbor2.loads((await link.receive()).data)
                if answer[0] == 3 and answer[2] >= seq:
                    break


async def drain(link: aiohttp.ClientWebSocketResponse) -> None:
    async for _ in link:
        pass


@contextlib.contextmanager
def own_disk(folder: Path) -> Iterator[str]:
    """An ext4 mounted on `folder`/data; the name of its loop device."""
    image, mount = folder / "image", folder / "data"
    image.touch()
    os.truncate(image, DISK_BYTES)
    subprocess.run(
        ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image], check=True
    )
    mount.mkdir()
    found = subprocess.run(
        ["losetup", "--find", "--show", image], check=True, capture_output=True, text=True
    )
    device = found.stdout.strip()
    try:
        subprocess.run(["mount", "-o", "noatime", device, mount], check=True)
        yield Path(device).name
    finally:
        subprocess.run(["umount", "-l", mount], check=False)
        subprocess.run(["losetup", "--detach", device], check=False)


def sectors(disk: str) -> int:
    """Bytes that went to a block device."""
    return int(Path(f"/sys/block/{disk}/stat").read_text().split()[6]) * SECTOR


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
    try:
        yield
    finally:
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
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


async def measure(args: argparse.Namespace, port: int, disk: str | None) -> dict[str, float]:
    names = [f"d{n}" for n in range(args.devices)]
    url = f"ws://127.0.0.1:{port}/link"
    await prime(url)
    tasks = [asyncio.create_task(device(url, name, args.rate, args.batch)) for name in names]
    keys = ("written_bytes", "commits_total", "readings_total")

    async def look() -> dict[str, float]:
        found = {key: await asyncio.to_thread(metric, port, key) for key in keys}
        return {**found, "sectors": sectors(disk) if disk else 0}

    await asyncio.sleep(args.settle)
    before = await look()
    await asyncio.sleep(args.seconds)
    after = await look()
    for task in tasks:
        task.cancel()
    return {key: after[key] - before[key] for key in after}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--rate", type=float, default=1.0, help="readings a second and device")
    parser.add_argument("--batch", type=int, default=1, help="readings a message")
    parser.add_argument("--commit-ms", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--settle", type=float, default=120, help="seconds before those that count")
    parser.add_argument("--mqtt", action="store_true")
    parser.add_argument("--disk", action="store_true", help="count what a disk of its own gets")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, port, mqtt = Path(name), free_port(), free_port() if args.mqtt else None
        upstream = broker(folder, mqtt) if mqtt else contextlib.nullcontext()
        own = own_disk(folder) if args.disk else contextlib.nullcontext()
        with own as disk, upstream, gateway(folder, port, args.commit_ms, mqtt):
            found = asyncio.run(measure(args, port, disk))
    written, commits = found["sectors" if args.disk else "written_bytes"], found["commits_total"]
    print(
        f"{args.devices} devices, {args.rate:g} readings/s each, {args.batch} a message, commit "
        f"{args.commit_ms} ms, mqtt {'on' if args.mqtt else 'off'}: "
        f"{commits:.0f} commits, {written / commits / 1024:.1f} KiB a commit, "
        f"{written / args.seconds / 1024:.1f} KiB/s, "
        f"{written / found['readings_total']:.0f} bytes a reading, "
        f"{written / args.seconds * 86400 / 1e9:.2f} GB a day"
        f" ({found['written_bytes'] / args.seconds / 1024:.1f} KiB/s by the process's account)"
    )


if __name__ == "__main__":
    main()
