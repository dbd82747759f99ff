"""Every command of docs/other-tools.md, run as it stands there."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import yaml

from tests.processes import BACKLOG, PATIENCE_S, GatewayProcess, fleet, free_port, run, until

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "other-tools.md").read_text()
BLOCKS = re.findall(r"^```\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
QUERIES = yaml.safe_load((ROOT / "config" / "datasette" / "metadata.yaml").read_text())[
    "databases"
]["copy"]["queries"]
MAY_BE_EMPTY = {"losses", "given_up"}
SHOWN = "summaries WHERE device = 'greenhouse-1' AND metric = 'temperature' AND window = '1m'"
MORE = """[[alerts]]
name = "measured"
metric = "temperature"
above = -300
"""


class Done(NamedTuple):
    """A folder in which the whole guide was followed; what Datasette answered to its queries."""

    folder: Path
    answers: dict[str, httpx.Response]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("guide")
    (folder / "config").symlink_to(ROOT / "config")
    gateway = GatewayProcess(folder, more=MORE)
    run(gateway, "user", "add", "ada", given="correct horse battery\n")
    measured(gateway)
    port, answers = str(free_port()), {}
    blocks = iter(block.replace("8001", port) for block in BLOCKS)
    for block in blocks:
        if block.startswith("datasette "):
            with datasette(block, folder, port) as client:
                shell(next(blocks), folder)
                answers = {name: ask(client, name) for name in QUERIES}
        else:
            shell(block, folder)
    return Done(folder, answers)


def measured(gateway: GatewayProcess) -> None:
    """Let devices push for a little while; a clean stop settles what is newest."""
    gateway.start()
    devices = fleet(gateway, *BACKLOG)
    with closing(sqlite3.connect(gateway.folder / "data" / "gateway.db")) as conn:
        for what in (SHOWN, "alert WHERE state = 'open'", "rejected"):
            until(lambda what=what: conn.execute(f"SELECT count(*) FROM {what}").fetchone()[0])
    devices.terminate()
    devices.wait(PATIENCE_S)
    gateway.stop()


def shell(block: str, folder: Path) -> None:
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, f"{block}\n{ran.stdout}\n{ran.stderr}"


def environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@contextmanager
def datasette(block: str, folder: Path, port: str) -> Iterator[httpx.Client]:
    with (folder / "datasette.log").open("wb") as log:
        server = subprocess.Popen(
            ["bash", "-c", f"exec {block}"], cwd=folder, env=environment(), stdout=log, stderr=log
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
            deadline = time.monotonic() + PATIENCE_S
            while True:
                try:
                    client.get("/")
                except httpx.TransportError:
                    assert server.poll() is None, (folder / "datasette.log").read_text()
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                else:
                    break
            yield client
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(PATIENCE_S)


def ask(client: httpx.Client, name: str) -> httpx.Response:
    parameters = {"device": "greenhouse-1", "metric": "temperature", "window": "1m"}
    asked = set(re.findall(r":(\w+)", QUERIES[name]["sql"]))
    params = {key: value for key, value in parameters.items() if key in asked}
    return client.get(f"/copy/{name}.json", params={"_shape": "array", **params})


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_of_datasette(done: Done, name: str) -> None:
    answer = done.answers[name]
    assert answer.status_code == 200, answer.text
    assert answer.json() or name in MAY_BE_EMPTY
    assert f"`{name}`" in GUIDE


def test_what_the_commands_wrote(done: Done) -> None:
    temperature = (done.folder / "temperature.csv").read_text().splitlines()
    assert temperature[0] == "begins,mean,min,max"
    assert len(temperature) > 1
    lines = (done.folder / "readings.jsonl").read_text().splitlines()
    assert lines
    assert all(json.loads(line)["unit"] == "Cel" for line in lines)
    assert {row["device"] for row in json.loads((done.folder / "now.json").read_text())} == {
        "greenhouse-1",
        "weather-1",
        "power-1",
    }
    assert json.loads((done.folder / "recent.json").read_text())
    assert len((done.folder / "days.csv").read_text().splitlines()) > 1


def test_who_may_look_is_out_of_the_copy(done: Done) -> None:
    with closing(sqlite3.connect(done.folder / "data" / "gateway.db")) as conn:
        (secret,) = conn.execute("SELECT password FROM user").fetchone()
    assert secret.encode() in (done.folder / "data" / "gateway.db").read_bytes()
    assert secret.encode() not in (done.folder / "copy.db").read_bytes()
