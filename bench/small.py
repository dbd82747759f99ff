"""What the gateway takes of a small machine: memory, start, and CPU at an everyday load."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import peers
from bench.node_red import node_red
from bench.peers import Peer, Running
from bench.session import LOAD, Session
from bench.upstream import MORE

PART = "small"
DEVICES, RATE = 50, 10
DASHBOARDS = 5
IDLE = 500
BUSY_S = 10.0


def run(session: Session) -> None:
    """Once."""
    for make in (peers.gateway, node_red):
        idle(session, make)
    everyday(session, "gateway, 5 dashboards, bridge", peers.gateway, dashboards=DASHBOARDS)
    everyday(session, "Node-RED, SQLite WAL", node_red, dashboards=0)


def idle(session: Session, make: Callable[[], Peer]) -> None:
    """Time until it is ready, memory alone, and with devices that only keep the connection."""
    peer = make()
    session.say(f"small: idle: {peer.name}")
    with session.running(peer) as server:
        empty = server.rss_mb
        plan = peer.plan(server.port, 1)
        plan.write(session.folder / "plan", IDLE)
        with _held(session, plan_file=session.folder / "plan", connections=IDLE):
            held = server.rss_mb
        session.notes.add(
            PART,
            "idle",
            peer.name,
            start_s=server.started_s,
            empty_mb=empty,
            idle_mb=held,
            device_kib=(held - empty) * 1e6 / 1024 / IDLE,
        )


@contextmanager
def _held(session: Session, *, plan_file: Path, connections: int) -> Iterator[None]:
    """Devices that have introduced themselves and stay; each sends a message now and then."""
    arguments = [str(each) for each in (connections, 1, 0, 600, connections / 2)]
    command = ["taskset", "-c", str(LOAD), session.tool("load"), plan_file, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _settle(process)
        yield
    finally:
        process.terminate()
        process.wait()


def _settle(process: "subprocess.Popen[bytes]") -> None:
    """Until everyone is connected and has sent something."""
    try:
        process.wait(4.0)
    except subprocess.TimeoutExpired:
        return
    raise SystemExit("the load ended before it was asked to")


def everyday(session: Session, name: str, make: Callable[..., Peer], *, dashboards: int) -> None:
    """Some devices, single readings at a fixed rate; dashboards and bridge on for the gateway."""
    session.say(f"small: everyday: {name}")
    with session.running(peers.mosquitto(protocol="mqtt"), core=LOAD, folder="broker") as broker:
        peer = make()
        if dashboards:
            peer = peers.gateway(interval=250, more=MORE.format(port=broker.port))
        with session.running(peer) as server, _watched(server, dashboards):
            before = server.cpu_s
            plan = peer.plan(server.port, 1)
            result = session.load(plan, window=32, rate=DEVICES * RATE, seconds=BUSY_S)
            cpu = (server.cpu_s - before) / (BUSY_S + 0.5)
            session.notes.add(PART, "everyday", name, cpu=cpu, rss_mb=server.rss_mb, **result)


@contextmanager
def _watched(server: Running, dashboards: int) -> Iterator[None]:
    """Dashboards as browsers open them: summaries, states, alerts and newest readings."""
    kinds = "&".join(f"kind={kind}" for kind in ("summary", "reading", "status", "alert"))
    command = ["curl", "-sN", "-o", "/dev/null", f"http://127.0.0.1:{server.port}/events?{kinds}"]
    crowd = [subprocess.Popen(["taskset", "-c", str(LOAD), *command]) for _ in range(dashboards)]
    try:
        yield
    finally:
        for each in crowd:
            each.terminate()
            each.wait()
