"""Child processes that live and end together with this one."""

import ctypes
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from gateway.errors import GatewayError

ENDINGS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
_PATIENCE_S = 5.0
_LAST_LINES = 15
_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class ChildEnded(GatewayError):
    """A child that was meant to stay has ended."""


@dataclass(frozen=True, slots=True)
class Child:
    """A running program; what it prints goes to the file `log`."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def last_lines(self) -> str:
        """The end of what it printed, indented."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return "".join(f"    {line}\n" for line in text.splitlines()[-_LAST_LINES:])


class Children:
    """A context: signals that end this process are only noted, and at its end all children go.

    Each child leads its own process group, so that a whole group can be ended, and it gets
    SIGTERM from the kernel if this process is killed. For the main thread only.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._all: list[Child] = []
        self._ending = False
        self._kept: dict[signal.Signals, Any] = {}
        self._kept_fd = -1

    def __enter__(self) -> "Children":
        self._logs.mkdir(parents=True, exist_ok=True)
        self._awake, self._woken = socket.socketpair()
        self._awake.setblocking(False)
        self._woken.setblocking(False)
        wakes = self._woken.fileno()
        self._kept_fd = signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        noted = [n for n in ENDINGS if signal.getsignal(n) != signal.SIG_IGN]  # as nohup wants
        self._kept = {n: signal.signal(n, self._note) for n in (*noted, signal.SIGCHLD)}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()
        for number, former in self._kept.items():
            signal.signal(number, former)
        signal.set_wakeup_fd(self._kept_fd)
        self._awake.close()
        self._woken.close()

    def _note(self, number: int, _: FrameType | None) -> None:
        self._ending = self._ending or number in ENDINGS

    def start(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str] | None = None
    ) -> Child:
        """Start a program. Raises GatewayError if it cannot be started."""
        log = self._logs / f"{name}.log"
        parent = os.getpid()
        try:
            with log.open("wb") as output:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env=env,
                    preexec_fn=lambda: _prepare(parent),  # noqa: PLW1509 - there is one thread
                )
        except OSError as error:
            raise GatewayError(f"cannot start {command[0]}: {error.strerror}") from None
        child = Child(name, process, log)
        self._all.append(child)
        return child

    def wait(self, seconds: float) -> bool:
        """Wait; True if this process shall end. Raises ChildEnded if a child has ended."""
        end = time.monotonic() + seconds
        while not self._ending and (left := end - time.monotonic()) > 0:
            self._require_all()
            select.select([self._awake], [], [], left)
            with suppress(BlockingIOError):
                self._awake.recv(4096)
        if not self._ending:
            self._require_all()
        return self._ending

    def _require_all(self) -> None:
        for child in self._all:
            code = child.process.poll()
            if code is not None:
                how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
                raise ChildEnded(f"{child.name} {how}: its log is {child.log}")

    def ended(self) -> list[Child]:
        """The children that have ended by themselves."""
        return [child for child in self._all if child.process.poll() is not None]

    def end(self) -> None:
        """End all groups one by one, the last started first: SIGTERM, then SIGKILL."""
        for child in reversed(self._all):
            _signal_group(child, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):  # killed below
                child.process.wait(_PATIENCE_S)
            _signal_group(child, signal.SIGKILL)
            child.process.wait()
        self._all.clear()


def _prepare(parent: int) -> None:
    """In the child: end when the parent does."""
    _libc.prctl(_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def _signal_group(child: Child, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # nobody of the group is left
        os.killpg(child.process.pid, number)
