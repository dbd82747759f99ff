"""The same load on slow disks: each fsync and fdatasync takes some milliseconds longer."""

from bench import peers
from bench.ingest import CELLS, Cell
from bench.node_red import node_red
from bench.session import Session

PART = "slow"
DELAYS_MS = (5, 20)
LOADS: tuple[Cell, ...] = (CELLS[0], CELLS[3])


def run(session: Session) -> None:
    """Once."""
    for delay in DELAYS_MS:
        for cell in LOADS:
            for make in (peers.gateway, node_red):
                peer = make()
                if not session.wants(peer.name):
                    continue
                session.say(f"slow: {delay} ms: {cell.name}: {peer.name}")
                with session.running(peer, slow_ms=delay) as server:
                    plan = peer.plan(server.port, cell.readings)
                    found = session.load(plan, window=cell.window)
                found["readings_per_second"] = found["per_second"] * cell.readings
                session.notes.add(PART, f"+{delay} ms, {cell.name}", peer.name, **found)
