"""The server under test: where its stream is, how to make it send something, what it ignores."""

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import quote

from tests.events import PATIENCE
from tests.processes import GatewayProcess
from tests.sse_conformance.stream import Stream
from tests.sse_parser import Event
from tests.wire_client import WireClient, new_epoch

_numbers = itertools.count(1)


class Publisher(Protocol):
    """Makes a server send one event for each text."""

    async def publish(self, texts: Sequence[str]) -> None: ...


@dataclass
class Server:
    """A server of event streams.

    cursor_parameter: the query parameter that stands for Last-Event-ID, if there is one.
    own: names of events that are about one connection, not about what all are told.
    field: where in an event's JSON the published text is; None if the data is the text.
    """

    url: str
    publisher: Publisher | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cursor_parameter: str | None = None
    own: frozenset[str] = frozenset()
    field: str | None = None
    patience: float = PATIENCE

    def ask(
        self,
        *,
        cursor: str | None = None,
        by_query: str | None = None,
        query: str = "",
        headers: dict[str, str] | None = None,
        url: str = "",
        method: str = "GET",
        version: str = "1.1",
        source: str | None = None,
        paused: bool = False,
    ) -> "contextlib.AbstractAsyncContextManager[Stream]":
        """A stream, open until the block is left. `cursor` goes by header."""
        sent = self.headers | (headers or {})
        if cursor is not None:
            sent["Last-Event-ID"] = cursor
        if by_query is not None:
            query += f"{'&' if query else ''}{self.cursor_parameter}={quote(by_query)}"
        address = url or self.url
        if query:
            address += ("&" if "?" in address else "?") + query

        @contextlib.asynccontextmanager
        async def opened() -> AsyncIterator[Stream]:
            asked = await Stream.ask(
                address, headers=sent, method=method, version=version, source=source, paused=paused
            )
            async with asked as stream:
                yield stream

        return opened()

    def text(self, event: Event) -> str:
        """What was published."""
        return event.data if self.field is None else str(event.json.get(self.field))

    def logged(self, event: Event) -> bool:
        """Whether all are told of it, and it has a place to come back to."""
        return event.own_id is not None and event.name not in self.own

    async def publish(self, *texts: str) -> None:
        assert self.publisher is not None
        await self.publisher.publish(texts)

    async def cause(self, witness: Stream, count: int, *, size: int = 0) -> list[Event]:
        """Have `count` events of that size happen; what the witness saw of them, and of others
        between."""
        if self.publisher is None:
            return await self.take(witness, count)
        await self.settle(witness)
        return await self._cause(witness, count, size=size)

    async def _cause(self, witness: Stream, count: int, *, size: int = 0) -> list[Event]:
        run = f"{os.getpid()}-{next(_numbers)}-{time.time_ns()}"
        texts = [f"{run}/{number}.".ljust(size, "x") for number in range(count)]
        await self.publish(*texts)
        seen: list[Event] = []
        while texts:
            (event,) = await self.take(witness, 1)
            if seen or texts[0] in event.data:
                seen.append(event)
            if texts[0] in event.data:
                del texts[0]
        return seen

    async def take(self, stream: Stream, count: int) -> list[Event]:
        """The next logged events."""
        found: list[Event] = []
        while len(found) < count:
            event = await stream.next()
            if self.logged(event):
                found.append(event)
        return found

    async def settle(self, stream: Stream) -> None:
        """Read until the stream is live: something that happens now has come through it."""
        await stream.answer()
        while self.publisher is not None and not stream.live:
            with contextlib.suppress(TimeoutError):  # it began to listen after the headers
                async with asyncio.timeout(self.patience / 5):
                    await self._cause(stream, 1)
                    stream.live = True


def told(events: Sequence[Event]) -> list[tuple[str, str, str]]:
    """What two clients must agree on."""
    return [(event.id, event.name, event.data) for event in events]


@dataclass
class Command:
    """Runs a shell command for each text, which it gets on its standard input."""

    line: str

    async def publish(self, texts: Sequence[str]) -> None:
        for text in texts:
            process = await asyncio.create_subprocess_shell(
                self.line,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
            )
            await process.communicate(text.encode())
            assert process.returncode == 0, f"--publish: {self.line} failed"


@dataclass
class Passing:
    """A server as somebody sees it whose leave to look ends with a shell command."""

    everybody: Server
    headers: dict[str, str]
    command: str

    @property
    def server(self) -> Server:
        return replace(self.everybody, headers=self.headers)

    async def revoke(self) -> None:
        process = await asyncio.create_subprocess_shell(
            self.command, stdout=asyncio.subprocess.DEVNULL
        )
        assert await process.wait() == 0, f"--revoke: {self.command} failed"


class Device:
    """A device whose EVENTs the gateway shows as alerts; each call returns after the commit."""

    def __init__(self, gateway: GatewayProcess, name: str) -> None:
        self._gateway = gateway
        self._name = name
        self._epoch = new_epoch()
        self._seq = 0

    def _client(self) -> WireClient:
        return WireClient(self._gateway.link, self._name)

    @contextlib.asynccontextmanager
    async def _link(self) -> AsyncIterator[WireClient]:
        async with self._client() as client:
            await client.hello(self._epoch, self._seq + 1, self._seq)
            yield client

    async def publish(self, texts: Sequence[str]) -> None:
        async with self._link() as client:
            for begin in range(0, len(texts), 16):
                for text in texts[begin : begin + 16]:
                    self._seq += 1
                    await client.send({0: 18, 1: self._seq, 2: "note", 3: text})
                await client.acked(self._seq)


OWN = frozenset({"hello", "snapshot", "heartbeat", "gap", "bye", "reading"})


def ours(gateway: GatewayProcess, *, device: str = "herald") -> Server:
    """The gateway as a server under test."""
    return Server(
        gateway.url + "/events",
        Device(gateway, device),
        cursor_parameter="last_event_id",
        own=OWN,
        field="detail",
    )
