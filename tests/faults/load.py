"""Devices that number what they send, and subscribers that remember what they got."""

import asyncio
import os
import random
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import aiohttp
from cbor2 import CBORTag

from tests.faults.ledger import (
    BAD,
    DATA,
    EVENT,
    GAP,
    Ledger,
    Listener,
    Reading,
    Received,
    Sent,
    Stream,
)
from tests.wire_client import WireClient, new_epoch

MS = 10**6
SCHEMA = [
    {0: "v", 2: 86},
    {0: "i", 2: 78},
    {0: "c", 1: "Cel", 2: 77, 3: 0.01, 4: 5.0},
    {0: "b", 2: 0},
    {0: "s", 2: 1},
    {0: "u", 2: 71},
    {0: "f", 2: 85},
]
PLAIN = [{0: "v", 2: 86}]


def raw(number: int) -> list[Any]:
    """The columns of one row, a value or None each, as they are sent."""
    third = None if number % 5 == 0 else single(number / 3)
    choice = ("closed", "open", f"n{number}")[number % 3]
    return [number + 0.5, number, number % 30_000, number % 4 == 0, choice, 2**63 + number, third]


def single(number: float) -> float:
    """The nearest float32."""
    value: float = struct.unpack("<f", struct.pack("<f", number))[0]
    return value


def readings(number: int, t_ms: int) -> list[Reading]:
    """What the gateway must keep of that row."""
    rows = zip(SCHEMA, raw(number), strict=True)
    return [
        Reading(field[0], t_ms * MS, v * 0.01 + 5.0 if field[0] == "c" else v)
        for field, v in rows
        if v is not None
    ]


class Queued(NamedTuple):
    last: int
    message: dict[int, Any]


