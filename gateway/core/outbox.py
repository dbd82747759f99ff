"""The bridge's decisions, without any wire: whose turn it is, what is tried again, what goes."""

import heapq
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from gateway.core.broker import Reply
from gateway.core.facts import OutboxPut

WINDOW = 20
MOST_DEFERRED = 10_000
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 60.0
REMEMBERED = 4096
BLAMING = frozenset(
    {
        Reply.UNSPECIFIED,
        Reply.MALFORMED,
        Reply.PROTOCOL,
        Reply.IMPLEMENTATION,
        Reply.NOT_AUTHORIZED,
        Reply.TOPIC_INVALID,
        Reply.PACKET_TOO_LARGE,
        Reply.PAYLOAD_INVALID,
        Reply.RETAIN_UNSUPPORTED,
    }
)
"""Reasons of a DISCONNECT that one of the messages in flight may have caused."""


@dataclass(slots=True)
class Mix:
    """Whose turn it is, so that the backlog gets its share while there are live rows too.

    `share` is from 0 to 1; it counts only the turns at which both had something to send.
    """

    share: float
    _credit: float = 0.0

    def backlog_next(self) -> bool:
        self._credit += self.share
        if self._credit >= 1.0 - 1e-9:
            self._credit -= 1.0
            return True
        return False


@dataclass(slots=True)
class Refusals:
    """Rows that the broker refused: when each is tried again, and when it is given up.

    Times are seconds of a monotonic clock. Only numbers are held, and never more than
    MOST_DEFERRED: while `full`, no new row should be sent.
    """

    dead_after: int
    _tries: dict[int, int] = field(default_factory=dict)
    _due: list[tuple[float, int]] = field(default_factory=list)

    def refuse(self, row: int, now: float) -> bool:
        """Count one refusal. True: give it up; False: it will be `due` again."""
        tries = self._tries.get(row, 0) + 1
        if tries >= self.dead_after:
            self.settle(row)
            return True
        self._tries[row] = tries
        delay = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(tries - 1, 16))
        heapq.heappush(self._due, (now + delay, row))
        return False

    def due(self, now: float) -> int | None:
        """Take out a row whose time has come."""
        while self._due and self._due[0][0] <= now:
            _, row = heapq.heappop(self._due)
            if row in self._tries:
                return row
        return None

    def next_at(self) -> float | None:
        return self._due[0][0] if self._due else None

    def settle(self, row: int) -> None:
        self._tries.pop(row, None)

    def forget_times(self) -> None:
        """A new connection reads every open row again: only the counts stay."""
        self._due.clear()

    def __bool__(self) -> bool:
        """Whether any is to be tried again."""
        return bool(self._due)

    @property
    def full(self) -> bool:
        return len(self._due) >= MOST_DEFERRED


@dataclass(slots=True)
class Suspects:
    """Finds the row that makes the broker hang up, so that it does not block all others.

    After a blamed disconnect the rows that were in flight are sent one at a time; one that is
    alone in flight at another such end gets a strike.
    """

    _rows: set[int] = field(default_factory=set)

    def blame(self, in_flight: Collection[int]) -> int | None:
        """The broker hung up: the culprit, if it is known for sure."""
        if len(in_flight) == 1 and self._rows.issuperset(in_flight):
            return next(iter(in_flight))
        self._rows.update(in_flight)
        return None

    def clear(self, row: int) -> None:
        self._rows.discard(row)

    def window(self, wide: int) -> int:
        return 1 if self._rows else wide


class Recent:
    """The newest row numbers that were settled: their commit may still be under way."""

    def __init__(self) -> None:
        self._order: deque[int] = deque()
        self._rows: set[int] = set()

    def add(self, row: int) -> None:
        self._order.append(row)
        self._rows.add(row)
        if len(self._order) > REMEMBERED:
            self._rows.discard(self._order.popleft())

    def __contains__(self, row: int) -> bool:
        return row in self._rows


@dataclass(slots=True)
class Newest:
    """The newest row per topic: an older one must neither overwrite what is retained, nor be
    shown to live consumers of summaries after it.

    overtaken: up to this number a newer row may have gone first in an earlier run.
    """

    overtaken: int = 0
    _rows: dict[str, int] = field(default_factory=dict)
    _live: dict[str, int] = field(default_factory=dict)

    def restart(self, topics: Iterable[str], row: int) -> None:
        """A new connection: these topics were published afresh when `row` was the next number."""
        self._rows = dict.fromkeys(topics, row)

    def outdated(self, put: OutboxPut) -> bool:
        return put.retain and put.id < self._rows.get(put.topic, 0)

    def behind(self, put: OutboxPut) -> bool:
        """A summary that was overtaken on its live topic: what comes now is history."""
        newest = self._live.get(put.topic, 0)
        return put.window_ms > 0 and (put.id <= self.overtaken or put.id < newest)

    def sent(self, put: OutboxPut, *, live: bool) -> None:
        """live: to the topic itself, not to that of the backfill."""
        if put.retain:
            self._rows[put.topic] = put.id
        if live and put.window_ms > 0:
            self._live[put.topic] = put.id


@dataclass(slots=True)
class Fullness:
    """Full from `most` bytes on, and until a fifth is free again."""

    most: int
    full: bool = False

    def changed(self, held: int) -> bool:
        """Take in how many bytes are held; whether that made a difference."""
        was = self.full
        self.full = held >= self.most or (was and held > self.most * 4 // 5)
        return self.full is not was


def to_drop(oldest: Sequence[OutboxPut], *, held: int, most: int) -> list[int]:
    """The numbers of the oldest rows to give up so that `held` bytes become at most `most`."""
    dropped = []
    for row in oldest:
        if held <= most:
            break
        dropped.append(row.id)
        held -= len(row.payload)
    return dropped


def admits(policy: Literal["drop_oldest", "reject_new"], *, held: int, most: int) -> bool:
    """Whether new rows may be put while the outbox holds `held` bytes of `most`."""
    return policy == "drop_oldest" or held < most


def seconds_to_full(samples: Sequence[tuple[float, int]], most: int) -> float | None:
    """When the outbox will be full at the present rate; None if it does not grow.

    samples: (seconds, bytes held), oldest first.
    """
    if len(samples) < 2 or samples[-1][0] <= samples[0][0]:
        return None
    rate = (samples[-1][1] - samples[0][1]) / (samples[-1][0] - samples[0][0])
    return None if rate <= 0 else max(0.0, (most - samples[-1][1]) / rate)
