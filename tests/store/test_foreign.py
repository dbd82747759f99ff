"""A WAL that is not ours never reaches the database."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from gateway.store.foreign import set_aside
from gateway.store.sqlite import SqliteStore
from tests.store.samples import event, world


async def closed_store(path: Path) -> bytes:
    store = SqliteStore(path)
    await store.open()
    await store.commit(world())
    await store.close()
    return path.read_bytes()


def another_wal(path: Path, *, page_size: int = 1024, application: int = 7) -> None:
    other = path.with_name("other.db")
    conn = sqlite3.connect(other)
    conn.executescript(
        f"PRAGMA page_size = {page_size}; PRAGMA journal_mode = WAL;"
        f"PRAGMA application_id = {application};"
        "CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(9000));"
    )
    shutil.copy(f"{other}-wal", f"{path}-wal")
    conn.close()


@pytest.mark.parametrize(("page_size", "application"), [(1024, 7), (4096, 0), (4096, 0x53475731)])
async def test_it_is_set_aside(tmp_path: Path, page_size: int, application: int) -> None:
    path = tmp_path / "gateway.db"
    await closed_store(path)
    another_wal(path, page_size=page_size, application=application)
    foreign = path.with_name("gateway.db-wal").read_bytes()
    store = SqliteStore(path)
    opened = await store.open()
    assert opened.devices
    assert (tmp_path / "gateway.db-wal.foreign").read_bytes() == foreign
    await store.close()


async def test_a_second_one_gets_another_name(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    await closed_store(path)
    another_wal(path)
    assert set_aside(path) == tmp_path / "gateway.db-wal.foreign"
    (tmp_path / "other.db").unlink()
    another_wal(path)
    assert set_aside(path) == tmp_path / "gateway.db-wal.foreign1"


async def test_our_own_stays(tmp_path: Path) -> None:
    """The WAL of a run that was killed, from the very first commit on."""
    path, copy = tmp_path / "gateway.db", tmp_path / "copy.db"
    store = SqliteStore(path)
    await store.open()
    await store.commit(world())
    for number in (1, 2):
        await store.commit([event(number)])
        shutil.copy(path, copy)
        shutil.copy(f"{path}-wal", f"{copy}-wal")
        assert set_aside(copy) is None
    await store.close()
    assert set_aside(path) is None


async def test_our_own_stays_though_a_crash_tore_its_last_frame(tmp_path: Path) -> None:
    """Of a frame with page 1, which no commit follows, the header is there and the page is not."""
    path, copy = tmp_path / "gateway.db", tmp_path / "copy.db"
    await closed_store(path)
    store = SqliteStore(path)
    await store.open()
    await store.commit([event(1)])
    shutil.copy(path, copy)
    wal = path.with_name("gateway.db-wal").read_bytes()
    await store.close()
    frame = (1).to_bytes(4, "big") + bytes(4) + wal[16:24] + bytes(8)
    for page in (b"", bytes(50), bytes(1024)):
        copy.with_name("copy.db-wal").write_bytes(wal + frame + page)
        assert set_aside(copy) is None
