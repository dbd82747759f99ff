"""Commands and configuration on their way to a device: durable, numbered, at most four unhandled.

A command gets its number in the commit before it is first sent, so a number never names two
commands, and a device that sees a number again can replay its result.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gateway.core.messages import Command, Config, Message

MOST_UNHANDLED = 4
MOST_WAITING = 256
MOST_ANSWERS = 1024
CONFIG = None
"""The op of a configuration document."""

FINAL = frozenset({"done", "failed", "unsupported", "expired", "unknown"})
RESULT_STATES = ("done", "accepted", "failed", "unsupported", "expired", "unknown")


@dataclass(slots=True)
class Order:
    """A command or a configuration document. Times are Unix ms; `op` None means CONFIG."""

    n: int
    device: str
    op: int | str | None
    args: Any
    flags: int
    expires: int | None
    created: int
    seq: int | None = None
    state: str = "queued"
    origin: dict[str, str] | None = None
    result: Any = None
    updated: int = 0

    def over(self, now_ms: int) -> bool:
        """Whether its time ran out; also if the clock went back by more than it had to live."""
        if self.expires is None:
            return False
        return not now_ms < self.expires <= now_ms + 2 * (self.expires - self.created)

    def message(self, now_ms: int) -> Message:
        """The message that carries the order; needs its number."""
        assert self.seq is not None
        if self.op is CONFIG:
            return Config(
                seq=self.seq, version=self.args["version"], document=self.args["document"]
            )
        return Command(
            seq=self.seq,
            op=self.op,
            args=self.args,
            ttl_ms=self._left(now_ms),
            flags=self.flags or None,
        )

    def _left(self, now_ms: int) -> int | None:
        """What is left to live; never more than at the beginning."""
        if self.expires is None:
            return None
        return min(max(0, self.expires - now_ms), self.expires - self.created)


class Downlink:
    """The orders of one device that the device has not handled, or not answered, yet."""

    def __init__(self) -> None:
        self._queue: list[Order] = []
        self._sent: list[Order] = []
        self._answers: dict[int, Order] = {}
        self.handled = 0
        self.numbered = 0

    def restore(self, order: Order) -> None:
        """Take in a stored order (in the sequence of their `n`)."""
        if order.seq is None:
            self._queue.append(order)
            return
        self.numbered = max(self.numbered, order.seq)
        self._answers[order.seq] = order
        if order.state == "sent":
            self._sent.append(order)

    @property
    def full(self) -> bool:
        """Whether no more orders may wait."""
        return len(self._queue) >= MOST_WAITING

    def put(self, order: Order) -> None:
        self._queue.append(order)

    def superseded(self) -> list[Order]:
        """Configuration documents that were never sent and need not be."""
        return [order for order in self._queue if order.op is CONFIG]

    def due(self) -> Iterator[Order]:
        """Waiting orders, as long as the device may be sent more; number or withdraw each."""
        while self._queue and len(self._sent) < MOST_UNHANDLED:
            yield self._queue[0]

    def number(self, order: Order) -> None:
        """Give a waiting order its number: from now on it counts as sent."""
        self._queue.remove(order)
        self.numbered += 1
        order.seq = self.numbered
        order.state = "sent"
        self._sent.append(order)
        self._answers[order.seq] = order
        while len(self._answers) > MOST_ANSWERS:
            self._answers.pop(next(iter(self._answers)))

    def configures(self, version: int | None) -> bool:
        """Whether the document of that version is under way already."""
        return any(
            order.op is CONFIG and order.args["version"] == version
            for order in (*self._queue, *self._sent)
        )

    def unhandled(self) -> list[Order]:
        """What was sent and not handled: to be sent again on a new connection."""
        return list(self._sent)

    def expired(self, now_ms: int) -> list[Order]:
        """Take out waiting orders whose time ran out before they were sent."""
        over = [order for order in self._queue if order.over(now_ms)]
        self._queue = [o for o in self._queue if o not in over]
        return over

    def withdraw(self, order: Order) -> None:
        """Take out a waiting order that cannot be sent."""
        self._queue.remove(order)

    def handle(self, position: int) -> list[Order]:
        """The device handled everything up to `position`; return what that is news for."""
        self.handled = max(self.handled, position)
        self.numbered = max(self.numbered, position)
        news = [order for order in self._sent if (order.seq or 0) <= position]
        self._sent = [order for order in self._sent if (order.seq or 0) > position]
        return news

    def answer(self, seq: int) -> Order | None:
        """The order that a RESULT answers, unless it was answered for good before."""
        order = self._answers.get(seq)
        return None if order is None or order.state in FINAL else order

    def settle(self, order: Order) -> None:
        """Forget an order that was answered for good."""
        if order.state in FINAL and order.seq is not None:
            self._answers.pop(order.seq, None)

    def waiting(self) -> int:
        """Orders that the device has yet to handle."""
        return len(self._queue) + len(self._sent)
