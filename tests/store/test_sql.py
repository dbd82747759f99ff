"""`select * from readings` in the tools that people open the store with."""

import json
import os
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.core import facts as f
from gateway.core.readings import NS_PER_MS, Clock
from gateway.store.connect import open_reader
from gateway.store.sql import register
from gateway.store.sqlite import SqliteStore
from tests.store.samples import BOOT, NOW, entry, row, world

ROOT = Path(__file__).parents[2]
FIRST = {
    "device": "shed-1", "metric": "temperature", "unit": "Cel", "t": "2023-11-14T22:13:20.000Z",
    "t_ns": NOW * NS_PER_MS, "value": 21.51, "clock": "device", "raw_ns": None, "boot": None,
    "journal": 1,
}  # fmt: skip


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A store that is open, and has readings of known and of unknown time."""
    store = SqliteStore(tmp_path / "gateway.db")
    await store.open()
    unknown = entry(2, 5, [300], clock=Clock.UNKNOWN, boot=BOOT)
    await store.commit([*world(), row(1, entry(1, NOW, [2151])), row(2, unknown)])
    yield store
    await store.close()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which the project's entry points are found, installed or not."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    installed = tmp_path / "site" / "sensor_gateway_here-0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: sensor-gateway-here\n")
    (installed / "entry_points.txt").write_text(
        "\n".join(
            f"[{tool}]\ngateway = {points[tool]['gateway']}"
            for tool in ("sqlite_utils", "datasette")
        )
    )
    return {**os.environ, "PYTHONPATH": f"{installed.parent}:{ROOT}"}


def run(environment: dict[str, str], *command: str) -> str:
    line = [sys.executable, "-m", *command]
    done = subprocess.run(line, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


async def test_sqlite_utils(live: SqliteStore, environment: dict[str, str]) -> None:
    out = run(environment, "sqlite_utils", "query", str(live.path), "select * from readings")
    found = json.loads(out)
    assert found[0] == FIRST
    assert len(found) == 8
    assert found[4] == {
        **FIRST, "t": None, "t_ns": None, "value": 3.0, "clock": "unknown",
        "raw_ns": 5_000_000, "boot": BOOT.hex(), "journal": 2,
    }  # fmt: skip


async def test_datasette(live: SqliteStore, environment: dict[str, str]) -> None:
    get = "/gateway/readings.json?_shape=array"
    found = json.loads(run(environment, "datasette", str(live.path), "--get", get))
    assert found[0] == FIRST
    assert len(found) == 8


async def test_new_rows_and_mappings_are_noticed(live: SqliteStore) -> None:
    conn = open_reader(live.path)
    register(conn)
    known = "SELECT device, t_ns, clock FROM readings WHERE metric = 'temperature' AND t_ns"
    assert conn.execute(known).fetchall() == [("shed-1", NOW * NS_PER_MS, "device")]
    later = row(3, entry(1, NOW + 1, [1], stream=2))
    await live.commit([*world("shed-2", 2), f.BootSeen(1, BOOT.hex(), 10**18, 0, NOW), later])
    assert conn.execute(known).fetchall() == [
        ("shed-1", NOW * NS_PER_MS, "device"),
        ("shed-1", 10**18 + 5_000_000, "mapped"),
        ("shed-2", (NOW + 1) * NS_PER_MS, "device"),
    ]
    conn.close()


async def test_damage_is_an_error_of_the_query(live: SqliteStore) -> None:
    sql = "UPDATE journal SET crc = crc + 1 WHERE id = 2"
    await live.on_writer(lambda conn: conn.execute(sql))
    conn = open_reader(live.path)
    register(conn)
    with pytest.raises(sqlite3.OperationalError, match="user-defined function"):
        conn.execute("SELECT * FROM readings").fetchall()
    conn.close()
