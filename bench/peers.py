"""The servers that take readings, each started on a core of its own."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from bench import plans

HERE = Path(__file__).parent
PYTHON = sys.executable
START_S = 60.0
STOP_S = 20.0
NO_PLAN = plans.sensorlink

GATEWAY = """\
[gateway]
id = "bench"
data_dir = "{folder}/data"
[listen]
port = {port}
[devices]
auth = "open"
window = {window}
[store]
commit_interval_ms = {interval}
[events]
max_clients = 5000
max_clients_per_address = 5000
{more}
"""

MOSQUITTO = """\
listener 0 {folder}/socket
listener {port}
protocol {protocol}
allow_anonymous true
user root
max_inflight_messages 0
max_queued_messages 0
{more}
"""


def _always(_: "Running") -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Peer:
    """A server under test. `prepare(folder, port)` writes its files and gives its command.

    plan: of a load, by port and readings a message. ready: asked once the port is open.
    tool: the program of bench/load that it is, or None.
    """

    name: str
    durable: bool
    prepare: Callable[[Path, int], Sequence[str]]
    plan: Callable[[int, int], plans.Plan] = NO_PLAN
    ready: Callable[["Running"], bool] = _always
    tool: str | None = None

    def with_tool(self, find: Callable[[str], Path]) -> "Peer":
        if self.tool is None:
            return self
        program = str(find(self.tool))
        return replace(self, prepare=lambda _, port: [program, str(port)])


class Running:
    """A peer that runs, pinned to a core; ends with the block."""

    def __init__(
        self, peer: Peer, folder: Path, *, core: int, environment: dict[str, str] | None = None
    ) -> None:
        self.peer, self.folder, self.core = peer, folder, core
        self.port = free_port()
        self._environment = environment or {}

    def __enter__(self) -> "Running":
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.start()
        return self

    def start(self) -> None:
        """Start it in its folder, and wait until it answers; `started_s` tells how long it took."""
        command = ["taskset", "-c", str(self.core), *self.peer.prepare(self.folder, self.port)]
        environment = os.environ | {"PYTHONPATH": str(HERE.parent)} | self._environment
        begun = time.monotonic()
        with (self.folder / "log").open("wb") as log:
            self.process = psutil.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, env=environment
            )
        while not (self._listens() and self.peer.ready(self)):
            if self.process.poll() is not None or time.monotonic() > begun + START_S:
                raise SystemExit(f"{self.peer.name} does not start:\n{self.log}")
            time.sleep(0.02)
        self.started_s = time.monotonic() - begun

    def stop(self) -> None:
        """Ask it to end, and make it end if it does not."""
        everyone = [self.process, *self.process.children(recursive=True)]
        self.process.send_signal(signal.SIGTERM)
        for each in psutil.wait_procs(everyone, timeout=STOP_S)[1]:
            each.kill()
        self.process.wait()

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-4000:]

    @property
    def rss_mb(self) -> float:
        """Memory that the process and its children hold alone, and their share of the rest."""
        everyone = [self.process, *self.process.children(recursive=True)]
        return sum(each.memory_full_info().pss for each in everyone) / 1e6

    @property
    def cpu_s(self) -> float:
        """CPU time so far, all threads."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def gateway(
    *,
    window: int = 64,
    interval: int = 1,
    name: str = "gateway",
    plan: Callable[[int, int], plans.Plan] = plans.sensorlink,
    more: str = "",
) -> Peer:
    """Our product; windows on, durability full."""

    def prepare(folder: Path, port: int) -> Sequence[str]:
        config = folder / "gateway.toml"
        config.write_text(
            GATEWAY.format(folder=folder, port=port, window=window, interval=interval, more=more)
        )
        return [PYTHON, "-m", "gateway", "run", "--config", str(config)]

    return Peer(name, durable=True, prepare=prepare, plan=plan)


def mosquitto(*, durable: bool = False, protocol: str = "websockets") -> Peer:
    """A broker in C: QoS 1, in memory; or each message queued for a session that is away, saved.

    It acknowledges before anything is on disk, in both cases.
    """

    def prepare(folder: Path, port: int) -> Sequence[str]:
        more = f"persistence true\npersistence_location {folder}/\nautosave_on_changes true\n"
        more += "autosave_interval 1000\n"
        config = folder / "mosquitto.conf"
        config.write_text(
            MOSQUITTO.format(
                folder=folder, port=port, protocol=protocol, more=more if durable else ""
            )
        )
        return ["/usr/sbin/mosquitto", "-c", str(config)]

    return Peer(
        "Mosquitto, session saved" if durable else "Mosquitto, in memory",
        durable=False,
        prepare=prepare,
        plan=plans.mqtt,
        ready=_keep_session if durable else _always,
    )


def _keep_session(server: "Running") -> bool:
    """Someone subscribed and went away: the broker keeps each message for them."""
    command = ["mosquitto_sub", "--unix", str(server.folder / "socket"), "-i", "keeper", "-c"]
    done = subprocess.run([*command, "-q", "1", "-t", "bench/t", "-E"], check=False)
    return done.returncode == 0


def bare(*, every: int = 16) -> Peer:
    """The limit of aiohttp: receive, and acknowledge every so many messages."""
    script = str(HERE / "servers" / "bare.py")
    return Peer(
        "bare aiohttp",
        durable=False,
        prepare=lambda _, port: [PYTHON, script, str(port), str(every)],
    )


def ceiling() -> Peer:
    """The load's own limit: a server in C that counts and acknowledges."""
    return Peer("C server", durable=False, prepare=lambda *_: [], tool="serve")


def sqlite_utils() -> Peer:
    """What one writes first: a WebSocket handler that inserts rows with sqlite-utils."""
    script = str(HERE / "servers" / "rows.py")
    return Peer(
        "sqlite-utils script",
        durable=True,
        prepare=lambda folder, port: [PYTHON, script, str(port), str(folder / "rows.db")],
        plan=plans.json_text,
    )


def count_rows(database: Path) -> int:
    """How many readings a table of rows holds; -1 if there is none."""
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as conn:
            (found,) = conn.execute("SELECT count(*) FROM reading").fetchone()
            return int(found)
    except sqlite3.OperationalError:
        return -1
