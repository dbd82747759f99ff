"""One round of the campaign: a gateway under load, attacked again and again, and then checked."""

import asyncio
import random
import socket
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path

from tests.faults.blocks import newest_summary
from tests.faults.checker import Verdict, check
from tests.faults.ledger import Ledger, Listener
from tests.faults.load import Device, listen
from tests.processes import PATIENCE_S, GatewayProcess, free_port

WINDOWS = ("1s", "2s")
CONFIG = """[summaries]
windows = ["1s", "2s"]
lateness = "1s"
[store]
commit_interval_ms = 20
"""
SETTLE_S = 90.0


class Broker:
    """A real Mosquitto that remembers nothing, and a subscriber that writes down what it gets."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder
        self.config = folder / "mosquitto.conf"
        self.config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        self.heard = folder / "heard"

    @property
    def lines(self) -> str:
        """For the gateway's configuration."""
        return f'[mqtt]\nurl = "mqtt://127.0.0.1:{self.port}"\n'

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["/usr/sbin/mosquitto", "-c", str(self.config)], stderr=subprocess.DEVNULL
        )
        self._wait_until_open()
        with self.heard.open("ab") as heard:
            asked = ["-p", str(self.port), "-q", "1", "-t", "#", "-F", "%t %p"]
            self.subscriber = subprocess.Popen(
                ["mosquitto_sub", *asked], stdout=heard, stderr=subprocess.DEVNULL
            )

    def _wait_until_open(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        for process in (self.subscriber, self.process):
            process.kill()
            process.wait()

    def published(self) -> list[str]:
        """Payloads of summaries."""
        lines = (line.partition(" ") for line in self.heard.read_text().splitlines())
        return [
            payload for topic, _, payload in lines if "/summary/" in topic and payload[-1:] == "}"
        ]


@dataclass(slots=True)
class Report:
    """What was done, and what was found. All figures add up over rounds."""

    attacks: Counter[str] = field(default_factory=Counter)
    verdict: Verdict = field(default_factory=Verdict)

    def add(self, verdict: Verdict, **attacks: int) -> None:
        self.attacks.update(attacks)
        for name in (one.name for one in fields(Verdict)):
            setattr(self.verdict, name, getattr(self.verdict, name) + getattr(verdict, name))

    def merge(self, other: "Report") -> None:
        self.add(other.verdict, **other.attacks)

    def __str__(self) -> str:
        found = self.verdict
        done = ", ".join(f"{name} {n}" for name, n in sorted(self.attacks.items()))
        return (
            f"attacks: {done}\n"
            f"acknowledged {found.acknowledged}, readings {found.readings}, "
            f"summaries {found.summaries}, revisions {found.revisions}, "
            f"events {found.events}, received {found.received}\n"
            f"lost {found.lost}, duplicated {found.duplicated}, invented {found.invented}, "
            f"wrong summaries {found.wrong_summaries}, events missing, repeated or wrong "
            f"{found.wrong_events}, wrong order {found.wrong_order}, damaged {found.damaged}"
        )


class Scene:
    """A gateway with devices and subscribers. `seed` decides everything that can be decided."""

    def __init__(self, folder: Path, seed: int, *, config: str = CONFIG, broker: bool = False):
        self.rng = random.Random(seed)
        self.ledger = Ledger(windows=WINDOWS)
        self.broker = Broker(folder) if broker else None
        more = config + (self.broker.lines if self.broker else "")
        self.gateway = GatewayProcess(folder, more=more)
        self.database = folder / "data" / "gateway.db"
        self.devices = [
            Device(f"d{n}", self.ledger, random.Random(self.rng.random()), own_clock=n % 3 != 2)
            for n in range(5)
        ]
        self.ledger.listeners += [Listener(), Listener(kinds=("summary",), windows=("1s",))]
        self.attacks: Counter[str] = Counter()

    @asynccontextmanager
    async def load(self, *, subscribers: bool = True) -> AsyncIterator[None]:
        """Devices send as long as this lasts; subscribers stay until the gateway has settled."""
        listening = []
        if subscribers:
            listening = [
                asyncio.create_task(listen(listener, lambda: self.gateway.url))
                for listener in self.ledger.listeners
            ]
        living = [
            asyncio.create_task(device.live(lambda: self.gateway.link)) for device in self.devices
        ]
        try:
            yield
            await _ended(living)
            if self.gateway.process is not None:
                await self.settled()
        finally:
            await _ended([*living, *listening])

    # -- attacks ----------------------------------------------------------------------------

    async def attack(self) -> None:
        """Let some time pass, then one attack; afterwards the gateway runs again."""
        await asyncio.sleep(self.rng.uniform(0.05, 1.2))
        kinds, weights = ("kill", "kill_at_start", "stop", "broker"), (8, 2, 1, 1)
        (kind,) = self.rng.choices(kinds, weights)
        if kind == "broker" and self.broker is None:
            kind = "kill"
        self.attacks[kind] += 1
        if kind == "broker":
            assert self.broker is not None
            self.broker.kill()
            await asyncio.sleep(self.rng.uniform(0, 0.5))
            self.broker.start()
            return
        if kind == "stop":
            assert await asyncio.to_thread(self.gateway.stop) == 0
        else:
            self.gateway.kill()
        if kind == "kill_at_start":
            self.gateway.launch()
            await asyncio.sleep(self.rng.uniform(0.2, 1.0))
            self.gateway.kill()
        await asyncio.to_thread(self.gateway.start)

    async def settled(self) -> None:
        """Wait until every window is closed, nothing is due, and subscribers have it all."""
        deadline = time.monotonic() + SETTLE_S
        while not self._is_settled():
            assert time.monotonic() < deadline, "the gateway does not settle"
            await asyncio.sleep(0.1)

    def _is_settled(self) -> bool:
        conn = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        try:
            (due,) = conn.execute("SELECT count(*) FROM revision_due").fetchone()
            mark = conn.execute("SELECT value FROM meta WHERE key = 'watermark_ns'").fetchone()
            newest = newest_summary(conn)
            waiting = "SELECT count(*) FROM outbox_open"
            (upstream,) = conn.execute(waiting).fetchone()
        finally:
            conn.close()
        times = [device.latest for device in self.devices]
        heard = [
            not listener.events or listener.events[-1].id >= newest
            for listener in self.ledger.listeners[:1]
        ]
        ends = (max(times) // 2000 + 1) * 2000 * 10**6
        closed = mark is not None and int(mark[0]) >= ends
        return not due and closed and all(heard) and not (self.broker and upstream)

    async def check(self) -> Verdict:
        """Check the store; the gateway must not run."""
        if self.broker is not None:
            self.ledger.published = self.broker.published()
        return await asyncio.to_thread(check, self.database, self.ledger.snapshot())

    def counted(self) -> dict[str, int]:
        """The attacks so far."""
        return {**self.attacks, "drops": sum(device.drops for device in self.devices)}


async def _ended(tasks: list["asyncio.Task[None]"]) -> None:
    for task in tasks:
        if task.done() and not task.cancelled():
            task.result()  # a device or a subscriber that failed says why
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def kills(folder: Path, seed: int, *, attacks: int, broker: bool, checks: int = 1) -> Report:
    """A gateway under load, attacked so many times; checked on the way too, and at the end."""
    scene = Scene(folder, seed, broker=broker)
    report = Report()
    if scene.broker is not None:
        scene.broker.start()
    try:
        await asyncio.to_thread(scene.gateway.start)
        async with scene.load():
            for n in range(1, attacks + 1):
                await scene.attack()
                if n % (attacks // (checks + 1) + 1) == 0:
                    scene.gateway.kill()
                    scene.attacks["kill"] += 1
                    report.verdict.found += (await scene.check()).found
                    await asyncio.to_thread(scene.gateway.start)
            await asyncio.sleep(0.5)
        assert await asyncio.to_thread(scene.gateway.stop) == 0
    finally:
        scene.gateway.kill()
        if scene.broker is not None:
            scene.broker.kill()
    report.add(await scene.check(), **scene.counted())
    return report
