"""Makes a stored database: lets the programs of a release write one (README.md, beside this file).

    PYTHONPATH=. .venv/bin/python tests/store/databases/make.py RELEASE/.venv/bin v1

Writes NAME.db.xz with NAME.jsonl.xz, what that release exports of it, and the same for
NAME-killed, which a SIGKILL left with its WAL.
"""

import argparse
import asyncio
import lzma
import os
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from cbor2 import CBORTag

from tests.brokers import free_port, mosquitto
from tests.wire_client import WireClient, new_epoch

HERE = Path(__file__).parent
PATIENCE_S = 30.0
ALERTS_REFUSED = "topic readwrite sensors/#\ntopic deny sensors/gw-1/field-1/alert\n"
CONFIG = """
[gateway]
data_dir = "./data"
[listen]
port = {port}
[devices]
auth = "open"
[store]
commit_interval_ms = 20
[summaries]
windows = ["1s", "10s"]
lateness = "1s"
[mqtt]
url = "mqtt://127.0.0.1:{broker}"
dead_letter_after = 1
"""
FIELDS = [
    {0: "level", 2: 86},
    {0: "volts", 1: "V", 2: 85},
    {0: "temperature", 1: "Cel", 2: 77, 3: 0.01},
    {0: "total", 1: "Wh", 2: 71},
    {0: "open", 2: 0},
    {0: "state", 2: 1},
]
JOURNAL_ROWS = 280
"""Enough for the table that finds rows by time in blocks of 256."""
LEVELS = [0.1 + 0.2, -0.0, 5e-324, 1.7976931348623157e308, 1 / 3]
FLEETS = (
    ("--mix", "greenhouse=1,door=1", "--devices", "2", "--duplicate", "0.1", "--malformed", "0.1",
     "--drop", "0.02", "--rate", "3"),
    ("--mix", "power=1", "--devices", "1", "--no-clock", "--reboot", "0.1"),
    ("--mix", "weather=1", "--devices", "1", "--overflow", "--rate", "5"),
)  # fmt: skip


class Release:
    """The programs of a release, with a data folder of their own."""

    def __init__(self, programs: Path, folder: Path, broker: int) -> None:
        self.programs = programs.absolute()
        self.folder = folder
        self.port = free_port()
        (folder / "gateway.toml").write_text(CONFIG.format(port=self.port, broker=broker))
        self.gateway = self.start("gateway", "run")
        deadline = time.monotonic() + PATIENCE_S
        while not self._ready():
            assert time.monotonic() < deadline, "the gateway does not start"
            time.sleep(0.05)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/link"

    @property
    def database(self) -> Path:
        return self.folder / "data" / "gateway.db"

    def _ready(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz")
        except OSError:
            return False
        return True

    def start(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [self.programs / program, *arguments], cwd=self.folder, env=_environment()
        )

    def call(self, *arguments: str) -> bytes:
        """The output of `gateway` with these arguments."""
        return subprocess.run(
            [self.programs / "gateway", *arguments],
            cwd=self.folder,
            env=_environment(),
            check=True,
            capture_output=True,
        ).stdout

    @contextmanager
    def fleets(self) -> Iterator[None]:
        common = ("fleet", "--url", self.url, "--quiet", "--reconnect-scale", "0.02")
        processes = [self.start("simulate", *common, *options) for options in FLEETS]
        try:
            yield
        finally:
            for process in processes:
                process.terminate()
                process.wait(PATIENCE_S)

    def keep(self, name: str) -> None:
        """Store the files of the database, the gateway having ended, and what it exports."""
        for path in (self.database, self.database.with_name("gateway.db-wal")):
            if path.exists():
                _store(f"{name}{path.name.removeprefix('gateway')}", path.read_bytes())
        _store(f"{name}.jsonl", self.call("export"))


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def _store(name: str, content: bytes) -> None:
    packed = lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)
    (HERE / f"{name}.xz").write_bytes(packed)
    print(f"{name}.xz: {len(content)} bytes in {len(packed)}")


