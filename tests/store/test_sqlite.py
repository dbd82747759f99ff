"""The contract on SQLite, and what only SQLite can do wrong."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gateway.core import facts as f
from gateway.errors import StoreCorrupt, StoreError, StoreFull, StoreUnavailable
from gateway.store import Store
from gateway.store.connect import CACHE_KIB, SPILL_PAGES, open_reader, reset_bug_warning
from gateway.store.sqlite import SqliteStore
from gateway.store.starting import full_check
from tests.store.contract import StoreContract, gathered
from tests.store.samples import NOW, entry, event, made, put, row, world


class TestSqlite(StoreContract):
    @pytest.fixture
    def new_store(self, tmp_path: Path) -> Callable[[], Store]:
        return lambda: SqliteStore(tmp_path / "gateway.db")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


async def on_writer(store: SqliteStore, sql: str) -> list[tuple[object, ...]]:
    """What a statement finds on the writer's connection."""
    return await store.on_writer(lambda conn: conn.execute(sql).fetchall())


@pytest.mark.parametrize(("durability", "level"), [("full", 2), ("relaxed", 1)])
async def test_settings_take_effect(path: Path, durability: str, level: int) -> None:
    store = SqliteStore(path, durability=durability)  # type: ignore[arg-type]
    await store.open()
    await store.commit([event(1)])
    assert await store.event_bounds() == (1, 1)
    assert await on_writer(store, "PRAGMA synchronous") == [(level,)]
    assert await on_writer(store, "PRAGMA auto_vacuum") == [(2,)]
    assert await on_writer(store, "PRAGMA journal_mode") == [("wal",)]
    assert await on_writer(store, "PRAGMA cache_size") == [(-CACHE_KIB,)]
    assert await on_writer(store, "PRAGMA cache_spill") == [(SPILL_PAGES,)]
    (reader,) = store._readers.open
    assert reader.execute("PRAGMA wal_autocheckpoint").fetchall() == [(0,)]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM event")
    await store.close()


