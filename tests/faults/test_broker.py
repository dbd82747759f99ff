"""A broker in trouble, a gateway under load: what a subscriber got is checked against the disk."""

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
import urllib.request
from bisect import bisect_right
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.core.broker import Outgoing
from gateway.core.facts import OutboxPut
from gateway.core.topics import Topics, Upstream
from gateway.store.sql import register
from gateway.store.sqlite import SqliteStore
from tests.brokers import Mosquitto, Published, ScriptedBroker, mosquitto
from tests.processes import PATIENCE_S, GatewayProcess, fleet
from tests.proxies import Proxy
from tests.watcher import Subscriber

PAYLOADS = "select payload from events where kind = 'summary' order by id"
OUTBOX = "select payload from messages where window_ms > 0 order by id"
ROWS = """select id, payload from messages where window_ms > 0 and
    (open or exists (select 1 from outbox_done where messages.id between first and last))"""
WAITING = "select count(*) from outbox_open"
DROPPED = "select coalesce(sum(n), 0) from dropped"
PERSISTENT = ("persistence true", "autosave_on_changes true", "autosave_interval 1")
BACKFILL = "/backfill"
BACKLOG = 100_000
GROWTH_MIB = 32
HOURS_MS = 4 * 3_600_000


def config(port: int, more: str = "") -> str:
    return (
        '[summaries]\nwindows = ["1s"]\nlateness = "1s"\n'
        f'[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n{more}'
    )


def ask(gateway: GatewayProcess, sql: str) -> list[tuple[Any, ...]]:
    conn = sqlite3.connect(f"file:{gateway.folder}/data/gateway.db?mode=ro", uri=True)
    register(conn)
    try:
        return conn.execute(sql).fetchall()
    finally:
        conn.close()


async def wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.05)


async def summaries(gateway: GatewayProcess, *, more: int) -> None:
    """Wait until so many more summaries are on the disk."""
    wanted = len(ask(gateway, PAYLOADS)) + more
    await wait(lambda: len(ask(gateway, PAYLOADS)) >= wanted)


async def drained(gateway: GatewayProcess) -> None:
    await wait(lambda: ask(gateway, WAITING) == [(0,)])


@asynccontextmanager
async def devices(gateway: GatewayProcess, count: int = 4) -> AsyncIterator[None]:
    process = fleet(gateway, "--devices", str(count), "--seed", "3")
    try:
        yield
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, PATIENCE_S)


async def start(gateway: GatewayProcess) -> None:
    await asyncio.to_thread(gateway.start)


def check(gateway: GatewayProcess, subscriber: Subscriber, *, losses: Sequence[int]) -> None:
    """Each id has one payload, that of the disk; none is missing; in order, once repetitions are
    left out. losses: so many messages had come whenever what the broker lost was sent again,
    and history began anew."""
    found: dict[int, set[bytes]] = defaultdict(set)
    topics: dict[tuple[int, str], list[int]] = defaultdict(list)
    for n, (number, topic, payload) in enumerate(subscriber.numbered()):
        if "/summary/" in topic:
            found[number].add(payload)
            era = bisect_right(losses, n) if topic.endswith(BACKFILL) else 0
            topics[era, topic].append(number)
    assert found == {number: {payload.encode()} for number, payload in ask(gateway, ROWS)}
    for topic, numbers in topics.items():
        order = list(dict.fromkeys(numbers))
        assert order == sorted(order), topic
    assert ask(gateway, DROPPED) == [(0,)]


def everything(gateway: GatewayProcess, subscriber: Subscriber) -> bool:
    return {number for number, _, _ in subscriber.numbered()} >= {n for n, _ in ask(gateway, ROWS)}


async def kill_and_start(broker: Mosquitto) -> None:
    broker.kill()
    await asyncio.to_thread(broker.start)


