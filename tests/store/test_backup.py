"""Backups taken under load, and what a restored store is careful about."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.core.facts import SignedIn, StreamMoved, UserSet
from gateway.errors import StoreBusy, StoreCorrupt, StoreError, StoreUnavailable
from gateway.store import files, offline
from gateway.store.backup import backup
from gateway.store.rescue import Rescue
from gateway.store.sqlite import SqliteStore
from tests.store.samples import NOW, entry, event, order, put, row, world


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


def ask(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as conn:
        return conn.execute(sql).fetchall()


async def filled(path: Path) -> SqliteStore:
    store = SqliteStore(path)
    await store.open()
    await store.commit(
        [*world(), row(1, entry(1, NOW, [1])), StreamMoved(1, NOW, 1), event(1), put(1)]
    )
    await store.commit([order(1), order(2, "sent", seq=1), order(3, "done", seq=2)])
    return store


async def test_a_backup_under_load_is_one_moment(path: Path, tmp_path: Path) -> None:
    store = await filled(path)
    rescue = Rescue(store)
    to = tmp_path / "copy.db"
    copying = asyncio.create_task(rescue.backup(to, force=False))
    number = 1
    while not copying.done():
        number += 1
        await store.commit([row(number, entry(number, NOW, [1])), StreamMoved(number, NOW, 1)])
    assert await copying == to.stat().st_size
    (rows,) = ask(to, "SELECT count(*), max(id), (SELECT committed FROM stream) FROM journal")
    assert rows[0] == rows[1] == rows[2] <= number
    assert ask(to, "PRAGMA integrity_check") == [("ok",)]
    assert to.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("*.part*"))
    rescue.close()
    await store.close()


async def test_a_file_that_exists_is_kept_unless_forced(path: Path, tmp_path: Path) -> None:
    await (await filled(path)).close()
    to = tmp_path / "copy.db"
    to.write_text("precious")
    with pytest.raises(StoreError, match="--force"):
        backup(path, to)
    assert to.read_text() == "precious"
    with pytest.raises(StoreError, match="exists already"):
        backup(path, path, force=True)
    backup(path, to, force=True)
    assert ask(to, "SELECT count(*) FROM journal") == [(1,)]


async def test_a_folder_that_is_not_there(path: Path, tmp_path: Path) -> None:
    await (await filled(path)).close()
    with pytest.raises(StoreUnavailable, match="nowhere"):
        backup(path, tmp_path / "nowhere" / "copy.db")


async def test_restoring_renews_names_and_runs_no_command_twice(path: Path, tmp_path: Path) -> None:
    store = await filled(path)
    before = dict(ask(path, "SELECT key, value FROM meta"))
    backup(path, tmp_path / "copy.db")
    await store.commit([event(2)])
    await store.close()
    aside = offline.restore(path, tmp_path / "copy.db")
    assert aside is not None
    assert ask(aside, "SELECT max(id) FROM event") == [(2,)]
    store = SqliteStore(path)
    opened = await store.open()
    assert opened.highest["event"] == 1
    assert opened.meta["store_id"] != before["store_id"]
    assert opened.meta["log_epoch"] != before["log_epoch"]
    assert opened.commands == []
    assert opened.downlinks == {}
    states = ask(path, "SELECT n, state, seq FROM command ORDER BY n")
    assert states == [(1, "unknown", None), (2, "unknown", None), (3, "done", None)]
    assert (await store.outbox_stats()).depth == 1
    assert [stream.committed for stream in opened.streams] == [1]
    await store.close()


async def test_restoring_keeps_users_but_signs_everybody_out(path: Path, tmp_path: Path) -> None:
    store = await filled(path)
    await store.commit([UserSet("ada", "h", NOW), SignedIn("s1", "ada", NOW, 2**50)])
    backup(path, tmp_path / "copy.db")
    await store.close()
    offline.restore(path, tmp_path / "copy.db")
    store = SqliteStore(path)
    opened = await store.open()
    assert [user.name for user in opened.users] == ["ada"]
    assert opened.sign_ins == []
    await store.close()


async def test_restoring_beside_a_gateway_is_refused(path: Path, tmp_path: Path) -> None:
    store = await filled(path)
    backup(path, tmp_path / "copy.db")
    with pytest.raises(StoreBusy, match="stop it first"):
        offline.restore(path, tmp_path / "copy.db")
    await store.close()


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000])
async def test_only_a_sound_backup_is_restored(path: Path, tmp_path: Path, content: bytes) -> None:
    await (await filled(path)).close()
    bad = tmp_path / "bad.db"
    bad.write_bytes(content)
    with pytest.raises((StoreCorrupt, StoreError)):
        offline.restore(path, bad)
    with pytest.raises(StoreUnavailable, match="no file"):
        offline.restore(path, tmp_path / "none.db")
    assert ask(path, "SELECT count(*) FROM journal") == [(1,)]


@pytest.mark.parametrize("crash", ["swap", "moved", "placed"])
async def test_a_replacement_is_completed_whenever_it_was_interrupted(
    path: Path, tmp_path: Path, crash: str
) -> None:
    await (await filled(path)).close()
    backup(path, files.beside(path, files.NEW))
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("DELETE FROM event")
    files.beside(path, files.SWAP).write_text("gateway.db.replaced-x")
    if crash != "swap":
        path.rename(tmp_path / "gateway.db.replaced-x")
    if crash == "placed":
        files.beside(path, files.NEW).rename(path)
    store = SqliteStore(path)
    assert (await store.open()).highest["event"] == 1
    await store.close()
    assert ask(tmp_path / "gateway.db.replaced-x", "SELECT count(*) FROM event") == [(0,)]
    assert not files.beside(path, files.SWAP).exists()
