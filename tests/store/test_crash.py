"""A writer that is killed in the middle of its commits loses nothing that it acknowledged."""

import asyncio
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from gateway.core import facts as f
from gateway.store.sqlite import SqliteStore
from tests.store.samples import NOW, entry, event, put, row, world

KILLS = 8
ROOT = Path(__file__).parents[2]


async def write_for_ever(path: Path) -> None:
    """Commit group after group, and say so on stdout after each."""
    store = SqliteStore(path)
    opened = await store.open()
    number = opened.highest["journal"]
    if not opened.devices:
        await store.commit(world())
    while True:
        number += 1
        await store.commit(
            [
                f.StreamMoved(number, NOW, 1),
                row(number, *(entry(number, NOW + number, [number % 1000]) for _ in range(20))),
                event(number),
                put(number, payload=str(number).encode()),
            ]
        )
        print(number, flush=True)


def run_and_kill(path: Path, *, after: int) -> int:
    """Start a writer, kill it after so many commits; give the last number it acknowledged."""
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.store.test_crash", str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    lines = [writer.stdout.readline() for _ in range(after)]
    writer.send_signal(signal.SIGKILL)
    lines += writer.stdout.readlines()
    assert writer.wait() == -signal.SIGKILL
    writer.stdout.close()
    return int([line for line in lines if line.endswith("\n")][-1])


async def stored(path: Path) -> int:
    """Check that the store is whole; give the number of the newest commit in it."""
    store = SqliteStore(path)
    opened = await store.open()
    assert not opened.clean
    rows = [one async for one in store.journal_rows()]
    newest = opened.highest["journal"]
    assert [one.row for one in rows] == list(range(1, newest + 1))
    assert all(len(batch) == 4 for one in rows for _, batch in one.batches)
    assert [stream.committed for stream in opened.streams] == [newest]
    assert await store.event_bounds() == (1, newest)
    assert (await store.outbox_stats()).depth == newest
    await store.close()
    with sqlite3.connect(path) as conn:
        assert conn.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    conn.close()
    return newest


async def test_every_acknowledged_commit_is_there(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    at = random.Random(7)
    for _ in range(KILLS):
        acknowledged = run_and_kill(path, after=at.randint(1, 60))
        assert acknowledged <= await stored(path) <= acknowledged + 1


async def test_a_rollback_journal_is_rolled_back(tmp_path: Path) -> None:
    """What a crash leaves while the file is still made, before its journal mode is WAL."""
    path, copy = tmp_path / "gateway.db", tmp_path / "copy" / "gateway.db"
    copy.parent.mkdir()
    store = SqliteStore(path)
    await store.open()
    await store.commit(world())
    await store.close()
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("PRAGMA journal_mode = DELETE")
    conn.execute("PRAGMA cache_size = 1")
    conn.execute("BEGIN")
    conn.execute("UPDATE meta SET value = '0' WHERE key = 'clean'")
    conn.execute("DELETE FROM device")
    conn.execute("INSERT INTO rejected VALUES (9, 9, '', 9, 9, '', 9, zeroblob(1000000))")
    for side in ("", "-journal"):
        shutil.copy(f"{path}{side}", f"{copy}{side}")
    conn.close()
    store = SqliteStore(copy)
    assert (await store.open()).devices
    await store.close()
    assert [file.name for file in copy.parent.iterdir() if "damaged" in file.name] == []


if __name__ == "__main__":
    asyncio.run(write_for_ever(Path(sys.argv[1])))
