"""A store that was killed, copies of it, and work on their files that dies at a named step."""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from gateway.crashpoints import VARIABLE
from tests.faults.campaign import CONFIG, Scene
from tests.faults.checker import check
from tests.faults.ledger import Ledger
from tests.processes import PATIENCE_S, GatewayProcess


@dataclass(frozen=True, slots=True)
class Past:
    """Folders with `data`, `old.db` (a backup) and what had been acknowledged: then, and now."""

    folder: Path
    then: Ledger
    now: Ledger


async def past(folder: Path) -> Past:
    """A run that was killed, a backup, and another run that was killed."""
    scene = Scene(folder, 3)
    scene.ledger.listeners.clear()
    then = await _run(scene)
    assert command(scene.gateway, "backup", str(folder / "old.db")) == 0
    return Past(folder, then, await _run(scene))


async def _run(scene: Scene) -> Ledger:
    await asyncio.to_thread(scene.gateway.start)
    async with scene.load(subscribers=False):
        await asyncio.sleep(0.5)
        scene.gateway.kill()
    return scene.ledger.snapshot()


def command(gateway: GatewayProcess, *words: str, at: str = "") -> int:
    """The exit code of a command that is to die at a step."""
    return subprocess.call(
        [sys.executable, "-m", "gateway", *words, "--config", str(gateway.config)],
        env={**os.environ, VARIABLE: at},
        timeout=PATIENCE_S,
    )


class Copy:
    """A copy of the past, in a folder of its own."""

    def __init__(self, past: Past, folder: Path) -> None:
        shutil.copytree(past.folder / "data", folder / "data", ignore=_not_files)
        self.past = past
        self.gateway = GatewayProcess(folder, more=CONFIG)
        self.database = folder / "data" / "gateway.db"
        self.backup = folder / "copy.db"
        shutil.copy(past.folder / "old.db", self.backup)

    def run(self, *words: str) -> int:
        return command(self.gateway, *words)

    def dies(self, at: str, *words: str) -> None:
        """A command, or the gateway if none is named, reaches the step and dies."""
        if words:
            code = command(self.gateway, *words, at=at)
        else:
            self.gateway.launch(env={VARIABLE: at})
            process, self.gateway.process = self.gateway.process, None
            assert process is not None
            code = process.wait(PATIENCE_S)
        assert code == -signal.SIGKILL, f"{words} ended with {code} instead of dying at {at}"

    def starts(self) -> None:
        """The next start brings back all there is, and ends cleanly."""
        self.gateway.start()
        deadline = time.monotonic() + PATIENCE_S
        while self._salvaging() or self.left(".patched"):
            assert time.monotonic() < deadline, "the salvage does not end"
            time.sleep(0.05)
        assert self.gateway.stop() == 0

    def _salvaging(self) -> bool:
        return bool(ask(self.database, "SELECT 1 FROM meta WHERE key = 'salvage' AND value <> ''"))

    def whole(self, database: Path, ledger: Ledger) -> None:
        """All that was acknowledged is in the database, once."""
        verdict = check(database, ledger)
        assert verdict.found == [], verdict.found[:5]
        assert verdict.acknowledged > 0

    def left(self, *kinds: str) -> list[str]:
        """Names of files that nobody needs any more."""
        names = [file.name for file in (*self.database.parent.iterdir(), *self.folder.iterdir())]
        return [name for name in names if any(kind in name for kind in kinds)]

    @property
    def folder(self) -> Path:
        return self.gateway.folder

    def aside(self) -> list[Path]:
        """Databases that were set aside."""
        found = (*self.database.parent.glob("*.damaged-*"), *self.database.parent.glob("*.repl*"))
        return [path for path in found if not path.name.endswith(("-wal", "-shm", "-journal"))]


def ask(path: Path, sql: str) -> list[tuple[str]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as conn:
        return conn.execute(sql).fetchall()


def store_id(path: Path) -> str:
    return ask(path, "SELECT value FROM meta WHERE key = 'store_id'")[0][0]


def _not_files(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name.endswith(".sock")]
