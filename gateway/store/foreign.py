"""A WAL of another database beside ours: SQLite cannot tell, and would write its pages into ours.

Formats: https://www.sqlite.org/fileformat2.html, The Write-Ahead Log.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from gateway.store.wal import FRAME, HEADER, frames

_ID = slice(68, 72)  # of the application, in page 1
_FIRST = b"\0\0\0\1"


def set_aside(path: Path) -> Path | None:
    """Rename the WAL of the database `path` if it is of another application; where it is now.

    Seen by the application's number in its copies of page 1, and by the size of its pages.
    """
    wal = path.with_name(path.name + "-wal")
    if not (path.exists() and wal.exists()):
        return None
    with path.open("rb") as database, wal.open("rb") as log:
        ours = database.read(100)
        if len(ours) < 100 or not any(ours[_ID]) or not _is_foreign(ours, log):
            return None
    aside = _free(wal)
    wal.rename(aside)
    return aside


def _is_foreign(ours: bytes, log: BinaryIO) -> bool:
    head = log.read(HEADER)
    if len(head) < HEADER:
        return False
    (size,) = struct.unpack(">I", head[8:12])
    (own,) = struct.unpack(">H", ours[16:18])
    if size != (65_536 if own == 1 else own):
        return True
    pages = _first_pages(log, size, salt=head[16:24])
    return any(page[_ID] != ours[_ID] for page in pages) and _is_whole(ours, log, size)


def _is_whole(ours: bytes, log: BinaryIO, size: int) -> bool:
    """Whether such a page 1 is not just one that a crash tore."""
    log.seek(0)
    data = log.read()
    for at, good in frames(data, size):
        page = data[at + FRAME : at + FRAME + 100]
        if good and data[at : at + 4] == _FIRST and page[_ID] != ours[_ID]:
            return True
    return False


def _first_pages(log: BinaryIO, size: int, *, salt: bytes) -> Iterator[bytes]:
    """The first bytes of every page 1 in the log, as far as its frames belong together."""
    at = HEADER
    while len(frame := log.read(FRAME)) == FRAME and frame[8:16] == salt:
        if frame[:4] == _FIRST:
            yield log.read(100)
        at += FRAME + size
        log.seek(at)


def _free(wal: Path) -> Path:
    names = (wal.with_name(f"{wal.name}.foreign{n or ''}") for n in range(1000))
    return next(name for name in names if not name.exists())
