"""How figures change with size: series, connections, stored readings, listeners, outbox rows."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import broadcasts, history, peers, plans
from bench.ingest import CALM_S
from bench.session import SERVER, Session
from bench.sse import CALM_RATE, listen
from bench.upstream import drain

PART = "scale"
SERIES = ((10, 10, 1, 100), (100, 50, 2, 50), (1000, 50, 20, 5), (10_000, 200, 50, 2))
"""Series, connections, fields, rows a message: always 100 readings a message."""
CONNECTIONS = (1, 10, 50, 500, 1000, 5000)
IN_ALL = 3_500
"""Messages on their way from all devices together, which the gateway's send limit permits."""
CLIENTS = (1, 10, 100, 1000)
STORED = (1_000_000, 10_000_000)
ROWS = (1_000, 10_000, 100_000)
DRAINED = 10_000


def run(session: Session) -> None:
    """Once, and 100 million readings and a million rows only if asked."""
    steps: tuple[Callable[[Session], None], ...] = (connections, stored, clients, rows)
    for step in steps:
        step(session)


def series(session: Session) -> None:
    """As many readings a message, from ever more series; long enough to see windows close."""
    for count, devices, fields, lines in SERIES:
        session.say(f"scale: {count:,} series")
        with session.running(peers.gateway()) as server:
            plan = plans.wide(server.port, fields=fields, rows=lines)
            found = session.load(plan, window=16, connections=devices, seconds=CALM_S)
            rate = found["per_second"] * fields * lines
            session.notes.add(PART, "series", str(count), rate=rate, rss_mb=server.rss_mb, **found)


def connections(session: Session) -> None:
    """Ten readings a message, 16 of them on their way if the limit permits."""
    for count in CONNECTIONS:
        session.say(f"scale: {count:,} connections")
        with session.running(peers.gateway()) as server:
            plan = plans.sensorlink(server.port, 10)
            window = max(1, min(16, IN_ALL // count))
            found = session.load(plan, window=window, connections=count)
            rate, memory = found["per_second"] * 10, server.rss_mb
            session.notes.add(PART, "connections", str(count), rate=rate, rss_mb=memory, **found)


def stored(session: Session) -> None:
    """One hour of one series, as the database grows."""
    for count in (*STORED, *((100_000_000,) if session.full else ())):
        session.say(f"scale: {count:,} stored readings")
        with TemporaryDirectory(dir=session.folder) as name, session.on(SERVER):
            found = asyncio.run(history.measure(Path(name), count, 100, 20_000))
            session.notes.add(PART, "stored", str(count), **found)


def clients(session: Session) -> None:
    """Deliveries of one event to ever more listeners."""
    for count in CLIENTS:
        session.say(f"scale: {count:,} listeners")
        figures = {}
        for name, rate in (("saturated", 0), ("calm", CALM_RATE)):
            with session.running(peers.gateway()) as server:
                found = listen(
                    session, server, broadcasts.of_gateway(server.port), count, rate=rate
                )
            figures |= {f"{name}_{key}": value for key, value in found.items()}
        session.notes.add(PART, "clients", str(count), **figures)


def rows(session: Session) -> None:
    """How fast an outbox drains, the deeper it is."""
    for count in (*ROWS, *((1_000_000,) if session.full else ())):
        found = drain(session, count, min(count, DRAINED))
        session.notes.add(PART, "outbox", str(count), **found)