async def test_one_thread_writes(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    seen = set()
    for _ in range(5):
        await store._write(lambda: seen.add(threading.current_thread().name))
    assert len(seen) == 1
    assert seen.pop().startswith("store-writer")
    await store.close()


async def test_a_clean_stop_leaves_one_file(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.commit([*world(), event(1)])
    await store.events_after(0, 1)
    await store.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["gateway.db", "gateway.lock"]


async def test_a_full_disk_commits_nothing_and_recovers(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.commit([event(1)])
    ((pages,),) = await on_writer(store, "PRAGMA page_count")
    await on_writer(store, f"PRAGMA max_page_count = {pages}")
    facts = [*world(), event(2), put(1, payload=os.urandom(100_000))]
    for _ in range(3):
        with pytest.raises(StoreFull, match="free some space"):
            await store.commit(facts)
    assert await store.event_bounds() == (1, 1)
    await on_writer(store, "PRAGMA max_page_count = 1000000")
    await store.commit(facts)
    assert await store.event_bounds() == (1, 2)
    await store.close()


async def test_an_error_in_commit_itself_can_be_tried_again(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    # A deferred constraint is checked by COMMIT, which then leaves the transaction open.
    await on_writer(store, "PRAGMA foreign_keys = ON")
    await on_writer(store, "CREATE TABLE parent (id INTEGER PRIMARY KEY)")
    await on_writer(
        store,
        "CREATE TABLE child (p REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED)",
    )
    await on_writer(
        store,
        "CREATE TRIGGER breaks AFTER INSERT ON event BEGIN INSERT INTO child VALUES (9); END",
    )
    facts = [*world(), event(1)]
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        await store.commit(facts)
    await on_writer(store, "DROP TRIGGER breaks")
    await store.commit(facts)
    assert await store.event_bounds() == (1, 1)
    await store.close()


@pytest.mark.parametrize("table", ["event", "outbox"])
async def test_a_damaged_block_is_found_out(path: Path, table: str) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.commit([*world(), event(1), put(1)])
    await on_writer(store, f"UPDATE {table} SET body = CAST(substr(body, 2) || x'00' AS BLOB)")
    with pytest.raises(StoreCorrupt, match="checksum of a block"):
        await (store.events_after(0, 9) if table == "event" else store.outbox_after(0, 9))
    assert store.damaged.is_set()
    await store.close()
    with closing(open_reader(path)) as conn:
        problem, _ = full_check(conn, lambda: False)
    assert problem == f"the checksum of {table} row 1 does not match"


async def test_a_damaged_row_is_found_out(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.commit([*world(), row(1, entry(1, NOW, [1])), row(2, entry(2, NOW, [2]))])
    await on_writer(
        store, "UPDATE journal SET body = CAST(substr(body, 2) || x'00' AS BLOB) WHERE id = 2"
    )
    with pytest.raises(StoreCorrupt, match="journal row 2"):
        await gathered(store)
    await store.close()


async def test_a_file_that_is_no_database_is_set_aside(path: Path) -> None:
    path.write_bytes(b"hello, world" * 1000)
    store = SqliteStore(path)
    assert (await store.open()).devices == []
    await store.close()
    (aside,) = path.parent.glob("gateway.db.damaged-*")
    assert aside.read_bytes().startswith(b"hello")


async def test_a_database_of_something_else(path: Path) -> None:
    with sqlite3.connect(path) as conn:
        conn.execute("CREATE TABLE recipes (name)")
    conn.close()
    store = SqliteStore(path)
    with pytest.raises(StoreError, match="not a gateway's store"):
        await store.open()
    await store.close()


async def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "nowhere" / "gateway.db")
    with pytest.raises(StoreUnavailable, match="nowhere"):
        await store.open()
    await store.close()


async def test_a_store_that_was_not_closed_is_not_clean(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    store._writer.lock.give_up()
    other = SqliteStore(path)
    assert not (await other.open()).clean
    await other.close()
    await store._write(lambda: store._writer.close(clean=False))
    await store.close()


async def test_views_are_friendly(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.commit([*world(), made(1, NOW), f.SeriesLatest(NOW * 10**6 + 7_000_000, 2.5, 1, 1)])
    latest = await on_writer(store, "SELECT device, metric, unit, t, value, clock FROM latest")
    assert latest == [("shed-1", "temperature", "Cel", "2023-11-14T22:13:20.007Z", 2.5, "mapped")]
    summaries = await on_writer(store, "SELECT device, metric, begins, ends, n FROM summaries")
    assert summaries == [
        ("shed-1", "temperature", "2023-11-14T22:13:20Z", "2023-11-14T22:13:30Z", 3)
    ]
    await store.close()


@pytest.mark.parametrize(
    ("version", "warned"),
    [((3, 40, 1), True), ((3, 51, 2), True), ((3, 51, 3), False), ((3, 50, 7), False),
     ((3, 50, 6), True), ((3, 44, 6), False), ((3, 60, 0), False)],
)  # fmt: skip
def test_the_wal_reset_bug_is_told(version: tuple[int, ...], warned: bool) -> None:
    text = reset_bug_warning(version)
    assert (text is not None) is warned
    if text:
        assert ".".join(map(str, version)) in text


LIMITED = """
import asyncio, os, resource, signal, sys
from pathlib import Path
from gateway.errors import StoreUnavailable
from gateway.store.sqlite import SqliteStore
from tests.store.samples import event, put

async def main(path):
    store = SqliteStore(path)
    await store.open()
    await store.commit([event(1)])
    size = Path(f"{path}-wal").stat().st_size
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10_000, resource.RLIM_INFINITY))
    facts = [event(2), put(1, payload=os.urandom(100_000))]
    for _ in range(2):
        try:
            await store.commit(facts)
        except StoreUnavailable as error:
            print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store.commit(facts)
    print(await store.event_bounds(), (await store.outbox_stats()).bytes)
    await store.close()

asyncio.run(main(sys.argv[1]))
"""


def test_a_write_that_fails_in_the_middle_can_be_tried_again(path: Path) -> None:
    """The kernel refuses to let the WAL grow, which SQLite reports as an I/O error."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    first, second, last = done.stdout.splitlines()
    assert first == second
    assert "check the disk" in first
    assert last == "(1, 2) 100000"
