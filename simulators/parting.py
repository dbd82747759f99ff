"""How a connection of a device ends."""

from dataclasses import dataclass

REBOOTS = "reboots"
GONE = "the connection is gone"


@dataclass(frozen=True, slots=True)
class Parting:
    """How a connection ended. `code` is the close code, None if the socket just went away."""

    code: int | None = None
    text: str = GONE
    retry_s: float = 0.0
    nap_s: float | None = None
    held: bool = False
    """The socket stays open and is not looked at any more."""
    welcomed: bool = False
