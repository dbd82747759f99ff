"""A backup, a restore, a salvage or a copy kept for it dies at any step: nothing is lost by it."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.repairs import Copy, Past, past, store_id

KEPT = ["keep.built", "keep.renamed", "write.synced", "write.renamed"]
BACKUP = ["backup.begun", "backup.copied", "backup.synced", "backup.placed"]
RESTORE = ["restore.copied", "restore.renewed", "restore.built"]
RESTORE_REPLACES = ["replace.noted", "replace.moved", "replace.placed"]
REPLACE = [
    "build.begun", "build.copied", "build.committed", "replace.begun", "replace.noted",
    "replace.moved", "replace.aside", "replace.placed", "replace.cleared",
]  # fmt: skip
SALVAGE = [
    "salvage.begun", "salvage.written:3", "salvage.committed:4", "salvage.compared",
    "salvage.told", "salvage.forgotten",
]  # fmt: skip
BY_HAND = ["salvage.written:2", "salvage.synced", "salvage.placed"]
PATCHED = ["build.committed", "salvage.told"]
ALL = (*KEPT, *BACKUP, *RESTORE, *RESTORE_REPLACES, *REPLACE, *SALVAGE, *BY_HAND)


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Past:
    return asyncio.run(past(tmp_path_factory.mktemp("past")))


@pytest.fixture
def copy(before: Past, tmp_path: Path) -> Copy:
    return Copy(before, tmp_path)


@pytest.mark.parametrize("step", KEPT)
def test_copies_kept_against_damage(copy: Copy, step: str) -> None:
    copy.database.with_name("gateway.db.schema").unlink()
    copy.dies(step)
    copy.starts()
    copy.whole(copy.database, copy.past.now)
    assert copy.aside() == []


@pytest.mark.parametrize("step", BACKUP)
def test_a_backup(copy: Copy, step: str) -> None:
    """The database and the older backup are as they were, or the new one is whole."""
    older = copy.backup.read_bytes()
    copy.dies(step, "backup", str(copy.backup), "--force")
    if step != "backup.placed":
        assert copy.backup.read_bytes() == older
        assert copy.run("backup", str(copy.backup), "--force") == 0
    copy.whole(copy.backup, copy.past.now)
    copy.whole(copy.database, copy.past.now)
    assert copy.left(".part") == []


@pytest.mark.parametrize("step", [*RESTORE, *RESTORE_REPLACES])
def test_a_restore(copy: Copy, step: str) -> None:
    """The database of before or the restored one stands, whole, and the other one is kept."""
    before = store_id(copy.database)
    copy.dies(step, "restore", str(copy.backup))
    copy.starts()
    restored = store_id(copy.database) != before
    assert restored == (step in RESTORE_REPLACES)
    copy.whole(copy.database, copy.past.then if restored else copy.past.now)
    for aside in copy.aside():
        copy.whole(aside, copy.past.now)
    assert len(copy.aside()) == restored
    assert copy.left(".new", ".swap") == []


@pytest.mark.parametrize("step", [*REPLACE, *SALVAGE])
def test_setting_a_database_aside_and_salvaging_it(copy: Copy, step: str) -> None:
    """A database that was taken for damaged, and is not, comes back whole, each reading once."""
    copy.database.with_name("gateway.db.suspect").touch()
    copy.dies(step)
    copy.starts()
    copy.whole(copy.database, copy.past.now)
    (aside,) = copy.aside()
    copy.whole(aside, copy.past.now)
    assert copy.left(".new", ".swap", ".suspect") == []


@pytest.mark.parametrize("step", PATCHED)
def test_a_patched_copy_goes_with_the_salvage(copy: Copy, step: str) -> None:
    """The copy in which a lost first page is replaced is as large as the database."""
    with closing(sqlite3.connect(copy.database)) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with copy.database.open("r+b") as file:
        file.write(b"lost" * 256)
    copy.dies(step)
    assert copy.left(".patched")
    copy.starts()
    copy.whole(copy.database, copy.past.now)


@pytest.mark.parametrize("step", BY_HAND)
def test_a_salvage_by_hand(copy: Copy, step: str) -> None:
    new = copy.folder / "new.db"
    call = ("salvage", str(copy.database), str(new))
    copy.dies(step, *call)
    placed = new.exists()
    assert placed == (step == "salvage.placed")
    assert copy.run(*call) == placed  # what is there is not overwritten
    copy.whole(new, copy.past.now)
    copy.whole(copy.database, copy.past.now)
