"""How many events a second each server brings to many listeners, how soon, and in which memory."""

import json
import socket
import subprocess
from collections.abc import Callable
from typing import Any

from bench import broadcasts
from bench.broadcasts import Broadcast
from bench.peers import Peer, Running
from bench.session import LOAD, WARMUP_S, Session

PART = "sse"
CLIENTS = (100, 1000)
AHEAD = 16
CALM_RATE = 20
SERVERS: tuple[tuple[Callable[[], Peer], Callable[[int], Broadcast]], ...] = (
    (broadcasts.gateway, broadcasts.of_gateway),
    (broadcasts.nchan, broadcasts.of_publisher),
    (broadcasts.sse_starlette, broadcasts.of_publisher),
    (broadcasts.raw, broadcasts.of_publisher),
)


def run(session: Session) -> None:
    """One round."""
    for clients in CLIENTS:
        for make, plan in SERVERS:
            peer = make()
            if not session.wants(peer.name):
                continue
            session.say(f"sse: {clients} clients: {peer.name}")
            for rate, cell in ((0, "saturated"), (CALM_RATE, f"{CALM_RATE} events/s")):
                with session.running(peer) as server:
                    found = listen(session, server, plan(server.port), clients, rate=rate)
                session.notes.add(PART, f"{clients} clients, {cell}", peer.name, **found)


def listen(
    session: Session, server: Running, plan: Broadcast, clients: int, *, rate: float
) -> dict[str, Any]:
    """Gather listeners, weigh the server, publish; rate 0: as fast as all of them get it."""
    file = session.folder / "broadcast"
    plan.write(file)
    _look_in(plan)
    empty = server.rss_mb
    arguments = [str(each) for each in (clients, AHEAD, WARMUP_S, session.seconds, rate)]
    process = subprocess.Popen(
        ["taskset", "-c", str(LOAD), session.tool("listen"), file, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise SystemExit(f"the listeners of {server.peer.name} failed:\n{server.log}")
    each = (server.rss_mb - empty) * 1e6 / 1024 / clients
    output, _ = process.communicate("go\n")
    if process.returncode:
        raise SystemExit(f"the listeners of {server.peer.name} failed:\n{server.log}")
    result: dict[str, Any] = json.loads(output)
    return {**result, "client_kib": each, "rss_mb": server.rss_mb}


def _look_in(plan: Broadcast) -> None:
    """One listener comes and goes: what it leaves behind is the server's, not a client's."""
    with socket.create_connection(("127.0.0.1", plan.port)) as client:
        client.sendall(plan.request)
        client.recv(65536)
