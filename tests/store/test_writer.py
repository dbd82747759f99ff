"""The connection that writes, and when it brings the WAL into the file."""

import shutil
import sqlite3
from pathlib import Path

from gateway.core.facts import JournalRow
from gateway.store.writer import LADEN_BYTES, Writer


def journal_row(number: int) -> JournalRow:
    return JournalRow(number, 0, 0, 0, 0, b"\0", 0, bytes(LADEN_BYTES // 4))


def in_file(path: Path) -> int:
    """How many journal rows the file holds without its WAL."""
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    with sqlite3.connect(f"file:{copy}?immutable=1", uri=True) as conn:
        return int(conn.execute("SELECT count(*) FROM journal").fetchone()[0])


def test_a_checkpoint_is_worth_it_once_the_wal_holds_much(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "gateway.db", "full")
    writer.open()
    writer.checkpoint()
    for number in range(1, 5):
        assert not writer.laden
        writer.store([journal_row(number)])
    assert writer.laden
    assert in_file(tmp_path / "gateway.db") == 0
    writer.checkpoint()
    assert not writer.laden
    assert in_file(tmp_path / "gateway.db") == 4
    writer.close()
    writer.checkpoint()  # what was asked for before the end may come after it
