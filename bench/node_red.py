"""Node-RED as a peer, with the SQLite node, as npm has them."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench import plans
from bench.peers import HERE, Peer, Running, count_rows

CACHE = Path(os.environ.get("BENCH_CACHE", Path.home() / ".cache" / "sensor-gateway-bench"))
PACKAGES = ("node-red@4", "node-red-node-sqlite@1")
DATABASE = "readings.db"


def node_red() -> Peer:
    """Websocket in, function, SQLite in WAL mode (synchronous=FULL), websocket out."""
    return Peer("Node-RED, SQLite WAL", True, _prepare, plan=plans.json_text, ready=_ready)


def _prepare(folder: Path, port: int) -> Sequence[str]:
    root = CACHE / "node_modules"
    flow = json.loads((HERE / "servers" / "flow.json").read_text())
    for node in flow:
        if node["type"] == "sqlitedb":
            node["db"] = str(folder / DATABASE)
    (folder / "flows.json").write_text(json.dumps(flow))
    settings = {"flowFile": "flows.json", "uiPort": port, "uiHost": "127.0.0.1"}
    settings |= {"userDir": str(folder), "nodesDir": [str(root / "node-red-node-sqlite")]}
    (folder / "settings.js").write_text(f"module.exports = {json.dumps(settings)};")
    return ["node", str(root / "node-red" / "red.js"), "-s", str(folder / "settings.js")]


def _ready(server: Running) -> bool:
    """The flows run, and the first of them has made the table."""
    return "Started flows" in server.log and count_rows(server.folder / DATABASE) >= 0


def install() -> None:
    """By npm, into the cache; the SQLite node is built against the headers below /usr."""
    if (CACHE / "node_modules" / "node-red-node-sqlite").exists():
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    command = ["npm", "install", "--prefix", str(CACHE), "--no-audit", "--no-fund"]
    environment = os.environ | {"npm_config_nodedir": "/usr"}
    subprocess.run([*command, "--loglevel", "error", *PACKAGES], check=True, env=environment)
