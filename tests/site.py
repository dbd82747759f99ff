"""A whole gateway in this process, on a machine whose clocks a test turns."""

import asyncio
import os
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway import app
from gateway.config import load
from gateway.core.cbor import encode
from gateway.core.clock import Now
from gateway.core.facts import SummaryMade
from gateway.core.messages import Data, Hello, Schema, to_map
from gateway.core.readings import NS_PER_MS, NS_PER_S
from gateway.core.registry import Stream
from gateway.core.uplink import Arrival
from gateway.disk import Ballast
from gateway.parts import Parts
from gateway.store.sql import register
from gateway.store.sqlite import SqliteStore

CONFIG = """
[gateway]
data_dir = "./data"
[devices]
auth = "open"
[store]
commit_interval_ms = 20
[summaries]
windows = ["1s", "10s", "1m"]
lateness = "2s"
"""
LENGTHS = {"1s": 1000, "10s": 10_000, "1m": 60_000}
LATENESS_MS = 2000
PATIENCE_S = 60.0
FOREVER = 2**62


class Machine:
    """Real time is what the test says; the system clock differs from it by `wrong` (ns)."""

    def __init__(self, true: int) -> None:
        self.true = true
        self.mono = 77 * NS_PER_S
        self.wrong = 0

    def __call__(self) -> Now:
        return Now(self.true + self.wrong, self.mono)

    def pass_time(self, seconds: float) -> None:
        ns = int(seconds * NS_PER_S)
        self.true += ns
        self.mono += ns

    def reboot(self, *, off: int, wrong: int) -> None:
        """The monotonic clock starts anew."""
        self.true += off
        self.mono, self.wrong = 5 * NS_PER_S, wrong


