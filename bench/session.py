"""What every part of a run is given: a folder, the compiled tools, how long, and the notes."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import plans
from bench.notes import Notes
from bench.peers import HERE, Peer, Running

SOURCES = {"load": (), "serve": (), "listen": (), "slowsync": ("-shared", "-fPIC", "-ldl")}
FILES = 65_536
WARMUP_S = 0.5
SERVER, LOAD = 0, 1
"""The cores: one for the server, one for its load."""


@dataclass(slots=True)
class Session:
    """One run of the benchmark. full: also what takes long. only: names of subjects, or none."""

    folder: Path
    seconds: float
    full: bool = False
    only: tuple[str, ...] = ()
    notes: Notes = field(default_factory=Notes)

    def __post_init__(self) -> None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, most), most))
        for name, flags in SOURCES.items():
            source = HERE / "load" / f"{name}.c"
            subprocess.run(["cc", "-O2", "-o", self.tool(name), source, *flags], check=True)

    def tool(self, name: str) -> Path:
        """A compiled program of bench/load."""
        return self.folder / name

    def wants(self, subject: str) -> bool:
        return not self.only or subject.startswith(self.only)

    def say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    @contextmanager
    def running(
        self, peer: Peer, *, slow_ms: int = 0, core: int = SERVER, folder: str = "server"
    ) -> Iterator[Running]:
        """A server of its own on its core, with a slow disk if asked."""
        more = {}
        if slow_ms:
            more = {"LD_PRELOAD": str(self.tool("slowsync")), "SLOWSYNC_MS": str(slow_ms)}
        peer = peer.with_tool(self.tool)
        with Running(peer, self.folder / folder, core=core, environment=more) as server:
            yield server

    def load(
        self,
        plan: plans.Plan,
        *,
        window: int,
        connections: int = 50,
        rate: float = 0,
        seconds: float | None = None,
    ) -> dict[str, Any]:
        """Run the load beside a server; what it prints."""
        plan.write(self.folder / "plan", connections)
        length = self.seconds if seconds is None else seconds
        arguments = [str(each) for each in (connections, window, WARMUP_S, length, rate)]
        found = self.pinned([str(self.tool("load")), str(self.folder / "plan"), *arguments])
        result: dict[str, Any] = json.loads(found)
        return result

    @contextmanager
    def on(self, core: int) -> Iterator[None]:
        """What is done here is done on that core."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)

    def pinned(self, command: Sequence[str], *, core: int = LOAD) -> str:
        """Run a command on a core to its end; what it prints."""
        done = subprocess.run(
            ["taskset", "-c", str(core), *command], check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"{command[0]} failed: {done.stdout}{done.stderr}")
        return done.stdout
