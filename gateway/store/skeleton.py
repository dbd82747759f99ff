"""A copy of the pages that say where everything else in the database is.

These are page 1 and the pages below it that hold `sqlite_schema`, overflow pages too. They change
only with the schema; without them not a row of a sound file can be found. Copy: u32 page size, then
u32 number and the page, each (https://www.sqlite.org/fileformat2.html).
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from gateway.store.files import write

_INTERIOR, _LEAF = 5, 13
_HEADER = 100


def save(path: Path, to: Path) -> None:
    """Copy the pages of a sound database whose WAL is empty; ValueError if it is not sound."""
    with path.open("rb") as file:
        size = _page_size(file.read(_HEADER))
        found: dict[int, bytes] = {}
        _gather(file, size, 1, found)
    pages = b"".join(struct.pack(">I", number) + page for number, page in found.items())
    content = struct.pack(">I", size) + pages
    if not to.exists() or to.read_bytes() != content:
        write(to, content)


def _gather(file: BinaryIO, size: int, number: int, found: dict[int, bytes]) -> None:
    """Put a page of the tree, and all below it, into `found`."""
    page = found[number] = _page(file, size, number)
    at = _HEADER if number == 1 else 0
    for below in _below(page, at, size):
        if page[at] == _INTERIOR:
            _gather(file, size, below, found)
            continue
        while below:
            found[below] = _page(file, size, below)
            (below,) = struct.unpack_from(">I", found[below])  # noqa: PLW2901


def _page(file: BinaryIO, size: int, number: int) -> bytes:
    file.seek((number - 1) * size)
    return file.read(size)


def _page_size(header: bytes) -> int:
    if not header.startswith(b"SQLite format 3\0"):
        raise ValueError("not an SQLite database")
    (size,) = struct.unpack(">H", header[16:18])
    return 65536 if size == 1 else int(size)


def _below(page: bytes, at: int, size: int) -> Iterator[int]:
    """The pages that a page of the schema's tree, whose header is at `at`, leads to."""
    kind = page[at]
    if kind not in (_INTERIOR, _LEAF):
        raise ValueError(f"a page of type {kind} holds the schema")
    (cells,) = struct.unpack_from(">H", page, at + 3)
    first = at + (12 if kind == _INTERIOR else 8)
    for (place,) in struct.iter_unpack(">H", page[first : first + 2 * cells]):
        where = place if kind == _INTERIOR else _overflow(page, place, size)
        if where is not None:
            yield struct.unpack_from(">I", page, where)[0]
    if kind == _INTERIOR:
        yield struct.unpack_from(">I", page, at + 8)[0]


def _overflow(page: bytes, place: int, size: int) -> int | None:
    """Where a leaf's cell names the page that it goes on in, None if it does not."""
    payload, at = _varint(page, place)
    _, at = _varint(page, at)
    if payload <= size - 35:
        return None
    least = (size - 12) * 32 // 255 - 23
    local = least + (payload - least) % (size - 4)
    return at + (local if local <= size - 35 else least)


def _varint(page: bytes, at: int) -> tuple[int, int]:
    """A number of at most 32 bits and where it ends."""
    number = page[at] & 127
    while page[at] & 128:
        at += 1
        number = number << 7 | page[at] & 127
    return number, at + 1


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
