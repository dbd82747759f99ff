"""What the campaign's devices and subscribers saw: the checker's only knowledge of the world."""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

DATA, GAP, EVENT, BAD = "data", "gap", "event", "bad"


class Reading(NamedTuple):
    """t: ns UTC, None where the gateway gives the time (its mapping of a monotonic clock)."""

    metric: str
    t: int | None
    v: Any


class Sent(NamedTuple):
    """A message: numbers seq … last. name: the number that an EVENT carries in its detail."""

    kind: str
    last: int
    readings: tuple[Reading, ...] = ()
    number: int = 0


@dataclass(slots=True)
class Stream:
    """Everything sent under one epoch, and what was acknowledged: (wall clock s, committed)."""

    device: str
    epoch: str
    sent: dict[int, Sent] = field(default_factory=dict)
    acks: list[tuple[float, int]] = field(default_factory=list)

    def acknowledged(self, at: float | None = None) -> int:
        """The highest number acknowledged by that time (now)."""
        return max((seq for when, seq in self.acks if at is None or when < at), default=0)


class Received(NamedTuple):
    """An event of the stream that has an id. log: its epoch."""

    log: str
    id: int
    kind: str
    data: str


@dataclass(slots=True)
class Listener:
    """What one subscriber received; `windows` and `kinds` are what it asked for."""

    kinds: tuple[str, ...] = ("summary", "status", "alert")
    windows: tuple[str, ...] = ()
    events: list[Received] = field(default_factory=list)
    start: int | None = None
    """The id after which events were received (of the first snapshot)."""
    gaps: int = 0


@dataclass(slots=True)
class Ledger:
    """windows: those that the gateway was told to summarise."""

    windows: tuple[str, ...] = ()
    streams: list[Stream] = field(default_factory=list)
    listeners: list[Listener] = field(default_factory=list)
    published: list[str] = field(default_factory=list)
    """Payloads of summaries that came through the broker."""

    def snapshot(self) -> "Ledger":
        """A copy that stays as it is while devices go on."""
        return replace(
            self,
            streams=[
                replace(stream, sent=dict(stream.sent), acks=stream.acks[:])
                for stream in self.streams
            ],
            listeners=[replace(one, events=one.events[:]) for one in self.listeners],
        )
