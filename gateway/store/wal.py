"""Whether a WAL lost commits in its middle, which SQLite takes for its end."""

import struct
from collections.abc import Iterator
from pathlib import Path

HEADER, FRAME = 32, 24
_MAGIC = 0x377F0682
_MASK = 2**32 - 1


def broken(wal: Path) -> bool:
    """Whether whole commits follow a frame that cannot be read.

    A crash leaves at most one unfinished commit at the end. Commits behind a bad frame were
    durable once, so the file was damaged later. (https://www.sqlite.org/fileformat2.html#walformat)
    """
    data = wal.read_bytes() if wal.exists() else b""
    if len(data) < HEADER:
        return False
    magic, _, size = struct.unpack(">III", data[:12])
    if magic & ~1 != _MAGIC or not size or size & size - 1:
        return True
    order = ">" if magic & 1 else "<"
    if _sum(order, data[:24], (0, 0)) != struct.unpack(">II", data[24:32]):
        return True
    return _commits_follow(data, size)


def frames(data: bytes, size: int) -> Iterator[tuple[int, bool]]:
    """Where the frames of a log with pages of `size` begin, and whether all sums hold up to there.

    What an earlier round left behind the newest frame is none of them.
    """
    order = ">" if data[3] & 1 else "<"
    total, good = _sum(order, data[:24], (0, 0)), True
    for at in range(HEADER, len(data) - FRAME - size + 1, FRAME + size):
        if data[at + 8 : at + 16] != data[16:24]:
            return
        if good:
            total = _sum(order, data[at : at + 8], total)
            total = _sum(order, data[at + FRAME : at + FRAME + size], total)
            good = total == struct.unpack(">II", data[at + 16 : at + 24])
        yield at, good


def _commits_follow(data: bytes, size: int) -> bool:
    last, commits = 0, []
    for last, good in frames(data, size):
        if not good and data[last + 4 : last + 8] != bytes(4):
            commits.append(last)
    return any(at != last for at in commits)


def _sum(order: str, data: bytes, total: tuple[int, int]) -> tuple[int, int]:
    a, b = total
    for x, y in struct.iter_unpack(f"{order}II", data):
        a = (a + x + b) & _MASK
        b = (b + y + a) & _MASK
    return a, b
