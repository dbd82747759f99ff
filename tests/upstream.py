"""A bridge with everything around it in memory: outbox, commands, configuration."""

import asyncio
import json
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gateway.bridge import Accepted, Bridge, Declined, Ground
from gateway.core.backoff import Backoff
from gateway.core.clock import Now
from gateway.core.facts import Fact, OutboxDone, OutboxDropped, OutboxPut, OutboxRefused
from gateway.core.topics import Topics, Upstream
from gateway.errors import StoreError
from gateway.mqtt import connect

UP = Upstream(Topics("sensors", "gw-1"))
BASE = "sensors/gw-1"


@dataclass(frozen=True)
class Config:
    url: str
    version: Literal["5", "3.1.1"] = "5"
    outbox_max_mb: int = 256
    outbox_full: Literal["drop_oldest", "reject_new"] = "drop_oldest"
    dead_letter_after: int = 2
    backlog_share: float = 0.5
    username: str | None = None
    password: str | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


@dataclass
class Held:
    depth: int
    bytes: int
    oldest: int | None
    acked: int | None = None


class MemoryOutbox:
    """An outbox as the store has it, but in memory; `post` commits at once."""

    def __init__(self) -> None:
        self.rows: dict[int, OutboxPut] = {}
        self.done: list[int] = []
        self.refused: list[OutboxRefused] = []
        self.dead: dict[int, int] = {}
        self.dropped: list[int] = []
        self.handed_out = 0
        self.broken = False
        self.acked: int | None = None
        self._last = 0

    def number(self) -> int:
        self._last += 1
        return self._last

    def put(self, row: OutboxPut) -> None:
        self.rows[row.id] = row

    def post(self, fact: Fact) -> None:
        match fact:
            case OutboxPut():
                self.put(fact)
            case OutboxDone(_, number):
                self.done.append(number)
                self.rows.pop(number, None)
            case OutboxRefused(code, dead, number):
                self.refused.append(fact)
                if dead:
                    self.dead[number] = code
                    self.rows.pop(number, None)
            case OutboxDropped(until):
                gone = [number for number in self.rows if number <= until]
                self.dropped += gone
                for number in gone:
                    del self.rows[number]

    async def outbox_after(
        self, after: int, limit: int, *, until: int | None = None
    ) -> Sequence[OutboxPut]:
        await asyncio.sleep(0)
        if self.broken:
            raise StoreError("the disk is away")
        numbers = list(self.rows)
        numbers = numbers[bisect_right(numbers, after) :][:limit]
        page = [self.rows[n] for n in numbers if until is None or n <= until]
        self.handed_out += len(page)
        return page

    async def outbox_stats(self) -> Held:
        await asyncio.sleep(0)
        if self.broken:
            raise StoreError("the disk is away")
        size = sum(len(row.payload) for row in self.rows.values())
        oldest = min((row.t for row in self.rows.values()), default=None)
        return Held(len(self.rows), size, oldest, self.acked)


@dataclass
class MemoryCommands:
    """Takes commands; `gate` holds them back, `failures` fail first, `unknown` are declined."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[dict[str, Any]] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)
    documents: list[tuple[str, Any]] = field(default_factory=list)
    failures: int = 0
    unknown: tuple[str, ...] = ()

    async def put(self, **command: Any) -> Accepted | Declined:
        self.calls.append(command)
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise StoreError("no room on the disk")
        if command["device"] in self.unknown:
            return Declined(f"the device {command['device']} is unknown")
        self.taken.append(command)
        return Accepted(len(self.taken))

    async def configure(self, *, device: str, document: Any) -> Accepted | Declined:
        self.documents.append((device, document))
        return Accepted(1)


class Site:
    """One gateway's upstream side. `skew` moves its Unix clock (ms).

    slow: what the broker lost is open again only when a test calls `bridge.reopened`.
    """

    def __init__(
        self,
        url: str,
        *,
        session: str | None = None,
        backlog: int = 0,
        full: bool = False,
        **changes: Any,
    ) -> None:
        self.outbox = MemoryOutbox()
        self.facts: list[Fact] = []
        self.commands = MemoryCommands()
        self.commands.gate.set()
        self.statuses: list[OutboxPut] = []
        self.skew = 0
        self.reopened: list[int] = []
        self.slow = False
        self.told: list[str] = []
        ground = Ground(
            config=Config(url, **changes),
            upstream=UP,
            epoch="k3f9a2c1",
            outbox=self.outbox,
            commands=self.commands,
            post=self._post,
            number=self.outbox.number,
            statuses=lambda: self.statuses,
            reopen=self._reopen,
            alert=self.told.append,
            clock=self.now,
        )
        self.bridge = Bridge(
            ground,
            connect=connect,
            backoff=Backoff(lambda: 0.0, first=0.02, most=0.2),
            session=session,
            backlog=backlog,
            full=full,
        )

    def now(self) -> Now:
        return Now(time.time_ns() + self.skew * 1_000_000, time.monotonic_ns())

    def _post(self, fact: Fact) -> None:
        self.facts.append(fact)
        self.outbox.post(fact)
        if isinstance(fact, OutboxPut):
            self.bridge.wake()

    def _reopen(self, since: int) -> None:
        self.reopened.append(since)
        if not self.slow:
            asyncio.get_running_loop().call_soon(self.bridge.reopened)

    def alerts(self, count: int, *, size: int = 0) -> list[int]:
        """Put rows and wake the bridge; their numbers."""
        numbers = []
        for _ in range(count):
            number = self.outbox.number()
            body = {"v": 1, "dev": "d", "number": number, "fill": "x" * size}
            self.outbox.put(UP.alert(number, self.now().ms, body))
            numbers.append(number)
        self.bridge.wake()
        return numbers

    def put(self, row: OutboxPut) -> int:
        self.outbox.put(row)
        self.bridge.wake()
        return row.id

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Site"]:
        """Run the bridge; stop it in good order at the end."""
        task = asyncio.create_task(self.bridge.run())
        try:
            yield self
        finally:
            self.bridge.stop()
            async with asyncio.timeout(10):
                await task


def answers(rows: Sequence[OutboxPut]) -> list[tuple[str, dict[str, Any]]]:
    """Topic and payload of result rows."""
    return [(row.topic, json.loads(row.payload)) for row in rows]
