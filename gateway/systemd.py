"""What systemd and the gateway tell each other: readiness, the watchdog, sockets.

Protocols: sd_notify(3), sd_watchdog_enabled(3) and sd_listen_fds(3). Without systemd every
function does nothing and says so by its result.
"""

import os
import socket
from collections.abc import MutableMapping

_FIRST_FD = 3


class Notifier:
    """Sends state to the service supervisor through `NOTIFY_SOCKET`, if there is one."""

    def __init__(self, env: MutableMapping[str, str] | None = None) -> None:
        """Read the address and the watchdog's period, and hide both from child processes."""
        env = os.environ if env is None else env
        self._address = _address(env.pop("NOTIFY_SOCKET", ""))
        self.watchdog_interval = _watchdog(env)

    @property
    def active(self) -> bool:
        """Whether anyone listens."""
        return self._address is not None

    def ready(self, status: str) -> bool:
        """Started: what clients ask for now is answered."""
        return self._send(f"READY=1\nSTATUS={_line(status)}")

    def stopping(self) -> bool:
        """Going down on purpose."""
        return self._send("STOPPING=1\nSTATUS=stopping")

    def alive(self) -> bool:
        """Feed the watchdog; call it only when the loop turned and the writer committed."""
        return self._send("WATCHDOG=1")

    def status(self, text: str) -> bool:
        """One line for `systemctl status`."""
        return self._send(f"STATUS={_line(text)}")

    def _send(self, state: str) -> bool:
        if self._address is None:
            return False
        flags = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        with socket.socket(socket.AF_UNIX, flags) as sock:
            try:
                sock.sendto(state.encode(), self._address)
            except OSError:  # the supervisor is restarting or busy: the next message is as good
                return False
        return True


def listen_sockets(env: MutableMapping[str, str] | None = None) -> list[socket.socket]:
    """The listening sockets that systemd passed to this process; [] if there are none.

    Reads `LISTEN_PID` and `LISTEN_FDS` and removes them, so that no child takes the sockets too.
    """
    env = os.environ if env is None else env
    pid, count = env.pop("LISTEN_PID", ""), env.pop("LISTEN_FDS", "")
    env.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    return [_adopt(fd) for fd in range(_FIRST_FD, _FIRST_FD + int(count))]


def _adopt(fd: int) -> socket.socket:
    os.set_inheritable(fd, False)
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    return sock


def _address(text: str) -> str | None:
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else None


def _watchdog(env: MutableMapping[str, str]) -> float | None:
    """Half the watchdog's period in seconds, how often to call `alive`; None: no watchdog."""
    period, pid = env.pop("WATCHDOG_USEC", ""), env.pop("WATCHDOG_PID", "")
    if not period.isdecimal() or int(period) == 0 or pid not in ("", str(os.getpid())):
        return None
    return int(period) / 2e6


def _line(text: str) -> str:
    return " ".join(text.split())
