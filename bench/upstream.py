"""How fast the outbox drains into a broker, beside a publisher that keeps nothing on disk."""

import asyncio
import sqlite3
import time
import urllib.request
from pathlib import Path

from bench import peers
from bench.peers import HERE, PYTHON, Running
from bench.session import LOAD, SERVER, Session
from gateway.core.facts import OutboxPut
from gateway.core.outbox import WINDOW
from gateway.store.sqlite import SqliteStore

PART = "mqtt"
CELL = f"summaries, {WINDOW} in flight"
RATE_GUESS = 4000
AT_ONCE = 5000
PAYLOAD = (
    b'{"v":1,"dev":"d1","m":"temperature","u":"Cel","w":"10s","t0":1790000000000,'
    b'"t1":1790000010000,"n":100,"mean":21.437,"min":21.1,"max":21.9,"std":0.113,'
    b'"p50":21.43,"p95":21.8,"first":21.2,"last":21.5}'
)
MORE = """\
[mqtt]
url = "mqtt://127.0.0.1:{port}"
outbox_max_mb = 4096
"""


def run(session: Session) -> None:
    """One round."""
    rows = int(RATE_GUESS * max(1.0, session.seconds) * 2)
    session.notes.add(PART, CELL, "gateway, outbox", **drain(session, rows, rows))
    session.say("mqtt: bare paho")
    with session.running(peers.mosquitto(protocol="mqtt"), core=LOAD) as broker:
        payload = session.folder / "payload"
        payload.write_bytes(PAYLOAD)
        script = str(HERE / "servers" / "publisher.py")
        command = [PYTHON, script, str(broker.port), str(rows), str(WINDOW), str(payload)]
        rate = float(session.pinned(command, core=SERVER))
    session.notes.add(PART, CELL, "bare paho", per_second=rate)


def drain(session: Session, rows: int, count: int) -> dict[str, float]:
    """Messages/s from an outbox of so many rows, until `count` of them are acknowledged."""
    session.say(f"mqtt: an outbox of {rows:,}")
    with session.running(peers.mosquitto(protocol="mqtt"), core=LOAD, folder="broker") as broker:
        more = MORE.format(port=broker.port)
        folder = session.folder / "server"
        gateway = peers.gateway(more=more)
        with Running(gateway, folder, core=SERVER) as server:
            server.stop()
            asyncio.run(fill(folder / "data" / "gateway.db", rows))
            server.start()
            (begun, first), (ended, last) = _watch(server, count)
            return {"per_second": (last - first) / (ended - begun), "rss_mb": server.rss_mb}


def _watch(server: Running, count: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """When messages were first acknowledged, and when (nearly) all of them were."""
    first = None
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        acked = metric(server.port, "mqtt_acknowledged")
        now = time.monotonic()
        if acked and first is None:
            first = now, acked
        if first is not None and acked >= count:
            return first, (now, acked)
        time.sleep(0.05)
    raise SystemExit(f"the outbox does not drain:\n{server.log}")


def metric(port: int, name: str) -> float:
    """One figure of /metrics, 0 if it is not there."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(f"gateway_{name} "):
                return float(line.split()[1])
    return 0.0


async def fill(database: Path, rows: int) -> None:
    """Put summaries into the outbox, as the gateway would."""
    with sqlite3.connect(database) as conn:
        (last,) = conn.execute("SELECT ifnull(max(id), 0) FROM outbox").fetchone()
    conn.close()
    store, first = SqliteStore(database), last + 1
    await store.open()
    now = int(time.time() * 1000)
    for low in range(first, first + rows, AT_ONCE):
        await store.commit([_row(n, now) for n in range(low, min(low + AT_ONCE, first + rows))])
    await store.close()


def _row(number: int, now: int) -> OutboxPut:
    topic = f"sensors/bench/d{number % 50}/temperature/summary/10s"
    return OutboxPut(number, now, topic, PAYLOAD, False, now, 10_000, False, None, False, "{}")
