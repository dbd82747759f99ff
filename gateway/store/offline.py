"""Work on databases that no gateway has open: restoring, verifying, salvaging by hand."""

import sqlite3
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from gateway.core import chunks
from gateway.core import facts as f
from gateway.core.reopened import reopened
from gateway.core.windows import Window
from gateway.crashpoints import reached
from gateway.errors import StoreCorrupt, StoreError, StoreUnavailable
from gateway.store import backup, files, starting
from gateway.store.catalogue import Catalogue
from gateway.store.connect import WriterLock, open_reader, open_writer, translated
from gateway.store.damaged import Hole, open_damaged, walk
from gateway.store.gaps import gaps
from gateway.store.journal import decode, unpack
from gateway.store.opening import load
from gateway.store.salvage import Salvage, State, apply, pieces
from gateway.store.statements import write
from gateway.store.takeover import select

DAMAGE = 3
"""The reason of a loss that a damaged database caused (docs/wire.md)."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the writer's lock of the database at `path`; StoreBusy if a gateway runs."""
    lock = WriterLock(path.with_name("gateway.lock"))
    lock.take()
    try:
        yield
    finally:
        lock.give_up()


def restore(path: Path, file: Path) -> Path | None:
    """See `backup.restore`."""
    with locked(path):
        return backup.restore(path, file)


def salvage(path: Path, to: Path, windows: Sequence[Window]) -> State:
    """Write what can be read of the database at `path` to the new file `to`; it is only read."""
    if not path.exists():
        raise StoreUnavailable(f"{path} is not there")
    if to.exists():
        raise StoreError(f"{to} exists already: choose another name")
    part = files.beside(to, ".part")
    patched = files.beside(to, files.PATCHED)
    with files.reported(to), translated(to):
        try:
            with starting.readable(path, patched=patched) as source:
                starting.build(
                    part, [source, files.beside(path, files.CATALOGUE)], State(path.name, path.name)
                )
                with closing(open_damaged(source)) as old:
                    state = _bring(old, part, windows)
            files.sync(part)
            reached("salvage.synced")
            part.replace(to)
            reached("salvage.placed")
            files.sync(to.absolute().parent)
        finally:
            files.remove(part)
            files.remove(patched)
    return state


def _bring(old: sqlite3.Connection, part: Path, windows: Sequence[Window]) -> State:
    now = time.time_ns() // 10**6
    with closing(open_writer(part, "full")) as conn, closing(open_reader(part)) as known:
        meta = dict(conn.execute("SELECT key, value FROM meta").fetchall())
        state = State.of(meta)
        assert state is not None
        dues = partial(reopened, windows, state.watermark_ns)
        work = Salvage(old, known, dues, now)
        for piece in pieces(work, state):
            conn.execute("BEGIN IMMEDIATE")
            apply(conn, piece)
            conn.execute("COMMIT")
            state = piece.state
        highest = load(conn).highest["loss"]
        losses = [
            f.Loss(number, *gap, DAMAGE, None, now)
            for number, gap in enumerate(gaps(old, known, state.positions), highest + 1)
        ]
        conn.execute("BEGIN IMMEDIATE")
        write(conn, [*losses, f.MetaSet("salvage", "")])
        conn.execute("COMMIT")
    return state.tell("gaps", 0, len(losses))


# -- verifying ------------------------------------------------------------------------------


class Report(NamedTuple):
    """What was looked at, and every problem in words."""

    journal_rows: int
    messages: int
    chunks: int
    readings: int
    problems: list[str]


def verify(path: Path) -> Report:
    """Look at every page, journal row, chunk and stream position; reads only."""
    with translated(path), closing(open_damaged(path)) as conn:
        found, _ = starting.quick_check(conn, lambda: False)
        if found is not None:
            return Report(0, 0, 0, 0, [found])
        problems: list[str] = []
        catalogue = Catalogue(conn)
        reached: dict[int, int] = {}
        rows, messages, readings = _journal(conn, catalogue, reached, problems)
        held, more = _chunks(conn, problems)
        return Report(rows, messages, held, readings + more, problems)


def _journal(
    conn: sqlite3.Connection,
    catalogue: Catalogue,
    reached: dict[int, int],
    problems: list[str],
) -> tuple[int, int, int]:
    rows = messages = readings = 0
    for row in walk(conn, select("journal", ["id", "header", "body", "crc"])):
        rows += 1
        if isinstance(row, Hole):
            problems.append(f"journal rows from {row.first} on cannot be read")
            continue
        try:
            for entry in unpack(*row[1:]):
                readings += len(decode(entry, catalogue))
                catalogue.device(entry.stream)
                messages += 1
                problems += _position(row[0], entry.stream, entry.seq, reached)
                reached[entry.stream] = entry.last
        except (StoreCorrupt, KeyError) as error:
            problems.append(f"journal row {row[0]}: {error}")
    return rows, messages, readings


def _position(row: int, stream: int, seq: int, reached: dict[int, int]) -> Iterator[str]:
    before = reached.get(stream, 0)
    if seq <= before:
        yield f"journal row {row}: message {seq} of stream {stream} comes after message {before}"


def _chunks(conn: sqlite3.Connection, problems: list[str]) -> tuple[int, int]:
    held = readings = 0
    for row in walk(conn, select("chunk", ["id", "readings", "crc", "body"])):
        if isinstance(row, Hole):
            problems.append(f"chunks from {row.first} on cannot be read")
            continue
        number, n, crc, body = row
        held += 1
        readings += n
        try:
            if zlib.crc32(body) != crc:
                problems.append(f"chunk {number}: its checksum does not match")
            elif sum(len(run.t) for run in chunks.decode(body)) != n:
                problems.append(f"chunk {number}: it does not hold {n} readings")
        except ValueError as error:
            problems.append(f"chunk {number}: {error}")
    return held, readings
