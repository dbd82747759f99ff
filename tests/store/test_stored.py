"""What earlier releases wrote is still there, all of it, whatever has become of the schema."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.core.facts import OutboxReopened
from gateway.core.readings import NS_PER_MS, NS_PER_S
from gateway.crashpoints import STEPS, VARIABLE
from gateway.errors import StoreError
from gateway.store.connect import open_reader
from gateway.store.migrations import NEWEST
from gateway.store.sqlite import SqliteStore
from gateway.store.starting import full_check
from tests.processes import GatewayProcess
from tests.site import Machine, Probe, Site
from tests.store.stored import NAMES, ask, exported_now, exported_then, schema_of, unpacked

FIRST = [name for name in NAMES if name.split("-")[0] == "v1"]
SUMMARIES = """SELECT series, window, t0, t1, n, mean, min, max, std, p50, p95, first, last,
    changes, rev FROM summary ORDER BY series, window, t0"""
UNTOUCHED = (
    "SELECT * FROM device ORDER BY id",
    "SELECT * FROM stream ORDER BY id",
    "SELECT * FROM boot ORDER BY device, boot",
    "SELECT * FROM schema ORDER BY id",
    "SELECT * FROM series ORDER BY id",
    "SELECT * FROM journal ORDER BY id",
    "SELECT * FROM loss ORDER BY id",
    "SELECT * FROM rejected ORDER BY id",
    "SELECT * FROM revision_due ORDER BY t0, window, series",
    "SELECT * FROM command ORDER BY n",
    "SELECT value FROM meta WHERE key IN ('store_id', 'log_epoch', 'watermark_ns') ORDER BY key",
    SUMMARIES,
)
EVENTS = "SELECT id, t, kind, device, metric, window, payload FROM {} ORDER BY id"
WAITING = "SELECT id FROM outbox WHERE done IS NULL AND dead = 0 ORDER BY id"
DONE = "SELECT id, done FROM outbox WHERE done IS NOT NULL ORDER BY id"
AGAIN = """SELECT id, done FROM outbox WHERE done IS NOT NULL AND NOT replaces
    AND expires IS NULL ORDER BY id"""
DEAD = "SELECT id FROM outbox WHERE dead = 1 ORDER BY id"


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def old(name: str, tmp_path: Path) -> Path:
    """The file as it was: read by plain SQL only."""
    return unpacked(name, tmp_path / "old")


@pytest.fixture
def path(name: str, tmp_path: Path) -> Path:
    return unpacked(name, tmp_path / "data")


async def opened(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.close()


def told(path: Path) -> list[Any]:
    views = ask(path, "SELECT 1 FROM sqlite_master WHERE name = 'events'")
    table = "events" if views else "event"
    return [ask(path, sql) for sql in (*UNTOUCHED, EVENTS.format(table))]


def test_there_are_stored_databases_of_the_first_schema() -> None:
    assert FIRST == ["v1", "v1-killed"]


def test_they_hold_rows_of_every_kind(tmp_path: Path) -> None:
    path = unpacked("v1", tmp_path / "old")
    tables = ask(path, "SELECT name FROM sqlite_master WHERE type = 'table'")
    assert [name for (name,) in tables if not ask(path, f"SELECT 1 FROM {name} LIMIT 1")] == []
    assert all(ask(path, sql) for sql in (WAITING, DONE, DEAD))
    assert {kind for (kind,) in ask(path, "SELECT kind FROM series")} == {0, 1, 2}
    assert {"queued", "done"} <= {state for (state,) in ask(path, "SELECT state FROM command")}
    assert {t for _, _, t, *_ in exported_then("v1")} >= {None}
    assert ask(path, "SELECT 1 FROM summary WHERE rev > 1 LIMIT 1")


def test_one_of_them_was_killed_with_commits_in_its_wal(tmp_path: Path) -> None:
    path = unpacked("v1-killed", tmp_path / "old")
    assert path.with_name("gateway.db-wal").stat().st_size > path.stat().st_size
    assert ask(path, "SELECT value FROM meta WHERE key = 'clean'") == [("0",)]


async def test_every_row_is_kept(old: Path, path: Path) -> None:
    before = told(old)
    await opened(path)
    assert schema_of(path) == NEWEST
    assert told(path) == before
    assert full_check(open_reader(path), lambda: False) == (None, True)


async def test_readings_are_those_of_the_release_bit_for_bit(name: str, path: Path) -> None:
    await opened(path)
    assert exported_now(path) == exported_then(name)


async def test_readings_outlive_compaction(name: str, path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    while await store.compact(0, urgent=True):
        pass
    await store.close()
    assert ask(path, "SELECT count(*) FROM journal") == [(1,)]
    assert exported_now(path) == exported_then(name)


async def test_opening_again_changes_nothing(path: Path) -> None:
    await opened(path)
    before, steps = told(path), ask(path, "SELECT * FROM migration")
    await opened(path)
    assert told(path) == before
    assert ask(path, "SELECT * FROM migration") == steps


@pytest.mark.parametrize("name", FIRST)
async def test_the_outbox_goes_on(name: str, old: Path, path: Path) -> None:
    waiting, done = ask(old, WAITING), ask(old, DONE)
    store = SqliteStore(path)
    await store.open()
    assert [(row.id,) for row in await store.outbox_after(0, 10_000)] == waiting
    runs = ask(path, "SELECT first, last, done FROM outbox_done")
    assert sorted((n, at) for first, last, at in runs for n in range(first, last + 1)) == done
    await store.close()
    assert ask(path, "SELECT id FROM messages WHERE dead = 1 ORDER BY id") == ask(old, DEAD)


@pytest.mark.parametrize("name", FIRST)
async def test_what_the_broker_had_acknowledged_can_be_sent_again(
    name: str, old: Path, path: Path
) -> None:
    again = ask(old, AGAIN)
    waiting = ask(old, WAITING)
    now_ms = max(at for _, at in again) + 1
    store = SqliteStore(path)
    await store.open()
    await store.commit([OutboxReopened(0, now_ms)])
    found = [row.id for row in await store.outbox_after(0, 10_000)]
    assert found == sorted([n for n, _ in again] + [n for (n,) in waiting])
    await store.close()


async def test_commands_that_were_open_still_are(old: Path, path: Path) -> None:
    ended = "('done', 'failed', 'expired', 'unsupported', 'unknown', 'rejected')"
    store = SqliteStore(path)
    found = await store.open()
    await store.close()
    assert [(row.n, row.state) for row in found.commands] == ask(
        old, f"SELECT n, state FROM command WHERE state NOT IN {ended} ORDER BY n"
    )


async def test_devices_resume_where_they_were(old: Path, path: Path, tmp_path: Path) -> None:
    streams = ask(
        old,
        """SELECT device.name, epoch, committed FROM stream JOIN device ON device.id = device
        WHERE forgotten = 0 AND removed = 0""",
    )
    (newest,) = ask(old, "SELECT max(received) FROM journal")[0]
    async with Site(tmp_path, Machine(newest * NS_PER_MS + 5 * NS_PER_S)) as site:
        for device, epoch, committed in streams:
            probe = Probe(site, device, unix=True)
            probe.epoch, probe.seq = bytes.fromhex(epoch), committed + 3
            assert await probe.hello() == committed
            probe.seq = committed
            probe.send(1.25)
            await probe.acknowledged()
    assert len(streams) >= 4


@pytest.mark.parametrize("step", [step for step in STEPS if step.startswith("migrate.")])
async def test_a_crash_in_the_migration_loses_nothing(
    name: str, old: Path, path: Path, step: str
) -> None:
    program = (
        "import asyncio, sys; from gateway.store.sqlite import SqliteStore;"
        "asyncio.run(SqliteStore(sys.argv[1]).open())"
    )
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program, str(path)],
        env={**os.environ, VARIABLE: step},
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    before = told(old)
    await opened(path)
    assert told(path) == before
    assert exported_now(path) == exported_then(name)
    assert list(path.parent.glob("*damaged*")) == []


def test_a_gateway_goes_on_with_it(name: str, path: Path, tmp_path: Path) -> None:
    """Whatever day it is: nothing may go by age here."""
    gateway = GatewayProcess(tmp_path, more="[store]\nreadings_days = 0\nsummaries_days = 0\n")
    gateway.start()
    try:
        known = {one["id"] for one in gateway.get("/api/devices")["devices"]}
        assert known >= {"greenhouse-1", "field-1"}
    finally:
        assert gateway.stop() == 0
    assert exported_now(path) == exported_then(name)
    assert list(path.parent.glob("*damaged*")) == []


async def test_a_release_of_tomorrow_is_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(f"INSERT INTO migration VALUES ({NEWEST + 1}, 'of tomorrow', 0)")
    before = told(path)
    with pytest.raises(StoreError, match=f"version {NEWEST + 1}.*up to {NEWEST}.*install"):
        await opened(path)
    assert told(path) == before
    assert schema_of(path) == NEWEST + 1
