"""The order of what one connection sent, and the wait for a schema."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from gateway.core.clock import Now
from gateway.core.columns import Layout
from gateway.core.messages import Data, Gap, Message
from gateway.core.readings import NS_PER_S
from gateway.core.session import Refused
from gateway.errors import Reason

HOLD = 10 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Arrival:
    """A sequenced message, its bytes as they came, and when they came."""

    message: Message
    raw: bytes
    at: Now
    count: ClassVar[int] = 1

    @property
    def seq(self) -> int:
        seq: int = self.message.seq  # type: ignore[attr-defined]
        return seq

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.raw)

    @property
    def last(self) -> int:
        """The last number that the message occupies."""
        return self.message.last if isinstance(self.message, Gap) else self.seq


class Uplink:
    """Passes arrivals on in order; data of an unknown schema waits, at most ten seconds.

    The send limit bounds what can wait. `layouts` is the stream's own, by sid: it fills as
    schemas are learned.
    """

    def __init__(self, layouts: Mapping[int, Layout]) -> None:
        self._layouts = layouts
        self._held: deque[Arrival] = deque()
        self._asked: set[int] = set()

    @property
    def idle(self) -> bool:
        """Whether nothing waits, so that what comes may pass at once."""
        return not self._held

    def take(self, arrival: Arrival) -> list[Arrival]:
        """Take the next arrival; return those that may pass now."""
        if self._held or self._lacking(arrival) is not None:
            self._held.append(arrival)
            return []
        return [arrival]

    def release(self, now: Now) -> Iterator[Arrival]:
        """Yield what waited for a schema that is now known, or waited too long (refused)."""
        while self._held:
            arrival = self._held[0]
            sid = self._lacking(arrival)
            if sid is not None and now.mono - arrival.at.mono < HOLD:
                return
            self._held.popleft()
            yield arrival if sid is None else _refuse(arrival, sid)

    def wanted(self) -> list[int]:
        """Schemas to ask for: each sid is asked for once a connection."""
        lacking = {sid for held in self._held if (sid := self._lacking(held)) is not None}
        new = sorted(lacking - self._asked)
        self._asked.update(new)
        return new

    def drop(self) -> None:
        """Forget what waits: the connection is gone and the device will send it again."""
        self._held.clear()

    def _lacking(self, arrival: Arrival) -> int | None:
        message = arrival.message
        if isinstance(message, Data) and message.sid not in self._layouts:
            return message.sid
        return None


def _refuse(arrival: Arrival, sid: int) -> Arrival:
    text = f"schema {sid} did not come within {HOLD // NS_PER_S} s"
    return replace(arrival, message=Refused(arrival.seq, Reason.UNKNOWN_SCHEMA, text))
