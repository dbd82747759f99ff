"""What a device measures and does, as its connection sees it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.core.messages import Message, Schema

UNNUMBERED = 0
"""The seq of a message that the spool has yet to number."""

OK, ACCEPTED, FAILED, UNSUPPORTED, EXPIRED, UNKNOWN = range(6)


@dataclass(frozen=True, slots=True)
class Draft:
    """A message without a number, and how many readings it holds."""

    message: Message
    readings: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a command: status as in RESULT key 3, and a value."""

    status: int
    value: Any = None
    reboot: bool = False


class Body(Protocol):
    """A thing that measures and can be told to act."""

    @property
    def schemas(self) -> Mapping[int, Schema]:
        """All schemas that it uses, by sid."""

    @property
    def nap_s(self) -> float | None:
        """Seconds to sleep whenever everything is acknowledged; None: never sleeps."""

    def act(self, op: int | str, args: Any) -> Outcome:
        """Carry out a command."""

    def configure(self, document: Any) -> None:
        """Take on a configuration document, as far as it makes sense here."""
