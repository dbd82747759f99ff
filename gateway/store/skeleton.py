"""A copy of the pages that say where everything else in the database is.

These are page 1 and the pages below it that hold `sqlite_schema`. They change only with the
schema; without them not a row of a sound file can be found. Copy: u32 page size, then u32 number
and the page, each (https://www.sqlite.org/fileformat2.html).
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from gateway.store.files import write

_INTERIOR, _LEAF = 5, 13
_HEADER = 100
_MOST_PAGES = 64


def save(path: Path, to: Path) -> None:
    """Copy the pages of a sound database whose WAL is empty; ValueError if it is not sound."""
    with path.open("rb") as file:
        size = _page_size(file.read(_HEADER))
        found: dict[int, bytes] = {}
        waiting = [1]
        while waiting and len(found) < _MOST_PAGES:
            number = waiting.pop()
            file.seek((number - 1) * size)
            found[number] = file.read(size)
            waiting += _children(found[number], _HEADER if number == 1 else 0)
    pages = b"".join(struct.pack(">I", number) + page for number, page in found.items())
    content = struct.pack(">I", size) + pages
    if not to.exists() or to.read_bytes() != content:
        write(to, content)


def _page_size(header: bytes) -> int:
    if not header.startswith(b"SQLite format 3\0"):
        raise ValueError("not an SQLite database")
    (size,) = struct.unpack(">H", header[16:18])
    return 65536 if size == 1 else int(size)


def _children(page: bytes, at: int) -> Iterator[int]:
    if page[at] == _LEAF:
        return
    if page[at] != _INTERIOR:
        raise ValueError(f"a page of type {page[at]} holds the schema")
    (cells,) = struct.unpack_from(">H", page, at + 3)
    for i in range(cells):
        (place,) = struct.unpack_from(">H", page, at + 12 + 2 * i)
        yield struct.unpack_from(">I", page, place)[0]
    yield struct.unpack_from(">I", page, at + 8)[0]


def lay(skeleton: Path, path: Path) -> None:
    """Put the pages into a damaged database. Its free pages are forgotten: only read it."""
    content = skeleton.read_bytes()
    (size,) = struct.unpack_from(">I", content)
    with path.open("r+b") as file:
        pages = file.seek(0, 2) // size
        for at in range(4, len(content), 4 + size):
            (number,) = struct.unpack_from(">I", content, at)
            file.seek((number - 1) * size)
            file.write(content[at + 4 : at + 4 + size])
        file.seek(28)
        file.write(struct.pack(">III", max(pages, 1), 0, 0))
        file.seek(24)
        changes = file.read(4)
        file.seek(92)
        file.write(changes)
