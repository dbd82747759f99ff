"""Files beside the database that are missing, stale or left over: the gateway starts, none lost."""

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.campaign import Scene


def no_wal(data: Path) -> None:
    """The WAL is gone; all of it had been checkpointed."""
    checkpoint(data)
    (data / "gateway.db-wal").unlink(missing_ok=True)
    (data / "gateway.db-shm").unlink(missing_ok=True)


def old_wal(data: Path) -> None:
    """A WAL that was checkpointed long ago reappears beside the newer database."""
    checkpoint(data)
    shutil.copy(data / "earlier-wal", data / "gateway.db-wal")


def foreign_wal(data: Path) -> None:
    """The WAL is that of another database."""
    checkpoint(data)
    other = data / "other.db"
    conn = sqlite3.connect(other)
    conn.execute("PRAGMA journal_mode = WAL")
    conn.executescript("CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(9000));")
    shutil.copy(f"{other}-wal", data / "gateway.db-wal")
    conn.close()
    other.unlink()


def torn_wal(data: Path) -> None:
    """The WAL ends in the middle of a frame that no commit follows."""
    with (data / "gateway.db-wal").open("r+b") as wal:
        frame = wal.read(632)[32:]
        wal.seek(0, 2)
        wal.write(frame[:4] + bytes(4) + frame[8:])


def no_shm(data: Path) -> None:
    """The index of the WAL is gone, the WAL is not."""
    (data / "gateway.db-shm").unlink()


def noisy_shm(data: Path) -> None:
    """The index of the WAL is noise."""
    shm = data / "gateway.db-shm"
    shm.write_bytes(random.Random(1).randbytes(shm.stat().st_size))


def empty_shm(data: Path) -> None:
    (data / "gateway.db-shm").write_bytes(b"")


def leftovers(data: Path) -> None:
    """What an interrupted backup, an earlier run or somebody else left."""
    for name in ("ballast", "backup.db.part", "gateway.db.part", "gateway.db-journal", "notes.txt"):
        (data / name).write_bytes(b"x" * 5000)


def checkpoint(data: Path) -> None:
    """Bring all of the WAL into the database, and keep the WAL as it was."""
    shutil.copy(data / "gateway.db-wal", data / "earlier-wal")
    conn = sqlite3.connect(data / "gateway.db")
    conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    conn.close()


CASES = [no_wal, old_wal, foreign_wal, torn_wal, no_shm, noisy_shm, empty_shm, leftovers]


@pytest.mark.parametrize("manipulations", [CASES[:4], CASES[4:]], ids=["wal", "others"])
async def test_the_gateway_starts_and_nothing_is_lost(
    tmp_path: Path, manipulations: list[Callable[[Path], None]]
) -> None:
    scene = Scene(tmp_path, 7)
    try:
        await asyncio.to_thread(scene.gateway.start)
        async with scene.load():
            for manipulate in manipulations:
                await asyncio.sleep(0.4)
                scene.gateway.kill()
                manipulate(scene.database.parent)
                await asyncio.to_thread(scene.gateway.start)
                await asyncio.sleep(0.2)
                scene.gateway.kill()
                verdict = await scene.check()
                assert verdict.found == [], manipulate.__name__
                assert verdict.acknowledged > 0
                await asyncio.to_thread(scene.gateway.start)
        assert await asyncio.to_thread(scene.gateway.stop) == 0
    finally:
        scene.gateway.kill()
    assert (await scene.check()).found == []
