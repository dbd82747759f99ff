"""How a connection of a device ends."""

import os
from dataclasses import dataclass

from gateway.errors import CloseCode

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


_ADVICE = {
    CloseCode.UNAUTHENTICATED: "make a token with `gateway device add {name}` and pass it in "
    "--tokens FILE or SENSOR_TOKEN",
    CloseCode.DISABLED: "the gateway has this device disabled",
    CloseCode.VERSION: "gateway and simulator speak different protocol versions",
}


def advice(code: int | None, device: str) -> str:
    """What people can do about a close code, to be put behind its text."""
    found = {int(known): text for known, text in _ADVICE.items()}.get(code or 0)
    return f"; {found.format(name=device)}" if found else ""


def why(error: BaseException) -> str:
    """The reason without the library's decoration."""
    cause = getattr(error, "os_error", None) or error
    number = getattr(cause, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    return str(cause) or type(cause).__name__