class Site:
    """The real parts of the gateway over a real store; `async with` runs them until the end."""

    def __init__(self, folder: Path, machine: Machine) -> None:
        folder.mkdir(exist_ok=True)
        path = folder / "gateway.toml"
        path.write_text(CONFIG)
        self.config = load(path)
        self.machine = machine
        self.marks: list[int] = []

    @property
    def database(self) -> Path:
        return self.config.gateway.data_dir / app.DATABASE

    async def __aenter__(self) -> "Site":
        self.config.gateway.data_dir.mkdir(exist_ok=True)
        self.store = SqliteStore(self.database)
        opened = await self.store.open()
        self.parts = Parts(
            self.config,
            store=self.store,
            opened=opened,
            ballast=Ballast(self.config.gateway.data_dir / "ballast"),
            machine=self.machine,
        )
        await app.fold(self.parts)
        self._tasks = [
            asyncio.create_task(self.parts.pipeline.run()),
            asyncio.create_task(self.parts.revisions.run()),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        turning, revising = self._tasks
        self.parts.pipeline.stop()
        await turning
        revising.cancel()
        with pytest.raises(asyncio.CancelledError):
            await revising
        await self.parts.pipeline.finish()
        await self.store.close()

    async def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            for task in self._tasks:
                assert not task.done(), task
            assert time.monotonic() < deadline, "waited in vain"
            await asyncio.sleep(0.01)

    async def turns(self, count: int = 3) -> None:
        """Let the pipeline go round: whatever is due by the clock is done then."""
        aim = self.parts.pipeline.turns + count
        await self.until(lambda: self.parts.pipeline.turns >= aim)
        self.marks.append(int(self.meta("watermark_ns") or 0))

    async def settled(self) -> None:
        """Close what is open, place what has no place, revise what is over."""
        self.machine.pass_time(90)
        await self.turns()
        revisions, devices = self.parts.revisions, self.parts.registry.devices
        await self.until(
            lambda: (
                not any(device.unplaced & device.boots.keys() for device in devices.values())
                and not self.parts.reception._placing._tasks
            )
        )
        await self.turns()
        await self.until(lambda: not revisions._ripe())
        await self.turns()

    # -- what is on disk --------------------------------------------------------------------

    def ask(self, sql: str, *values: object) -> list[Any]:
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        register(connection)
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def meta(self, key: str) -> str | None:
        found = self.ask("SELECT value FROM meta WHERE key = ?", key)
        return found[0][0] if found else None

    async def readings(self) -> dict[str, list[tuple[int, float]]]:
        """(t in ns, value) by device, in order of arrival; those of unknown time are missing."""
        names = {
            number: one.device.name for number, one in self.parts.registry.series_by_id.items()
        }
        found: dict[str, list[tuple[int, float]]] = defaultdict(list)
        async for piece in self.store.readings(since_ns=-FOREVER, until_ns=FOREVER):
            found[names[piece.series]] += zip(
                piece.run.t.tolist(), piece.run.v.tolist(), strict=True
            )
        return found

    async def check(self) -> None:
        """Summaries are those of the stored readings; ids rise; the watermark never went back."""
        over = self.parts.clock().ms - LATENESS_MS
        right = brute_force(await self.readings())
        made = await self._summaries()
        assert made == {key: right.get(key) for key in made}
        missing = right.keys() - made.keys()
        assert [key for key in missing if key[2] + LENGTHS[key[1]] <= over] == []
        assert made
        ids = [event for (event,) in self.ask("SELECT id FROM events")]
        assert ids == list(range(1, len(ids) + 1))
        assert self.marks == sorted(self.marks)

    async def _summaries(self) -> dict[tuple[str, str, int], tuple[Any, ...]]:
        page = await self.store.summaries(limit=1_000_000)
        return {
            (row.device, row.summary.window, row.summary.t0): _of(row.summary) for row in page.rows
        }


def _of(made: SummaryMade) -> tuple[Any, ...]:
    assert made.mean is not None
    return made.n, made.min, made.max, made.first, made.last, round(made.mean, 9)


def brute_force(
    readings: dict[str, list[tuple[int, float]]],
) -> dict[tuple[str, str, int], tuple[Any, ...]]:
    """What the summaries must say, by device, window and start (ms)."""
    cells: dict[tuple[str, str, int], list[tuple[int, float]]] = defaultdict(list)
    for device, rows in readings.items():
        for t, v in rows:
            for window, length in LENGTHS.items():
                cells[device, window, t // NS_PER_MS // length * length].append((t, v))
    return {key: _figures(rows) for key, rows in cells.items()}


def _figures(rows: list[tuple[int, float]]) -> tuple[Any, ...]:
    v = [value for _, value in sorted(rows, key=lambda row: row[0])]
    return len(v), min(v), max(v), v[0], v[-1], round(sum(v) / len(v), 9)


class Probe:
    """A device at the end of a connection: it times its readings by one of its own clocks."""

    def __init__(self, site: Site, name: str, *, unix: bool, ahead: int = 0) -> None:
        """unix: it sends Unix time, `ahead` ns wrong; otherwise its monotonic time."""
        self.site, self.name = site, name
        self.unix, self.ahead = unix, ahead
        self.boot, self.epoch = os.urandom(8), os.urandom(8)
        self.booted = site.machine.true
        self.fenced = False
        self.on_welcome: Callable[[], object] = lambda: None
        self.sent: list[tuple[int, float]] = []
        self.seq = 0
        self.rejected: list[int] = []

    def fence(self) -> None:
        self.fenced = True

    def acknowledge(self, rejects: list[list[int]]) -> None:
        self.rejected += [seq for seq, _ in rejects]

    def spawn(self, work: Any) -> None:
        work.close()

    async def part(self, *_: object) -> None: ...

    @property
    def _mono_ms(self) -> int:
        return (self.site.machine.true - self.booted) // NS_PER_MS

    async def hello(self, site: Site | None = None) -> int:
        """Connect (to the gateway as it runs now); what is committed."""
        self.site = site or self.site
        hello = Hello(
            version=[1, 0], device=self.name, epoch=self.epoch, lo=1, hi=self.seq, boot=self.boot,
            mono_ms=self._mono_ms,
        )  # fmt: skip
        claim = await self.site.parts.reception.claim(self, hello)  # type: ignore[arg-type]
        assert claim.stream is not None
        self.stream: Stream = claim.stream
        if 1 not in self.stream.layouts:
            field = {0: "v", 1: "Cel", 2: 86}
            schema = Schema(sid=1, fields=[field], resolution=3, fingerprint=b"mark")
            self.site.parts.reception.learn(self.stream, schema)
        return claim.verdict.committed

    def sync(self) -> None:
        """TIMESYNC."""
        self.site.parts.reception.sample(self.stream, self._mono_ms)

    def send(self, v: float) -> None:
        """A reading of this very moment."""
        self.seq += 1
        true = self.site.machine.true
        t0 = (true + self.ahead) // NS_PER_MS if self.unix else self._mono_ms
        data = Data(seq=self.seq, sid=1, t0=t0, columns=[v], clock=0 if self.unix else None)
        arrival = Arrival(data, encode(to_map(data)), self.site.parts.clock())
        self.site.parts.reception.take(self, self.stream, arrival)  # type: ignore[arg-type]
        self.site.parts.reception.came(arrival.size, hurry=True)
        self.sent.append((true, v))

    async def acknowledged(self) -> None:
        await self.site.until(lambda: self.stream.committed == self.seq)
