"""The disk that fills, on a real small file system."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.core.room import BALLAST_SHARE, Room
from gateway.disk import AGAIN_S, Ballast, Disk, measured
from gateway.errors import StoreFull, StoreUnavailable
from tests.mounts import small_disk

MIB = 2**20
SIZE = 24 * MIB
FULL = StoreFull("no room")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", SIZE) as folder:
        yield folder


class Watched:
    """A disk, and what it told."""

    def __init__(self, folder: Path, *, before: Room = Room.PLENTY) -> None:
        self.folder = folder
        self.told: list[Room] = []
        self.ballast = Ballast(folder / "ballast")
        self.disk = Disk(
            folder,
            ballast=self.ballast,
            size=lambda: 0.0,
            written=lambda: 0.0,
            before=before,
            changed=self.told.append,
        )

    def fill(self, ratio: float) -> None:
        """Let a junk file make the disk that full, the ballast counted."""
        junk = self.folder / "junk"
        junk.unlink(missing_ok=True)
        usage = measured(self.folder)
        with junk.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, int(usage.total * ratio) - usage.used))

    async def at(self, ratio: float) -> Room:
        self.fill(ratio)
        await self.disk.look()
        return self.disk.room


@pytest.fixture
def watched(folder: Path) -> Watched:
    return Watched(folder)


def patient(disk: Disk) -> None:
    """As if the time until the ballast may be made again had passed."""
    disk._make_at -= AGAIN_S


def test_the_figures_are_those_of_df(watched: Watched) -> None:
    watched.fill(0.5)
    row = subprocess.run(
        ["df", "-B1", "--output=used,avail", watched.folder],
        check=True, capture_output=True, text=True,
    ).stdout.splitlines()[1]  # fmt: skip
    assert measured(watched.folder) == tuple(map(int, row.split()))


async def test_the_states_are_told_when_they_change(watched: Watched) -> None:
    for ratio in (0.5, 0.8, 0.86, 0.84, 0.96, 0.94, 0.9, 0.84, 0.8, 0.5):
        await watched.at(ratio)
    assert watched.told == [Room.SHORT, Room.FULL, Room.SHORT, Room.PLENTY]


async def test_a_ballast_takes_real_space(watched: Watched) -> None:
    before = measured(watched.folder)
    await watched.disk.look()
    held = watched.ballast.held
    assert held == int(before.total * BALLAST_SHARE)
    assert measured(watched.folder).used - before.used >= held
    assert (watched.folder / "ballast").stat().st_mode & 0o777 == 0o600


async def test_no_ballast_is_made_on_a_disk_that_is_nearly_short(watched: Watched) -> None:
    assert await watched.at(0.82) is Room.PLENTY
    assert watched.ballast.held == 0
    assert await watched.at(0.79) is Room.PLENTY
    assert watched.ballast.held > 0
    assert measured(watched.folder).ratio() < 0.85


async def test_a_refused_commit_gets_the_ballast_and_means_full(watched: Watched) -> None:
    await watched.at(0.3)
    held = watched.ballast.held
    free = measured(watched.folder).available
    watched.disk.committed(FULL)
    assert watched.disk.room is Room.FULL
    assert measured(watched.folder).available >= free + held
    watched.disk.committed(None)
    assert watched.told == [Room.FULL, Room.PLENTY]


async def test_the_ballast_goes_at_98_percent_and_is_not_for_readings(watched: Watched) -> None:
    await watched.disk.look()
    held = watched.ballast.held
    assert await watched.at(0.985) is Room.FULL
    assert watched.ballast.held == 0
    assert measured(watched.folder).ratio() < 0.95
    await watched.disk.look()
    assert watched.disk.room is Room.FULL, "the space of the ballast is owed"
    assert watched.ballast.owed == held
    assert await watched.at(0.87) is Room.SHORT
    assert watched.ballast.held == 0
    patient(watched.disk)
    assert await watched.at(0.7) is Room.PLENTY
    assert (watched.ballast.held, watched.ballast.owed) == (held, 0)


async def test_a_ballast_that_was_needed_is_not_made_at_once(watched: Watched) -> None:
    await watched.disk.look()
    watched.disk.committed(FULL)
    watched.disk.committed(None)
    await watched.disk.look()
    assert watched.ballast.held == 0
    patient(watched.disk)
    await watched.disk.look()
    assert watched.ballast.held > 0


async def test_a_disk_that_cannot_be_written_is_not_full(watched: Watched) -> None:
    await watched.disk.look()
    held = watched.ballast.held
    watched.disk.committed(StoreUnavailable("EIO"))
    assert watched.disk.room is Room.PLENTY
    assert watched.ballast.held == held


async def test_what_an_earlier_run_told_is_told_again_or_taken_back(folder: Path) -> None:
    still, over = (Watched(folder, before=Room.FULL) for _ in range(2))
    await still.at(0.96)
    await still.disk.look()
    assert still.told == [Room.FULL]
    await over.at(0.5)
    assert over.told == [Room.PLENTY]


def test_a_ballast_that_does_not_fit_leaves_nothing_behind(watched: Watched) -> None:
    watched.fill(0.9)
    watched.ballast.make(5 * MIB)
    assert not (watched.folder / "ballast").exists()
    assert measured(watched.folder).ratio() == pytest.approx(0.9, abs=0.01)
    assert not watched.ballast.free()


async def test_a_ballast_of_an_earlier_run_is_given_up_too(watched: Watched, folder: Path) -> None:
    await watched.disk.look()
    later = Watched(folder)
    assert later.ballast.held == watched.ballast.held
    assert later.ballast.free()
    assert list(folder.iterdir()) == []
