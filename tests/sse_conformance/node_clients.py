"""The clients of node/: how they are run."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from tests.events import PATIENCE

FOLDER = Path(__file__).parent / "node"
MISSING = "node's clients are missing: make tools installs them"


def _command(script: str, *arguments: str) -> list[str]:
    assert (FOLDER / "node_modules" / "eventsource").is_dir(), MISSING
    return ["node", str(FOLDER / script), *arguments]


async def lint(stream: bytes, *, pieces: int = 65_536) -> dict[str, Any]:
    """What eventsource-parser makes of a stream that comes in such pieces."""
    process = await asyncio.create_subprocess_exec(
        *_command("lint.mjs", str(pieces)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate(stream)
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(out)
    return found


class Listener:
    """A node process that listens; its lines are read one by one."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def next(self) -> list[Any]:
        assert self._process.stdout is not None
        async with asyncio.timeout(4 * PATIENCE):
            line = await self._process.stdout.readline()
        assert line, "node's EventSource ended"
        found: list[Any] = json.loads(line)
        return found

    async def until(self, what: str) -> list[Any]:
        while (found := await self.next())[0] != what:
            pass
        return found


@contextlib.asynccontextmanager
async def listening(
    url: str, *, headers: dict[str, str], names: Sequence[str]
) -> AsyncIterator[Listener]:
    """An EventSource of node that shows the events of these names."""
    asked = json.dumps({"headers": headers, "names": list(names)})
    process = await asyncio.create_subprocess_exec(
        *_command("listen.mjs", url, asked), stdout=asyncio.subprocess.PIPE, limit=2**22
    )
    try:
        yield Listener(process)
    finally:
        process.kill()
        await process.wait()
