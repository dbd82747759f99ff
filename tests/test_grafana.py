"""Every query of the Grafana dashboards, asked of a gateway that runs and of a copy."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import yaml

from tests.grafana import ask_copy, ask_gateway, queries
from tests.processes import EVENTFUL, PATIENCE_S, GatewayProcess, fleet, run, until

CONFIG = Path(__file__).parents[1] / "config" / "grafana"
BOARDS = sorted((CONFIG / "dashboards").rglob("*.json"))
MAY_BE_EMPTY = "Given up"
OFTEN_EMPTY = ("by", "number", "metric", "text", "oldest", "full in", "clock error")
"""Columns that may hold nothing."""
SHOWN = "/api/summaries?device=greenhouse-1&metric=temperature&window=10s"
MORE = """[mqtt]
url = "mqtt://127.0.0.1:1"
[[alerts]]
name = "measured"
metric = "temperature"
above = -300
text = "so it is"
"""


class Sources(NamedTuple):
    """What both data sources see, and the variables of dashboards."""

    client: httpx.Client
    copy: Path
    values: dict[str, str]

    def ask(self, source: str, target: Any) -> list[dict[str, Any]]:
        if source == "gateway-copy":
            return ask_copy(self.copy, target, self.values)
        return ask_gateway(self.client, target, self.values)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sources]:
    folder = tmp_path_factory.mktemp("gateway")
    gateway = GatewayProcess(folder, more=MORE)
    run(gateway, "user", "add", "ada", given="correct horse battery\n")
    token = run(gateway, "token", "add", "grafana")
    gateway.start()
    devices = fleet(gateway, *EVENTFUL)
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=gateway.url, headers=headers, timeout=PATIENCE_S) as client:
        until(lambda: client.get("/api/alerts").json()["alerts"])
        until(lambda: all(d["losses"] for d in client.get("/api/devices").json()["devices"]))
        until(lambda: client.get(SHOWN).json()["summaries"])
        gateway.stop()  # settles: the copy shows the newest readings
        run(gateway, "backup", str(folder / "copy.db"))
        gateway.start()
        until(lambda: client.get("/api/latest").json()["series"])
        now = time.time_ns() // 1_000_000
        values = {
            "device": "greenhouse-1",
            "metric": "temperature",
            "window": "10s",
            "__from": str(now - 7_200_000),
            "__to": str(now + 60_000),
            "__interval_ms": "2000",
        }
        yield Sources(client, folder / "copy.db", values)
    devices.terminate()
    devices.wait(PATIENCE_S)
    gateway.stop()


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_query_has_an_answer(sources: Sources, path: Path) -> None:
    for query in queries(load(path)):
        rows = sources.ask(query.source, query.target)
        assert rows or query.title.startswith(MAY_BE_EMPTY), query.title
        for name in rows[0] if rows else ():
            empty = all(row[name] is None for row in rows)
            assert not empty or name in OFTEN_EMPTY, f"{query.title}: {name}"


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_columns_that_panels_speak_of_are_asked_for(sources: Sources, path: Path) -> None:
    for panel in load(path)["panels"]:
        shown = set()
        for target in panel["targets"]:
            rows = sources.ask(target["datasource"]["uid"], target)
            shown |= set(rows[0]) if rows else {c["text"] for c in target.get("columns", ())}
        named = {each["matcher"]["options"] for each in panel["fieldConfig"]["overrides"]}
        for each in panel.get("transformations", ()):
            named |= set(each["options"]["indexByName"])
        assert named <= shown, panel["title"]


def test_variables_offer_what_there_is(sources: Sources) -> None:
    offered: dict[str, set[str]] = {}
    for path in BOARDS:
        for query in queries(load(path)):
            if query.title.startswith("$"):
                rows = sources.ask(query.source, query.target)
                offered.setdefault(query.title, set()).update(*(row.values() for row in rows))
    assert offered["$device"] == {"greenhouse-1", "weather-1", "power-1"}
    assert {"temperature", "humidity"} <= offered["$metric"]
    assert "voltage" not in offered["$metric"]  # another device's
    assert offered["$window"] >= {"10s", "1m"}


def test_both_sources_tell_the_same(sources: Sources) -> None:
    live, copy = (load(CONFIG / "dashboards" / kind / "series.json") for kind in ("live", "copy"))
    asked = [next(q for q in queries(b) if q.title.startswith("Readings")) for b in (live, copy)]
    ours, theirs = (sources.ask(query.source, query.target) for query in asked)
    known = {row["time"] // 1000: row["readings"] for row in ours}
    assert {row["time"]: row["readings"] for row in theirs}.items() <= known.items()


def test_boards_fit_the_provisioned_sources_and_one_another() -> None:
    given = yaml.safe_load(
        (CONFIG / "provisioning" / "datasources" / "sensor-gateway.yaml").read_text()
    )
    sources = {source["uid"]: source["type"] for source in given["datasources"]}
    boards = [load(path) for path in BOARDS]
    assert len({board["uid"] for board in boards}) == len({b["title"] for b in boards}) == 6
    for board in boards:
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
        assert len(board["uid"]) <= 40
        for panel in board["panels"]:
            assert sources[panel["datasource"]["uid"]] == panel["datasource"]["type"]
