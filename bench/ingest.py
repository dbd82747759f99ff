"""How many readings a second each server takes and acknowledges; side by side, in turns."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import peers, plans
from bench.node_red import DATABASE, node_red
from bench.peers import PYTHON, Peer, Running, count_rows
from bench.session import SERVER, Session

PART = "ingest"
GATEWAY = "gateway"
CALM_S = 11.0
"""Long enough to see the windows of 10 s close."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of load, and who gets it. window: messages unacknowledged on a connection."""

    readings: int
    window: int
    peers: tuple[Callable[[], Peer], ...]

    @property
    def name(self) -> str:
        how = "lock-step" if self.window == 1 else f"window {self.window}"
        return f"{self.readings} a message, {how}"


def lock_step() -> Peer:
    return peers.bare(every=1)


def in_packs() -> Peer:
    return peers.gateway(name="gateway, SENML packs", plan=plans.senml)


def saved() -> Peer:
    return peers.mosquitto(durable=True)


CELLS = (
    Cell(1, 1, (peers.gateway, lock_step, peers.mosquitto, node_red, peers.sqlite_utils)),
    Cell(1, 64, (peers.gateway, peers.bare, peers.mosquitto, saved, node_red, peers.ceiling)),
    Cell(10, 64, (peers.gateway, in_packs, peers.mosquitto, node_red)),
    Cell(100, 16, (peers.gateway, peers.mosquitto, node_red, peers.sqlite_utils)),
    Cell(1000, 16, (peers.gateway, peers.bare)),
)
CALM = (CELLS[1], CELLS[3])


def run(session: Session, cells: tuple[Cell, ...] = CELLS) -> None:
    """One round."""
    limits(session)
    for cell in cells:
        for make in cell.peers:
            peer = make()
            if session.wants(peer.name):
                session.say(f"ingest: {cell.name}: {peer.name}")
                figures = measure(session, peer, cell)
                session.notes.add(PART, cell.name, peer.name, **figures)
    for cell in cells:
        if cell in CALM and session.wants(GATEWAY):
            calm(session, cell)


def limits(session: Session) -> None:
    """What disk and SQLite do by themselves, in this round."""
    with TemporaryDirectory(dir=session.folder) as name:
        command = [PYTHON, "-m", "bench.limits", name, str(session.seconds)]
        found = json.loads(session.pinned(command, core=SERVER))
    session.notes.add(PART, "limits", "disk", **found)
    for readings, cell in ((1, CELLS[1]), (100, CELLS[3]), (1000, CELLS[4])):
        for kind, name in (("rows", "SQLite's blobs"), ("appends", "append, fdatasync")):
            rate = found[f"{kind}_{readings}"]
            session.notes.add(PART, cell.name, f"{name} (limit)", readings_per_second=rate)


def measure(session: Session, peer: Peer, cell: Cell) -> dict[str, Any]:
    """A load as fast as acknowledgements come; then what is on disk is counted."""
    with session.running(peer) as server:
        before = server.cpu_s
        plan = peer.plan(server.port, cell.readings)
        result = session.load(plan, window=cell.window)
        result["rss_mb"], result["cpu_s"] = server.rss_mb, server.cpu_s - before
        server.stop()
        result["stored"] = check_stored(server, result, cell.readings)
        if peer.name == GATEWAY and cell.window == 1:
            assert exported(server.folder) == result["stored"]
    result["readings_per_second"] = result["per_second"] * cell.readings
    return result


def check_stored(server: Running, result: dict[str, Any], readings: int) -> int | None:
    """How many readings are on disk; it is an error if one that was acknowledged is not."""
    found = stored(server)
    if found is not None and found < result["acked_in_all"] * readings:
        acked = result["acked_in_all"] * readings
        raise SystemExit(f"{server.peer.name}: {acked} readings acknowledged, {found} stored")
    return found


def stored(server: Running) -> int | None:
    """The readings in a server's database; None if it has none."""
    database = server.folder / "data" / "gateway.db"
    if not database.exists():
        count = max(count_rows(server.folder / name) for name in ("rows.db", DATABASE))
        return None if count < 0 else count
    with sqlite3.connect(database) as conn:
        sums = (conn.execute(f"SELECT total(readings) FROM {t}") for t in ("journal", "chunk"))
        return sum(int(found.fetchone()[0]) for found in sums)


def calm(session: Session, cell: Cell) -> None:
    """Acknowledgement times at half of what the gateway takes; aiohttp's own at the same load."""
    most = session.notes.series(PART, cell.name, GATEWAY, "per_second")[-1]
    for peer in (peers.gateway(), peers.bare()):
        session.say(f"ingest: {cell.name}, at half of it: {peer.name}")
        with session.running(peer) as server:
            plan = plans.sensorlink(server.port, cell.readings)
            seconds = max(CALM_S, session.seconds)
            result = session.load(plan, window=cell.window, rate=most / 2, seconds=seconds)
        session.notes.add(PART, f"{cell.name}, half", peer.name, **result)


def exported(folder: Path) -> int:
    """Readings that `gateway export` writes: each one decoded, one line each."""
    with (folder / "export").open("wb") as sink:
        command = [PYTHON, "-m", "gateway", "export", "--config", folder / "gateway.toml"]
        subprocess.run(command, stdout=sink, stderr=sys.stderr, check=True)
    with (folder / "export").open("rb") as lines:
        return sum(1 for _ in lines)