class Device:
    """One device. `own_clock`: it sends Unix times and every type; otherwise monotonic ones."""

    def __init__(self, name: str, ledger: Ledger, rng: random.Random, *, own_clock: bool) -> None:
        self.name, self.ledger, self.rng, self.own_clock = name, ledger, rng, own_clock
        self.number = 0
        self.latest = 0
        self.drops = 0
        self.pace = 0.03
        self.ghosts: list[tuple[bytes, float]] = []
        self.reboot()
        self.renew()

    def renew(self) -> None:
        """Lose the counter: a new epoch, and nothing is queued any more."""
        self.epoch = new_epoch()
        self.stream = Stream(self.name, self.epoch.hex())
        self.ledger.streams.append(self.stream)
        self.queue: dict[int, Queued] = {}
        self.last = 0
        self.freed: dict[int, Any] | None = None

    def reboot(self) -> None:
        self.boot, self.booted = os.urandom(8), time.monotonic()

    def now(self) -> int:
        """ms of this boot."""
        return int((time.monotonic() - self.booted) * 1000)

    # -- messages ---------------------------------------------------------------------------

    def measure(self) -> None:
        """Queue one more message."""
        first = self.last + 1
        chance = self.rng.random()
        if chance < 0.02:
            n = self.rng.randint(1, 4)
            self.put(n, {0: 20, 1: first, 2: first + n - 1, 3: 1, 4: n}, GAP)
        elif chance < 0.04:
            self.number += 1
            self.put(1, {0: 18, 1: first, 2: "tick", 3: self.number}, EVENT, number=self.number)
        elif chance < 0.05:
            self.put(1, {0: 16, 1: first, 2: 1, 3: 1000, 5: [1.5] * 9, 7: 0}, BAD)
        elif not self.own_clock:
            self.monotonic(first)
        elif chance < 0.1:
            self.number += 1
            t = int(time.time())
            found = (Reading("x", t * 10**9, self.number + 0.25),)
            self.put(1, {0: 17, 1: first, 2: [{0: "x", 6: t, 2: self.number + 0.25}]}, DATA, found)
        else:
            self.table(first, 1 if chance < 0.7 else self.rng.randint(2, 30))

    def put(
        self,
        n: int,
        message: dict[int, Any],
        kind: str,
        found: tuple[Reading, ...] = (),
        number: int = 0,
    ) -> None:
        first = self.last + 1
        self.last += n
        self.queue[first] = Queued(self.last, message)
        self.stream.sent[first] = Sent(kind, self.last, found, number)

    def monotonic(self, first: int) -> None:
        self.number += 1
        message = {0: 16, 1: first, 2: 1, 3: self.now(), 5: [self.number + 0.5], 7: self.boot}
        self.put(1, message, DATA, (Reading("v", None, self.number + 0.5),))

    def table(self, first: int, rows: int) -> None:
        late = self.rng.randint(3000, 9000) if self.rng.random() < 0.04 else 0
        t0 = max(int(time.time() * 1000), self.latest + 1) - late
        if not late:
            self.latest = t0 + rows - 1
        numbers = range(self.number + 1, self.number + rows + 1)
        self.number += rows
        columns = [list(column) for column in zip(*map(raw, numbers), strict=True)]
        packed: list[Any] = [column[0] for column in columns] if rows == 1 else columns
        if rows > 1:
            packed[0] = CBORTag(86, struct.pack(f"<{rows}d", *columns[0]))
            packed[1] = CBORTag(78, struct.pack(f"<{rows}i", *columns[1]))
            packed[6] = CBORTag(85, struct.pack(f"<{rows}f", *map(_or_nan, columns[6])))
        message = {0: 16, 1: first, 2: 1, 3: t0, 4: 1, 5: packed, 7: 0}
        found = [one for i, n in enumerate(numbers) for one in readings(n, t0 + i)]
        self.put(1, message, DATA, tuple(found))

    # -- the connection ---------------------------------------------------------------------

    def free(self, committed: int) -> None:
        self.stream.acks.append((time.time(), committed))
        for seq in [seq for seq, queued in self.queue.items() if queued.last <= committed]:
            self.freed = self.queue.pop(seq).message

    async def live(self, url: Callable[[], str]) -> None:
        """Come back for ever."""
        while True:
            with suppress(OSError, TimeoutError, aiohttp.ClientError):
                await self.visit(url())
            await asyncio.sleep(self.rng.uniform(0.01, 0.1))
            self.suffer()

    def suffer(self) -> None:
        """What may happen to a device between two connections."""
        chance = self.rng.random()
        if chance < 0.03:
            self.renew()
        elif chance < 0.15:
            if not self.own_clock:
                self.ghosts.append((self.boot, self.booted))
            self.reboot()
            for _ in range(self.rng.randint(0, 3)):
                self.measure()
            if self.rng.random() < 0.5:
                self.reboot()
        elif chance < 0.25 and self.ghosts:
            self.boot, self.booted = self.rng.choice(self.ghosts)

    async def visit(self, url: str) -> None:
        """One connection, until it breaks or is dropped."""
        async with WireClient(url, self.name) as client:
            lo = min(self.queue, default=self.last + 1)
            welcome = await client.hello(self.epoch, lo, self.last, _7=self.boot, _8=self.now())
            if not welcome:
                return
            assert welcome[4] in (0, 1), (self.name, welcome, lo, self.last)
            self.free(welcome[5])
            await client.schema(fields=SCHEMA if self.own_clock else PLAIN)
            sent, limit = welcome[5], welcome[6]
            if self.freed is not None and self.rng.random() < 0.3:
                await client.send(self.freed)
            while True:
                sent = await self.fill(client, sent, limit)
                if self.rng.random() < 0.01:
                    self.drops += 1
                    return
                ack = await client.receive(3)
                if not ack:
                    return
                self.free(ack[2])
                limit = max(limit, ack.get(3, 0))
                await asyncio.sleep(self.rng.uniform(0, self.pace))

    async def fill(self, client: WireClient, sent: int, limit: int) -> int:
        """Send what is queued and some more, as far as the limit allows; the last number sent."""
        for _ in range(self.rng.randint(1, 8)):
            if self.last - sent < 8:
                self.measure()
        for queued in [queued for queued in self.queue.values() if queued.last > sent]:
            if queued.last > limit:
                break
            await client.send(queued.message)
            sent = queued.last
        return sent


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


async def listen(listener: Listener, url: Callable[[], str]) -> None:
    """Subscribe for ever, with the last id that was received."""
    last = ""
    query = "&".join(
        [f"kind={kind}" for kind in listener.kinds]
        + [f"window={window}" for window in listener.windows]
    )
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as http:
        while True:
            headers = {"Last-Event-ID": last} if last else {}
            try:
                async with http.get(f"{url()}/events?{query}", headers=headers) as answer:
                    rest = b""
                    async for some in answer.content.iter_any():
                        *blocks, rest = (rest + some).split(b"\n\n")
                        for block in blocks:
                            last = hear(listener, block.decode()) or last
            except (OSError, TimeoutError, aiohttp.ClientError):
                pass
            await asyncio.sleep(0.05)


def hear(listener: Listener, block: str) -> str | None:
    """Take in one event; its id."""
    fields: dict[str, str] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(": ")
        fields[name] = value
    kind, ident = fields.get("event"), fields.get("id")
    if kind == "gap":
        listener.gaps += 1
    if ident is None:
        return None
    log, _, number = ident.rpartition("-")
    if listener.start is None:
        listener.start = int(number)
    if kind in listener.kinds:
        listener.events.append(Received(log, int(number), kind, fields["data"]))
    return ident
