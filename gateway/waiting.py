"""What waits for its commit, in the order in which it came."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from time import monotonic
from typing import Protocol, TypeVar

from gateway.core import facts as f
from gateway.core.clock import Now
from gateway.core.group import Group
from gateway.core.registry import Stream
from gateway.core.shapes import Burst
from gateway.core.uplink import Arrival

T = TypeVar("T")
ENOUGH_BYTES = 256 * 1024
MOST_BYTES = 2 * 2**20
"""Of messages in a group: memory grows with it, and a larger one is hardly cheaper."""
TICK_S = 0.25

Change = Callable[[Group], object]


class Peer(Protocol):
    """A connection, as far as the pipeline knows it."""

    def acknowledge(self, rejects: list[list[int]]) -> None:
        """Tell the device what is committed."""


@dataclass(frozen=True, slots=True)
class Sent:
    """An arrival and the connection that it came on."""

    peer: Peer
    stream: Stream
    arrival: Arrival | Burst


class Waiting:
    """The bounded queue between the shells and the pipeline."""

    def __init__(self, interval_s: float) -> None:
        """interval_s: the longest that a message waits for company."""
        self._interval = interval_s
        self._items: list[Sent | Change] = []
        self._bytes = 0
        self._posted: list[f.Fact] = []
        self._waiting = asyncio.Event()
        self._urgent = asyncio.Event()
        self._since = monotonic()

    # -- what shells put in -----------------------------------------------------------------

    def take(self, peer: Peer, stream: Stream, arrival: Arrival | Burst) -> None:
        """Put a message in, or the beginning of a burst."""
        self._items.append(Sent(peer, stream, arrival))

    def came(self, size: int, *, hurry: bool) -> None:
        """A message of `size` bytes waits (the send limit bounds them); `hurry`: not for long."""
        self._bytes += size
        self._wait()
        if hurry or self._bytes >= ENOUGH_BYTES:
            self._urgent.set()

    async def submit(self, change: Callable[[Group], T]) -> T:
        """Let `change` add to the next group; return its result once the group is durable."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def run(group: Group) -> None:
            try:
                result = change(group)
            except Exception as error:  # noqa: BLE001 - it belongs to whoever submitted
                group.after.append(lambda error=error: _fail(done, error))  # type: ignore[misc]
            else:
                group.after.append(lambda: _finish(done, result))

        self.change(run)
        return await done

    def change(self, change: Callable[[Group], object]) -> None:
        """Let `change` add to the next group, at once and without waiting for it."""
        self._items.append(change)
        self._wait()
        self._urgent.set()

    def post(self, *facts: f.Fact) -> None:
        """Facts that may ride with the next commit, whenever it is."""
        self._posted.extend(facts)
        self._wait()

    def _wait(self) -> None:
        """Something waits from now on."""
        if not self._waiting.is_set():
            self._waiting.set()
            self._since = monotonic()

    # -- what the pipeline takes out --------------------------------------------------------

    @property
    def more(self) -> bool:
        """Whether a message or a change waits."""
        return bool(self._items)

    @property
    def pressing(self) -> bool:
        """Whether so much waits that other work should."""
        return self._bytes >= ENOUGH_BYTES // 4

    @property
    def oldest_at(self) -> Now | None:
        """When the oldest of the messages came; None if none waits."""
        return next((item.arrival.at for item in self._items if isinstance(item, Sent)), None)

    def hurry(self) -> None:
        """Let `gather` end at once."""
        self._waiting.set()
        self._urgent.set()

    async def gather(self) -> None:
        """Wait for something to do, then for company: at most the commit interval in all."""
        await asyncio.sleep(0)  # to commit may not have taken a turn of the loop
        if not self._waiting.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._waiting.wait()
        wait = self._since + self._interval - monotonic()
        if self._waiting.is_set() and not self._urgent.is_set() and wait > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._urgent.wait()

    def taken(self) -> tuple[list[Sent | Change], list[f.Fact]]:
        """Take out the oldest of what waits, `MOST_BYTES` at most, and what was posted."""
        items, self._items = self._items, []
        posted, self._posted = self._posted, []
        self._waiting.clear()
        self._urgent.clear()
        if self._bytes > MOST_BYTES:
            sizes = accumulate(map(_size, items))
            n = next((n for n, size in enumerate(sizes, 1) if size >= MOST_BYTES), len(items))
            items, self._items = items[:n], items[n:]
        self._bytes = sum(map(_size, self._items))
        if self._items:
            self.hurry()
        return items, posted


def _size(item: Sent | Change) -> int:
    return item.arrival.size if isinstance(item, Sent) else 0


def _finish(done: "asyncio.Future[T]", result: T) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: "asyncio.Future[T]", error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