class Field:
    """A device that sends by hand what a fleet does not: every type, and what is rejected."""

    def __init__(self, client: WireClient) -> None:
        self.client = client
        self.seq = 0

    async def send(self, kind: int, **keys: Any) -> None:
        self.seq += 1
        content = {int(name[1:]): value for name, value in keys.items()}
        await self.client.send({0: kind, 1: self.seq, **content})

    async def readings(self, t0_ms: int, *, clock: bytes | int = 0) -> None:
        """Five rows of all fields, 300 ms apart."""
        columns = [
            CBORTag(86, np.array(LEVELS, "<f8").tobytes()),
            CBORTag(85, np.array([0.1, 2.5, np.nan, -1e-40, 3.3], "<f4").tobytes()),
            CBORTag(77, np.array([2150, 2151, -1, 32767, -32768], "<i2").tobytes()),
            [2**64 - 1, 0, 2**63, None, 17],
            [True, False, None, True, True],
            ["idle", "läuft", None, "", "idle"],
        ]
        await self.send(16, k2=1, k3=t0_ms, k4=300, k5=columns, k7=clock)

    async def pulse(self) -> None:
        """One reading in a commit of its own."""
        await self.send(16, k2=2, k3=now_ms(), k5=[self.seq], k7=0)
        await self.client.acked(self.seq)

    async def odd(self) -> None:
        """A pack, an event, an unknown type, an infinite value, a gap, a boot never seen."""
        now = time.time()
        await self.send(17, k2=[{-2: "depth", -3: now, 1: "m", 2: 1.25}, {0: "on", 4: True}])
        await self.send(18, k2="opened", k3={"by": "hand"})
        await self.send(99, k2=1)
        await self.send(16, k2=1, k3=0, k5=[float("inf"), 1.0, 1, 1, True, "x"])
        await self.send(20, k2=self.seq + 10, k3=1, k4=120)
        self.seq += 9
        await self.readings(4000, clock=b"unseen!!")


@asynccontextmanager
async def field(release: Release, epoch: bytes) -> AsyncIterator[Field]:
    async with WireClient(release.url, "field-1") as client:
        await client.hello(epoch)
        await client.schema(fields=FIELDS)
        await client.schema(2, fields=[{0: "pulse", 2: 70}])
        yield Field(client)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def whole(release: Release, broker: Any) -> None:
    """All kinds of rows; the broker dies near the end."""
    with release.fleets():
        async with field(release, new_epoch()) as device:
            begun = now_ms()
            await device.readings(begun)
            await device.odd()
            for _ in range(JOURNAL_ROWS):
                await device.pulse()
            await device.readings(now_ms())
            await device.readings(begun + 100)  # late: a revision
            await device.client.acked(device.seq)
        release.call("command", "greenhouse-1", "relay", '{"on":true}', "--wait")
        release.call("command", "greenhouse-1", "sing")
        release.call("command", "field-1", "relay", '{"on":false}', "--ttl", "30000d")
        release.call("device", "add", "shed-9")
        release.call("device", "add", "gone-9")
        release.call("device", "remove", "gone-9")
        await asyncio.sleep(1)
        broker.kill()
        await asyncio.sleep(3)
    _end(release, signal.SIGTERM)


async def killed(release: Release, _broker: Any) -> None:
    """A few seconds, then SIGKILL right after an acknowledgement, a revision being due."""
    with release.fleets():
        async with field(release, new_epoch()) as device:
            for _ in range(3):
                await device.readings(now_ms())
                await asyncio.sleep(1)
            await device.readings(now_ms() - 3000)
            await device.client.acked(device.seq)
            _end(release, signal.SIGKILL)


def _end(release: Release, number: int) -> None:
    release.gateway.send_signal(number)
    release.gateway.wait(PATIENCE_S)


def make(programs: Path, name: str, scene: Any) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rules = folder / "acl"
        rules.write_text(ALERTS_REFUSED)
        rules.chmod(0o600)
        with mosquitto(folder, f"acl_file {rules}") as broker:
            release = Release(programs, folder, broker.port)
            try:
                asyncio.run(scene(release, broker))
            finally:
                release.gateway.kill()
            release.keep(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("programs", type=Path, help="the folder that holds gateway and simulate")
    parser.add_argument("name", help="v and the number of the schema")
    args = parser.parse_args()
    make(args.programs, args.name, whole)
    make(args.programs, f"{args.name}-killed", killed)


if __name__ == "__main__":
    main()
