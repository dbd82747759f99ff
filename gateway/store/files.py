"""The database's files beside one another: set aside whole, and replaced in one step.

`NAME.new` is built first and `NAME.swap` written then; from that moment on the replacement is
certain: `finish` completes it, at once or at the next start.
"""

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.crashpoints import reached
from gateway.errors import StoreFull, StoreUnavailable

SIDES = ("", "-wal", "-shm", "-journal")
NEW, SWAP, SUSPECT = ".new", ".swap", ".suspect"
SCHEMA, CATALOGUE, PATCHED = ".schema", ".catalogue", ".patched"


def beside(path: Path, suffix: str) -> Path:
    """The file whose name is that of `path` and `suffix`."""
    return path.with_name(path.name + suffix)


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Raise OSErrors as StoreErrors that name `path`."""
    try:
        yield
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        kind = StoreFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreUnavailable
        raise kind(f"{error.filename or path}: {words}") from error


def free_name(path: Path, why: str) -> Path:
    """A name beside `path` that nothing has, such as gateway.db.damaged-20260131T120000."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    found, count = beside(path, f".{why}-{stamp}"), 1
    while any(beside(found, side).exists() for side in SIDES):
        count += 1
        found = beside(path, f".{why}-{stamp}-{count}")
    return found


def replace(path: Path, target: Path) -> None:
    """Set the database aside as `target`, and put what was built as `NAME.new` in its place."""
    sync(beside(path, NEW))
    reached("replace.begun")
    write(beside(path, SWAP), target.name.encode())
    reached("replace.noted")
    finish(path)


def finish(path: Path) -> None:
    """Complete a replacement that is certain; what was built for one that is not goes."""
    swap, new = beside(path, SWAP), beside(path, NEW)
    if not swap.exists():
        remove(new)
        return
    if new.exists():
        _move(path, path.with_name(swap.read_text()))
        sync(path.parent)
        reached("replace.aside")
        new.rename(path)
        sync(path.parent)
        reached("replace.placed")
    for suffix in (SUSPECT, SCHEMA, CATALOGUE):  # they speak of the one that went
        beside(path, suffix).unlink(missing_ok=True)
    reached("replace.cleared")
    swap.unlink()
    sync(path.parent)


def _move(path: Path, target: Path) -> None:
    for side in SIDES:
        if beside(path, side).exists():
            beside(path, side).rename(beside(target, side))
            reached("replace.moved")


def remove(path: Path) -> None:
    """Delete a database that nobody needs, with what belongs to it."""
    for side in SIDES:
        beside(path, side).unlink(missing_ok=True)


def copy(path: Path, target: Path) -> None:
    """Copy a database with its WAL."""
    remove(target)
    for side in ("", "-wal"):
        if beside(path, side).exists():
            shutil.copyfile(beside(path, side), beside(target, side))


def write(path: Path, content: bytes) -> None:
    """Write a small file: after a crash it has its old or its new content."""
    part = beside(path, ".part")
    part.write_bytes(content)
    sync(part)
    reached("write.synced")
    part.replace(path)
    reached("write.renamed")
    sync(path.parent)


def sync(path: Path) -> None:
    """fsync a file or a folder."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
