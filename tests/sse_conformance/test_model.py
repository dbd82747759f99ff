"""A client that the network treats badly knows in the end what the gateway stored."""

import asyncio
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.processes import PATIENCE_S, GatewayProcess, fleet
from tests.proxies import Proxy
from tests.sse_conformance.server import Server, ours
from tests.sse_parser import Event

pytestmark = pytest.mark.usefixtures("only_ours")

Key = tuple[str, str, str, float]


class Model:
    """What a dashboard knows: each summary at its highest revision."""

    def __init__(self) -> None:
        self.summaries: dict[Key, dict[str, Any]] = {}
        self.cursor: str | None = None
        self.told = 0
        """How many times it was told that something is missing."""
        self.twice = 0

    def apply(self, event: Event) -> None:
        if event.name == "snapshot":
            for summary in event.json["summaries"]:
                self._upsert(summary)
        elif event.name == "summary":
            self.told += "skipped" in event.json
            self._upsert(event.json, new=True)
        elif event.name == "gap":
            self.told += 1
        self.cursor = event.own_id or self.cursor

    def _upsert(self, summary: dict[str, Any], *, new: bool = False) -> None:
        summary = {key: value for key, value in summary.items() if key != "skipped"}
        key = (summary["dev"], summary["m"], summary["w"], summary["t0"])
        known = self.summaries.get(key)
        if known is None or summary.get("rev", 1) > known.get("rev", 1):
            self.summaries[key] = summary
        elif new:
            self.twice += 1

    async def follow(self, server: Server, url: str, dice: random.Random) -> None:
        """Read for ever; come back after each cut; sometimes do not read for a while."""
        while True:
            with suppress(EOFError, OSError, TimeoutError):
                async with server.ask(cursor=self.cursor, url=url) as stream:
                    while True:
                        self.apply(await stream.next())
                        if dice.random() < 0.01:
                            await asyncio.sleep(dice.random() / 2)
            await asyncio.sleep(0.05)


@pytest.mark.case(18, 44)
async def test_whatever_happens_to_it_a_client_ends_with_what_is_stored(
    alone: GatewayProcess,
) -> None:
    """Cut, stalled, the gateway killed: no summary is missing, none came twice."""
    dice, model, server = random.Random(5), Model(), ours(alone)
    async with Proxy(alone.port) as proxy:
        proxy.budgets = iter(lambda: dice.randint(1_500, 12_000), 0)
        url = f"http://127.0.0.1:{proxy.port}/events?kind=summary"
        following = asyncio.create_task(model.follow(server, url, dice))
        async with asyncio.timeout(PATIENCE_S):
            while model.cursor is None:
                await asyncio.sleep(0.01)
        devices = fleet(alone, "--devices", "4", "--seed", "2", "--drop", "0.01")
        await _known(model, 60)
        for _ in range(2):
            alone.kill()
            alone.start()
            await _known(model, len(model.summaries) + 40)
        devices.terminate()
        await asyncio.to_thread(devices.wait, PATIENCE_S)
        async with asyncio.timeout(PATIENCE_S):
            while not await asyncio.to_thread(_agrees, model, alone):
                await asyncio.sleep(0.2)
        following.cancel()
        await asyncio.wait({following})
        assert proxy.connections > 3
    assert (model.told, model.twice) == (0, 0)


async def _known(model: Model, count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while len(model.summaries) < count:
            await asyncio.sleep(0.05)


def _agrees(model: Model, gateway: GatewayProcess) -> bool:
    """Whether the model is what the API says, all of it and the newest of each series."""
    stored = gateway.get("/api/summaries")
    assert stored["next"] is None
    listed = {(s["dev"], s["m"], s["w"], s["t0"]): s for s in stored["summaries"]}
    newest = [row["summary"] for row in gateway.get("/api/latest")["series"]]
    return listed == model.summaries and all(
        summary is None or summary in model.summaries.values() for summary in newest
    )


def test_the_readme_names_every_case_and_what_covers_it() -> None:
    folder = Path(__file__).parent
    rows = [line for line in (folder / "README.md").read_text().splitlines() if line[:2] == "| "]
    numbered = {int(row.split("|")[1]): row for row in rows if row.split("|")[1].strip().isdigit()}
    assert sorted(numbered) == list(range(1, 45))
    here = "".join(path.read_text() for path in folder.glob("test_*.py"))
    for row in numbered.values():
        for name in [word for word in row.split("`") if word.startswith("test_")]:
            path, _, test = name.rpartition("::")
            text = (folder.parent / path).read_text() if path else here
            assert f"def {test}(" in text, name
