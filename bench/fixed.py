"""Fixed work for bench/count.py: messages through link, commit, acknowledgement and folding.

The real parts on a real database, but no socket, no loop of the pipeline and a clock that stands
still between turns, so that the same is done at every run.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from aiohttp import WSMsgType

from bench import plans
from gateway.config import load
from gateway.core.clock import Now
from gateway.disk import Ballast
from gateway.link import Link, Terms
from gateway.parts import Parts
from gateway.store.sqlite import SqliteStore
from gateway.websocket import WebSocket

START_NS = 1_790_000_000 * 10**9
TURN_NS = 20 * 10**6


class Frame(NamedTuple):
    """As aiohttp hands it out."""

    data: bytes
    type: WSMsgType = WSMsgType.BINARY


class Socket:
    """A WebSocket that gives what is put into it, and swallows what is written."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        transport = SimpleNamespace(
            is_closing=lambda: False, get_write_buffer_size=lambda: 0, write=lambda _: None
        )
        self._req = SimpleNamespace(transport=transport)
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[Frame]:
        frames, self.frames = self.frames, []
        for frame in frames:
            yield frame


@dataclass(frozen=True, slots=True)
class Case:
    """So many devices send so many messages each in every turn. plan: by (port, readings)."""

    name: str
    devices: int
    messages: int
    readings: int
    plan: Callable[[int, int], plans.Plan] = plans.sensorlink
    step_ns: int = TURN_NS
    """By how much the clock goes on in a turn."""

    def batch(self, plan: plans.Plan, seq: int, now_ms: int) -> Iterator[bytes]:
        """The messages of one device in one turn."""
        for number in range(seq, seq + self.messages):
            template = plan.templates[number % len(plan.templates)]
            raw = template.replace(struct.pack(">I", plans.SEQ), struct.pack(">I", number))
            at = now_ms - self.readings
            yield raw.replace(struct.pack(">Q", plans.TIME), struct.pack(">Q", at))


def wide(port: int, rows: int) -> plans.Plan:
    return plans.wide(port, fields=50, rows=rows)


CASES = (
    Case("1 reading a message, 64 at a time", devices=10, messages=64, readings=1),
    Case("1 reading a message, lock-step", devices=50, messages=1, readings=1),
    Case("100 readings a message", devices=10, messages=16, readings=100),
    Case("100 with a time each", devices=10, messages=16, readings=100, plan=plans.uneven),
    Case("SENML packs of 10", devices=10, messages=16, readings=10, plan=plans.senml),
    Case("1 and 10 readings in turn", devices=10, messages=16, readings=10, plan=plans.in_turn),
    Case("2 readings of 50 metrics", devices=20, messages=8, readings=2, plan=wide),
    Case("windows that close", devices=50, messages=1, readings=10, step_ns=10 * 10**9),
)


class Work:
    """One case: `open`, `turn` as often as one likes, `close`."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self._folder = case, folder
        self._now = START_NS
        self._plan = case.plan(0, case.readings)
        self._seq = 1

    def _machine(self) -> Now:
        return Now(self._now, self._now - START_NS)

    async def open(self) -> None:
        """The gateway's parts, and devices that have introduced themselves."""
        config = self._folder / "gateway.toml"
        config.write_text('[gateway]\ndata_dir = "."\n[devices]\nauth = "open"\nwindow = 64\n')
        self._store = SqliteStore(self._folder / "gateway.db")
        opened = await self._store.open()
        ballast = Ballast(self._folder / "ballast")
        settings = load(config, env={})
        self._parts = Parts(
            settings, store=self._store, opened=opened, ballast=ballast, machine=self._machine
        )
        self._links = [self._link() for _ in range(self.case.devices)]
        for number, (link, socket) in enumerate(self._links):
            for raw, _ in self._plan.prelude(number):
                await self._hear(link, socket, [raw])
                await self._commit()

    def _link(self) -> tuple[Link, Socket]:
        socket: Any = Socket()
        parts = self._parts
        link = Link(
            WebSocket(socket, clock=parts.clock),
            intake=parts.reception,
            door=parts.reception,
            terms=Terms(bytes(16), 16_384, 250),
            clock=parts.clock,
        )
        parts.links.all.add(link)
        return link, socket

    async def _hear(self, link: Link, socket: Socket, raws: Sequence[bytes]) -> None:
        """As gateway/guard.py does: first what is alike, then the rest by aiohttp."""
        frames = [
            bytes([0x82, 0xFE, *len(raw).to_bytes(2, "big"), 0, 0, 0, 0]) + raw for raw in raws
        ]
        end = link.follow(b"".join(frames))
        ends = accumulate(map(len, frames))
        socket.frames.extend(Frame(raw) for raw, at in zip(raws, ends, strict=True) if at > end)
        await link._socket.read(link._receive)
        await asyncio.sleep(0)

    async def _commit(self) -> None:
        self._now += self.case.step_ns
        await self._parts.pipeline.turn()
        await asyncio.sleep(0)

    async def turn(self) -> None:
        """All devices send; one commit."""
        for link, socket in self._links:
            raws = list(self.case.batch(self._plan, self._seq, self._now // 10**6))
            await self._hear(link, socket, raws)
        self._seq += self.case.messages
        await self._commit()

    async def close(self) -> int:
        """Close; how many messages all devices have acknowledged."""
        committed = sum(link.stream.committed for link, _ in self._links if link.stream)
        self._parts.rescue.close()
        await self._store.close()
        return committed