async def test_every_summary_goes_up_once_whatever_dies(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        gateway = GatewayProcess(tmp_path, more=config(broker.port))
        await start(gateway)
        async with devices(gateway):
            await summaries(gateway, more=20)
            broker.kill()
            await summaries(gateway, more=20)
            gateway.kill()
            await start(gateway)
            await summaries(gateway, more=20)
            await asyncio.to_thread(broker.start)
            await summaries(gateway, more=20)
            gateway.kill()
            await start(gateway)
            await summaries(gateway, more=20)
        await drained(gateway)
        assert gateway.stop() == 0
    logged = ask(gateway, PAYLOADS)
    assert len(logged) == len(set(logged)) >= 100
    assert ask(gateway, OUTBOX) == logged


async def test_what_a_forgetful_broker_lost_comes_again_by_itself(tmp_path: Path) -> None:
    """Without persistence; the gateway is killed once too, between the broker's death and return.

    The gateway's way to the broker is opened only when the subscriber is there again: what comes
    before a subscription is nobody's loss.
    """
    with mosquitto(tmp_path) as broker:
        async with Proxy(broker.port) as proxy:
            gateway = GatewayProcess(tmp_path, more=config(proxy.port))
            subscriber = Subscriber(broker.port, "sensors/gw-1/#")
            losses: list[int] = []
            async with subscriber.running():
                await subscriber.ready.wait()
                await start(gateway)
                async with devices(gateway):
                    for gateway_too in (False, True, False):
                        await summaries(gateway, more=12)
                        broker.kill()
                        await proxy.stop()
                        if gateway_too:
                            gateway.kill()
                        await wait(lambda: not subscriber.ready.is_set())
                        losses.append(len(subscriber.numbered()))
                        if gateway_too:
                            await start(gateway)
                        await asyncio.to_thread(broker.start)
                        await subscriber.ready.wait()
                        await proxy.start()
                        await summaries(gateway, more=4)
                await drained(gateway)
                await wait(lambda: everything(gateway, subscriber))
                assert await asyncio.to_thread(gateway.stop) == 0
                check(gateway, subscriber, losses=losses)
            repeated = [n for n, topic, _ in subscriber.numbered() if topic.endswith(BACKFILL)]
            assert repeated


async def test_what_a_broker_lost_unnoticed_comes_again_on_demand(tmp_path: Path) -> None:
    """With persistence the session survives a kill, and what came after the last save does not."""
    with mosquitto(tmp_path, *PERSISTENT) as broker:
        gateway = GatewayProcess(tmp_path, more=config(broker.port))
        subscriber = Subscriber(broker.port, "sensors/gw-1/#")
        async with subscriber.running():
            await subscriber.ready.wait()
            await start(gateway)
            async with devices(gateway):
                for _ in range(4):
                    await summaries(gateway, more=12)
                    await kill_and_start(broker)
            await wait(subscriber.ready.is_set)
            await drained(gateway)
            subscriber.publish(Outgoing(topic="sensors/gw-1/mark", payload=b"now"))
            await wait(lambda: any(found.topic.endswith("/mark") for found in subscriber.got))
            came = len(subscriber.numbered())
            asked = ["replay", "--hours", "1", "--config", str(gateway.config)]
            await asyncio.to_thread(
                subprocess.run, [sys.executable, "-m", "gateway", *asked], check=True
            )
            await drained(gateway)
            await wait(lambda: everything(gateway, subscriber))
            assert await asyncio.to_thread(gateway.stop) == 0
            check(gateway, subscriber, losses=[came])


async def test_a_command_is_taken_once_though_its_acknowledgement_died_with_the_gateway(
    tmp_path: Path,
) -> None:
    commands = "select n, op, dedupe from command"
    with mosquitto(tmp_path) as broker:
        async with Proxy(broker.port) as proxy:
            gateway = GatewayProcess(tmp_path, more=config(proxy.port))
            subscriber = Subscriber(broker.port, "sensors/gw-1/+/result")
            async with subscriber.running():
                await subscriber.ready.wait()
                await start(gateway)
                async with devices(gateway, 1):
                    await summaries(gateway, more=2)
                    await wait(lambda: "sensors/gw-1/+/command/+ (QoS" in broker.log.read_text())
                    ((name,),) = ask(gateway, "select name from device")
                    proxy.up = False
                    subscriber.publish(
                        Outgoing(
                            topic=f"sensors/gw-1/{name}/command/relay",
                            payload=b'{"on":true}',
                            correlation=b"\xab\xcd",
                        )
                    )
                    await wait(lambda: ask(gateway, commands))
                    gateway.kill()
                    taken = ask(gateway, commands)
                    proxy.up = True
                    for _ in range(2):
                        await start(gateway)
                        await wait(lambda: connected(gateway))
                        await wait(
                            lambda: sum(b'"state":"accepted"' in d.payload for d in subscriber.got)
                        )
                        await summaries(gateway, more=2)
                        assert await asyncio.to_thread(gateway.stop) == 0
                    assert ask(gateway, commands) == taken
    assert [dedupe for _, _, dedupe in taken] == ["abcd"]
    assert broker.log.read_text().count("Sending PUBLISH to sensors-gw-1 (d1") == 1
    answers = [json.loads(delivery.payload) for delivery in subscriber.got]
    assert {answer["n"] for answer in answers} == {taken[0][0]}


def connected(gateway: GatewayProcess) -> bool:
    return metric(gateway, "gateway_mqtt_connected") == 1


def metric(gateway: GatewayProcess, name: str) -> float:
    with urllib.request.urlopen(f"{gateway.url}/metrics", timeout=PATIENCE_S) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))


