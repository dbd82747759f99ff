"""The gateway and its simulated devices as processes of their own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE_S = 60.0
BACKLOG = ("--devices", "3", "--seed", "1", "--backlog", "3m", "--malformed", "0.05")
"""Three devices that soon have summaries of minutes and rejected messages to show."""
EVENTFUL = (*BACKLOG, "--overflow")
"""Such devices that lost some as well."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class GatewayProcess:
    """`gateway run` in a folder of its own, on a port that stays the same over restarts."""

    def __init__(self, folder: Path, *, more: str = "", auth: str = "open") -> None:
        self.folder = folder
        self.port = free_port()
        self.config = folder / "gateway.toml"
        self.config.write_text(
            f'[gateway]\ndata_dir = "./data"\n[listen]\nport = {self.port}\n'
            f'[devices]\nauth = "{auth}"\n{more}'
        )
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def link(self) -> str:
        return f"ws://127.0.0.1:{self.port}/link"

    def start(self) -> None:
        """Start, and wait until it is ready."""
        self.launch()
        self.wait_until_ready()

    def launch(self, *before: str, env: dict[str, str] | None = None) -> None:
        """Start, under the command `before` if there is one."""
        command = [*before, sys.executable, "-m", "gateway", "run", "--config", str(self.config)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, env={**os.environ, **(env or {})})

    def wait_until_ready(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                self.get("/readyz")
            except OSError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.02)
            else:
                return
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> int:
        """SIGTERM; return the exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(PATIENCE_S)

    def get(self, path: str) -> Any:
        """The JSON that a path answers."""
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def export(self) -> list[dict[str, Any]]:
        """All stored readings, in order of arrival."""
        found = subprocess.run(
            [sys.executable, "-m", "gateway", "export", "--config", str(self.config)],
            check=True,
            capture_output=True,
            env={**os.environ, "NO_COLOR": "1"},
        )
        return [json.loads(line) for line in found.stdout.splitlines()]


def fleet(gateway: GatewayProcess, *options: str) -> "subprocess.Popen[bytes]":
    """Simulated devices that come back quickly after a drop."""
    asked = ["--url", gateway.link, "--quiet", "--reconnect-scale", "0.02", *options]
    with (gateway.folder / "fleet.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "simulators", "fleet", *asked], stdout=log, stderr=log
        )


def run(gateway: GatewayProcess, *command: str, given: str = "") -> str:
    """`gateway COMMAND` beside it; what it prints."""
    line = [sys.executable, "-m", "gateway", *command, "--config", str(gateway.config)]
    done = subprocess.run(line, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
