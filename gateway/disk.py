"""The disk that the data folder is on: how full it is, and a ballast file for when it is full.

The ballast keeps some space back. It is given up when a commit finds no room, so that what
devices were allowed to send can be stored and old rows be deleted; it is made again later.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from gateway.core.room import BALLAST_AT, Growth, Room, Usage, ballast_size, judge
from gateway.errors import StoreError, StoreFull
from gateway.measures import Measures

log = logging.getLogger(__name__)

PERIOD_S = 1.0
AGAIN_S = 10.0
"""So long after its space was needed, or could not be had, the ballast is made again."""
DAY_S = 86_400
_LEVELS = {Room.PLENTY: logging.INFO, Room.SHORT: logging.WARNING, Room.FULL: logging.ERROR}
_ADVICE = {
    Room.PLENTY: "there is room again",
    Room.SHORT: "delete files, keep readings for fewer days, or use a bigger disk",
    Room.FULL: "devices keep what they measure until there is room: delete files, keep readings "
    "for fewer days, or use a bigger disk; the gateway goes on by itself",
}


class Ballast:
    """A file that is worth nothing but its size. `owed`: bytes that were given up."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.owed = 0

    @property
    def held(self) -> int:
        """Bytes that it keeps back at present."""
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def free(self) -> bool:
        """Give the space up; say whether there was any."""
        held = self.held
        if held:
            with suppress(OSError):  # a disk that is gone or read-only has other troubles
                self._path.unlink(missing_ok=True)
        freed = held - self.held
        self.owed = freed or self.owed
        return freed > 0

    def make(self, size: int) -> None:
        """Take `size` bytes of the disk, or nothing if they cannot be had."""
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(file, 0, size)
            finally:
                os.close(file)
        except OSError as error:
            log.debug("no ballast: %s", error)
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
        else:
            self.owed = 0


class Disk:
    """Looks at the disk once a second, and tells of each change of its state.

    size, written: bytes that the store holds, and that this process has written so far.
    before: the state that an earlier run told last; if it still lasts it is told again.
    changed: told of every new state.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ballast: Ballast,
        size: Callable[[], float],
        written: Callable[[], float],
        before: Room,
        changed: Callable[[Room], None],
    ) -> None:
        self._folder = folder
        self.ballast = ballast
        self._size = size
        self._written = written
        self._changed = changed
        self._refused = False
        self._told = before is Room.PLENTY
        self._make_at = 0.0
        self._stored_growth, self._written_growth = Growth(), Growth()
        self.room = before
        self.usage = measured(folder)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self.look()
            except OSError as error:
                log.debug("%s cannot be looked at: %s", self._folder, error)
            await asyncio.sleep(PERIOD_S)

    async def look(self) -> None:
        """Measure, and give up or make the ballast. Raises OSError if the disk does not answer."""
        self.usage = await asyncio.to_thread(measured, self._folder)
        self._stored_growth.add(time.monotonic(), self._size())
        self._written_growth.add(time.monotonic(), self._written())
        if self.usage.ratio() >= BALLAST_AT:
            await asyncio.to_thread(self.ballast.free)
        self._judge()
        if self.room is Room.PLENTY and time.monotonic() >= self._make_at:
            await self._hold_back()

    async def _hold_back(self) -> None:
        size = 0 if self.ballast.held else ballast_size(self.usage)
        if size:
            self._make_at = time.monotonic() + AGAIN_S
            await asyncio.to_thread(self.ballast.make, size)

    def committed(self, error: StoreError | None) -> None:
        """To be told of every try of a commit: fast devices fill a small disk within a second."""
        self._refused = isinstance(error, StoreFull)
        with suppress(OSError):
            self.usage = measured(self._folder)
        if self._refused:
            self._make_at = time.monotonic() + AGAIN_S
            self.ballast.free()
        self._judge()

    def _judge(self) -> None:
        """What was given up counts as used: it is not for more readings."""
        room = judge(self.room, self.usage.ratio(self.ballast.owed), refused=self._refused)
        if room is not self.room or not self._told:
            self.room, self._told = room, True
            text = "the disk of %s is %s: %s"
            log.log(_LEVELS[room], text, self._folder, self.words, _ADVICE[room])
            self._changed(room)

    def full(self) -> bool:
        """Whether devices may send nothing new."""
        return self.room is Room.FULL

    @property
    def words(self) -> str:
        """How full it is, for people."""
        return f"{self.used_share:.1%} full ({self.usage.available / 1e6:.1f} MB free)"

    # -- figures ----------------------------------------------------------------------------

    def measure(self, measures: Measures) -> None:
        """Name the figures for `/metrics`."""
        measures.gauge("disk_used_ratio", "Used share of the disk", lambda: self.used_share)
        measures.gauge("disk_state", "0 plenty of room, 1 short, 2 full", lambda: self.room)
        measures.gauge("store_bytes", "Size of the database with its WAL", self._size)
        measures.gauge("written_bytes", "Bytes written to disk since the start", self._written)
        measures.gauge(
            "store_time_to_full_seconds",
            "When the disk will be full as the store grew in the last hour; -1 if it does not grow",
            lambda: -1 if self.seconds_to_full is None else self.seconds_to_full,
        )
        measures.gauge(
            "written_bytes_per_day",
            "Bytes written a day, as in the last hour",
            lambda: self.written_per_day,
        )

    @property
    def used_share(self) -> float:
        """0 to 1, as `df` has it."""
        return self.usage.ratio()

    @property
    def stored(self) -> int:
        """Bytes of the store."""
        return int(self._size())

    @property
    def seconds_to_full(self) -> float | None:
        """When the disk will be full as the store grows now; None if it does not grow."""
        return self._stored_growth.seconds_left(self.usage.available)

    @property
    def written_per_day(self) -> int:
        """Bytes that this process writes a day, as in the last hour."""
        return int(self._written_growth.per_second() * DAY_S)


def measured(folder: Path) -> Usage:
    """Raises OSError."""
    found = os.statvfs(folder)
    return Usage((found.f_blocks - found.f_bfree) * found.f_frsize, found.f_bavail * found.f_frsize)


def size_of(database: Path) -> float:
    """Bytes of the database with its WAL."""
    files = (database, database.with_name(database.name + "-wal"))
    return float(sum(file.stat().st_size for file in files if file.exists()))


def written_bytes() -> float:
    """Bytes that this process caused to be written, by the kernel's own account (proc(5))."""
    try:
        text = Path("/proc/self/io").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return float(dict(line.split(": ") for line in text.splitlines())["write_bytes"])