# -- a hundred thousand rows --------------------------------------------------------------------


class Tally(ScriptedBroker):
    """Keeps of each message only what the check needs; of each payload a hash."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[tuple[int, bool]] = []
        self.hashes: dict[int, int] = {}
        self.changed: list[int] = []

    def remember(self, message: Published) -> None:
        number = message.id
        if number is None or "/summary/" not in message.topic:
            return
        self.order.append((number, message.topic.endswith(BACKFILL)))
        if self.hashes.setdefault(number, hash(message.payload)) != hash(message.payload):
            self.changed.append(number)


async def fill(gateway: GatewayProcess, count: int) -> range:
    """Put a backlog of four hours into the outbox of a gateway that does not run; its ids."""
    store = SqliteStore(gateway.folder / "data" / "gateway.db")
    first = (await store.open()).highest["outbox"] + 1
    upstream = Upstream(Topics("sensors", "gw-1"))
    now = time.time_ns() // 10**6
    begin = now - HOURS_MS - 300_000
    for start_at in range(0, count, 5000):
        await store.commit(
            [
                old(upstream, first + n, begin + HOURS_MS * n // count)
                for n in range(start_at, start_at + 5000)
            ]
        )
    await store.close()
    return range(first, first + count)


def old(upstream: Upstream, number: int, t: int) -> OutboxPut:
    body = {
        "v": 1, "dev": f"old-{number % 20}", "m": "temperature", "w": "1s", "u": "Cel",
        "t0": t - 1000, "t1": t, "n": 1, "mean": number / 7, "min": 1.5, "max": 2.5, "std": 0.1,
    }  # fmt: skip
    return upstream.summary(number, t, body)


def memory_mib(gateway: GatewayProcess, name: str) -> float:
    assert gateway.process is not None
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return float(status.split(f"{name}:")[1].split()[0]) / 1024


async def test_a_hundred_thousand_rows_drain_in_order_and_cost_no_memory(tmp_path: Path) -> None:
    async with Tally() as broker:
        gateway = GatewayProcess(tmp_path, more=config(broker.port))
        await start(gateway)
        assert await asyncio.to_thread(gateway.stop) == 0
        backlog = await fill(gateway, BACKLOG)
        await start(gateway)
        async with devices(gateway):
            await wait(lambda: len(broker.order) > 3000)
            early = memory_mib(gateway, "VmRSS")
            deadline = time.monotonic() + 5 * PATIENCE_S
            while len(broker.hashes) < BACKLOG:
                assert time.monotonic() < deadline, len(broker.hashes)
                await asyncio.sleep(0.1)
            await wait(lambda: backlog[-1] in broker.hashes)
            late = memory_mib(gateway, "VmHWM")
        await drained(gateway)
        assert await asyncio.to_thread(gateway.stop) == 0
    old_rows = [(number, labelled) for number, labelled in broker.order if number in backlog]
    assert old_rows == [(number, True) for number in backlog]
    assert broker.changed == []
    assert broker.hashes.keys() == {number for number, _ in ask(gateway, ROWS)}
    half = broker.order.index((backlog[BACKLOG // 2], True))
    assert sum(not labelled for _, labelled in broker.order[:half]) >= 8
    assert late - early < GROWTH_MIB, (early, late)


# -- a full outbox ------------------------------------------------------------------------------

ALERTS = "select payload from events where kind = 'alert' order by id"


def states(gateway: GatewayProcess) -> list[tuple[str, str, str]]:
    alerts = [json.loads(payload) for (payload,) in ask(gateway, ALERTS)]
    return [(alert["source"], alert["name"], alert["state"]) for alert in alerts]


FULL, ROOM = ("gateway", "outbox", "full"), ("gateway", "outbox", "ok")


async def overfilled(folder: Path, broker: Mosquitto, policy: str) -> tuple[GatewayProcess, range]:
    """A gateway whose outbox holds more than its cap, and whose broker is dead."""
    more = f'outbox_max_mb = 1\noutbox_full = "{policy}"\n'
    gateway = GatewayProcess(folder, more=config(broker.port, more))
    await start(gateway)
    assert await asyncio.to_thread(gateway.stop) == 0
    broker.kill()
    backlog = await fill(gateway, 10_000)
    await start(gateway)
    return gateway, backlog


async def test_a_full_outbox_drops_its_oldest_rows_and_says_so(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        gateway, backlog = await overfilled(tmp_path, broker, "drop_oldest")
        async with devices(gateway):
            await wait(lambda: states(gateway) == [FULL])
            await wait(lambda: ask(gateway, DROPPED) != [(0,)])
            await summaries(gateway, more=8)
            ((size,),) = ask(gateway, "select sum(size) from outbox_open")
            assert 0.9 * 2**20 < size < 2**20
            await asyncio.to_thread(broker.start)
            await wait(lambda: states(gateway) == [FULL, ROOM])
        await drained(gateway)
        assert await asyncio.to_thread(gateway.stop) == 0
    gone = set(backlog) - {number for number, _ in ask(gateway, ROWS)}
    assert gone == set(backlog[: len(gone)])
    assert ask(gateway, DROPPED) == [(len(gone),)]
    assert ask(gateway, "select distinct cause, what from dropped") == [("outbox_full", "messages")]
    ((low, high),) = ask(gateway, "select min(t_min), max(t_max) from dropped")
    assert (
        low
        <= high
        <= ask(
            gateway,
            "select min(t) from messages where open or id in (select last from outbox_done)",
        )[0][0]
    )
    logged = {payload for (payload,) in ask(gateway, PAYLOADS)}
    kept = {payload for number, payload in ask(gateway, ROWS) if number not in backlog}
    assert kept == logged


async def test_a_full_outbox_may_turn_new_rows_away_and_says_so(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        gateway, backlog = await overfilled(tmp_path, broker, "reject_new")
        async with devices(gateway):
            await wait(lambda: states(gateway) == [FULL])
            await summaries(gateway, more=20)
            assert metric(gateway, "gateway_mqtt_turned_away") > 0
            await asyncio.to_thread(broker.start)
            await wait(lambda: states(gateway) == [FULL, ROOM])
            await summaries(gateway, more=20)
        await drained(gateway)
        assert await asyncio.to_thread(gateway.stop) == 0
    stored = dict(ask(gateway, ROWS))
    assert stored.keys() >= set(backlog)
    fresh = {payload for number, payload in stored.items() if number not in backlog}
    logged = [payload for (payload,) in ask(gateway, PAYLOADS)]
    missing = len(logged) - len(fresh)
    assert fresh < set(logged)
    ((dropped,),) = ask(gateway, DROPPED)
    assert dropped >= missing > 0
