"""After any error of a commit the same facts are stored exactly once."""

import sqlite3
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.core import facts as f
from gateway.errors import StoreUnavailable
from gateway.store.connect import open_reader
from gateway.store.outcome import Attempt
from gateway.store.sqlite import SqliteStore
from tests.mounts import small_disk
from tests.store.samples import NOW, entry, event, order, put, row, world

DAY = NOW // 86_400_000
DROPPED = f.Dropped(DAY, "outbox_full", "messages", 5, NOW, NOW)
GROUPS: list[list[f.Fact]] = [
    [row(1, entry(1, NOW, [1])), row(2, entry(2, NOW, [2])), event(1), put(1), DROPPED],
    [event(1), event(2), DROPPED],
    [put(1), put(2, replaces=True), put(3, replaces=True), DROPPED],
    [f.Loss(1, 1, "e", 1, 2, 1, 10, NOW), DROPPED],
    [f.Rejection(1, 1, "e", 1, 3, "bad", NOW, b"\xff"), DROPPED],
    [f.SchemaLearned(9, 1, 9, b"mark", 3, "[]"), DROPPED],
    [f.StreamOpened(9, 1, "00", 0, NOW), DROPPED],
    [order(1), DROPPED],
    [DROPPED],
    [f.OutboxRefused(135, False, 9)],
    [f.OutboxDone(NOW, 9)],
    [f.OutboxDone(NOW, 9), event(1), DROPPED],
    [f.MetaSet("watermark_ns", "17"), f.StreamMoved(5, NOW, 1)],
]


class Breaking(sqlite3.Connection):
    """A disk that fails in COMMIT: before anything is written, or when everything is."""

    stored_first = False

    def execute(self, sql: str, *more: Any) -> sqlite3.Cursor:
        if sql != "COMMIT":
            return super().execute(sql, *more)
        if self.stored_first:
            super().execute(sql)
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
        raise error


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    await store.open()
    await store.commit([*world(), put(9)])
    yield store
    await store.close()


async def break_writer(store: SqliteStore, *, stored_first: bool) -> None:
    """The writer's next COMMIT fails; the store has to open another connection then."""

    def swap() -> None:
        assert store._writer.conn is not None
        store._writer.conn.close()
        breaking = sqlite3.connect(store.path, isolation_level=None, factory=Breaking)
        breaking.stored_first = stored_first
        store._writer.conn = breaking

    await store._write(swap)


def contents(path: Path) -> list[Sequence[object]]:
    """Everything that facts can be in, but the mark of a commit."""
    conn = open_reader(path)
    tables = ["journal", "event", "outbox", "loss", "rejected", "schema", "stream", "command"]
    found = [row for table in tables for row in conn.execute(f"SELECT * FROM {table}")]
    found += conn.execute("SELECT * FROM dropped").fetchall()
    found += conn.execute("SELECT * FROM outbox_done").fetchall()
    found += conn.execute("SELECT * FROM meta WHERE key = 'watermark_ns'").fetchall()
    conn.close()
    return found


@pytest.mark.parametrize("stored_first", [False, True])
@pytest.mark.parametrize("group", GROUPS)
async def test_an_error_in_commit_stores_the_group_once(
    store: SqliteStore, path: Path, tmp_path: Path, group: list[f.Fact], stored_first: bool
) -> None:
    other = SqliteStore(tmp_path / "other" / "gateway.db")
    other.path.parent.mkdir()
    await other.open()
    await other.commit([*world(), put(9)])
    await other.commit(group)
    await break_writer(store, stored_first=stored_first)
    with pytest.raises(StoreUnavailable, match="check the disk"):
        await store.commit(group)
    await store.commit(list(group))
    assert contents(path) == contents(other.path)
    await other.close()


async def test_the_same_counts_again_are_another_group(store: SqliteStore, path: Path) -> None:
    for _ in range(3):
        await store.commit([DROPPED])
    await break_writer(store, stored_first=True)
    with pytest.raises(StoreUnavailable):
        await store.commit([DROPPED])
    await store.commit([DROPPED])
    await store.commit([DROPPED])
    (row,) = [row for row in contents(path) if row[:2] == (DAY, "outbox_full")]
    assert row[3] == 25


async def test_another_group_follows_one_that_was_given_up(store: SqliteStore) -> None:
    await break_writer(store, stored_first=False)
    with pytest.raises(StoreUnavailable):
        await store.commit([event(1)])
    await store.commit([event(2)])
    await store.commit([event(3)])
    assert await store.event_bounds() == (2, 3)


async def test_after_an_error_of_the_disk_another_connection_writes(store: SqliteStore) -> None:
    await store.commit([event(1)])
    await break_writer(store, stored_first=False)
    broken = store._writer.conn
    with pytest.raises(StoreUnavailable):
        await store.prune(NOW, replay_ms=0)
    await store.commit([event(2)])
    assert store._writer.conn is not broken
    assert type(store._writer.conn) is sqlite3.Connection


async def test_what_seems_stored_is_synced_before_it_counts(store: SqliteStore, path: Path) -> None:
    await break_writer(store, stored_first=True)
    with pytest.raises(StoreUnavailable):
        await store.commit([event(1)])
    reader = open_reader(path)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM event").fetchall()
    await store.commit([event(1)])
    reader.close()
    conn = sqlite3.connect(f"file:{path}?immutable=1", uri=True)  # the file without its WAL
    assert conn.execute("SELECT id FROM event").fetchall() == [(1,)]
    conn.close()


async def test_a_database_that_went_away_is_not_made_anew(
    store: SqliteStore, path: Path, tmp_path: Path
) -> None:
    await break_writer(store, stored_first=False)
    with pytest.raises(StoreUnavailable):
        await store.commit([event(1)])
    path.rename(tmp_path / "away")
    with pytest.raises(StoreUnavailable, match="is gone"):
        await store.commit([event(1)])
    assert not path.exists()
    (tmp_path / "away").rename(path)
    await store.commit([event(1)])
    assert await store.event_bounds() == (1, 1)


async def test_a_file_system_that_was_read_only_for_a_while(tmp_path: Path) -> None:
    def remount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", tmp_path / "disk"], check=True)

    with small_disk(tmp_path / "disk", 8 * 2**20) as folder:
        store = SqliteStore(folder / "gateway.db")
        await store.open()
        await store.commit([*world(), event(1)])
        await let_go(store)
        remount("ro")
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="check the disk"):
                await store.commit([event(2)])
        remount("rw")
        await store.commit([event(2)])
        assert await store.event_bounds() == (1, 2)
        await store.close()


async def let_go(store: SqliteStore) -> None:
    """Close what the kernel would not remount beside: an error has made the writer doubtful."""

    def close() -> None:
        assert store._writer.conn is not None
        store._writer.conn.close()
        store._writer._doubtful = True

    await store._write(close)
    store._writer.lock.give_up()


def test_groups_of_changes_leave_no_mark() -> None:
    facts: list[f.Fact] = [f.StreamMoved(5, NOW, 1), f.OutboxDone(NOW, 1)]
    assert Attempt(facts).rows == facts
    assert len(Attempt([DROPPED]).rows) == 2
