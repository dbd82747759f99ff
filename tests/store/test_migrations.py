"""From every earlier schema to the newest, and never backwards."""

import re
import sqlite3
from pathlib import Path

import pytest

from gateway.errors import StoreError
from gateway.store.migrations import MIGRATIONS, NEWEST, Migration, migrate, new_epoch, version
from gateway.store.sqlite import SqliteStore
from tests.store.samples import event


@pytest.fixture
def conn() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None)


def schema(conn: sqlite3.Connection) -> list[tuple[str, str]]:
    return conn.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


def test_numbers_rise_by_one() -> None:
    assert [step.number for step in MIGRATIONS] == list(range(1, NEWEST + 1))


@pytest.mark.parametrize("start", range(NEWEST + 1))
def test_from_every_earlier_version(conn: sqlite3.Connection, start: int) -> None:
    if start:
        migrate(conn, MIGRATIONS[:start])
    assert version(conn) == start
    migrate(conn)
    fresh = sqlite3.connect(":memory:", isolation_level=None)
    migrate(fresh)
    assert schema(conn) == schema(fresh)
    assert version(conn) == NEWEST
    assert [number for (number,) in conn.execute("SELECT number FROM migration")] == list(
        range(1, NEWEST + 1)
    )
    assert conn.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone() == (
        str(NEWEST),
    )


def test_migrating_again_changes_nothing(conn: sqlite3.Connection) -> None:
    migrate(conn)
    before = list(conn.iterdump())
    migrate(conn)
    assert list(conn.iterdump()) == before


def test_a_step_that_fails_leaves_nothing_behind(conn: sqlite3.Connection) -> None:
    migrate(conn)
    before = list(conn.iterdump())
    broken = Migration(NEWEST + 1, "broken", ("CREATE TABLE extra (a)", "CREATE TABLE extra (b)"))
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        migrate(conn, (*MIGRATIONS, broken))
    assert list(conn.iterdump()) == before


async def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    store = SqliteStore(path)
    await store.open()
    await store.commit([event(1)])
    await store.close()
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute(f"INSERT INTO migration VALUES ({NEWEST + 1}, 'of tomorrow', 0)")
    before = list(conn.iterdump())
    store = SqliteStore(path)
    with pytest.raises(StoreError, match=f"version {NEWEST + 1}.*up to {NEWEST}.*install"):
        await store.open()
    await store.close()
    assert list(conn.iterdump()) == before
    conn.close()


def test_epochs_differ() -> None:
    found = {new_epoch() for _ in range(100)}
    assert len(found) == 100
    assert all(re.fullmatch("[a-z0-9]{8}", epoch) for epoch in found)
