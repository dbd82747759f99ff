"""What comes back of a damaged database, row by row, once; and what is told to be lost."""

import asyncio
import os
import sqlite3
import zlib
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.core import chunks
from gateway.core import facts as f
from gateway.core.chunks import Run
from gateway.core.readings import NS_PER_MS, Clock
from gateway.core.reopened import reopened
from gateway.core.windows import parse_window
from gateway.errors import StoreError
from gateway.store import files, offline, skeleton, starting, wal
from gateway.store.connect import open_reader
from gateway.store.damaged import Hole, open_damaged, walk
from gateway.store.gaps import Gap, gaps
from gateway.store.rescue import Rescue
from gateway.store.salvage import LAST, State
from gateway.store.sqlite import SqliteStore
from tests.store.contract import gathered
from tests.store.samples import NOW, entry, event, gap_entry, made, order, put, row, world

ROWS = 300
ALERT = f.AlertStands(9, "acknowledged", NOW, None, 5, '{"n":9}', "hot", "shed-1", "temperature")
NONE = partial(reopened, [], 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


def ask(path: Path, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as conn, conn:
        return conn.execute(sql, values).fetchall()


def page_size(path: Path) -> int:
    return int(ask(path, "PRAGMA page_size")[0][0])


def chunk(series: int, t0: int, n: int) -> tuple[Any, ...]:
    t = np.arange(n, dtype=np.int64) * 10**9 + t0 * NS_PER_MS
    body = chunks.encode([Run("Cel", Clock.DEVICE, b"", t, np.arange(n, dtype=np.float64))])
    return series, int(t[0]), int(t[-1]), n, 0, zlib.crc32(body), body


async def filled(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.commit(world())
    for number in range(1, ROWS + 1):
        facts = [row(number, entry(number, NOW + number * 10, [number])), event(number)]
        await store.commit([*facts, f.StreamMoved(number, NOW, 1)])
    await store.commit(
        [made(1, NOW), put(1), put(2), f.OutboxDone(NOW, 2), order(1), order(2, "done")]
    )
    await store.commit([f.MetaSet("watermark_ns", str((NOW + 1000) * NS_PER_MS)), ALERT])
    await store.close()
    columns = "series, t_min_ns, t_max_ns, readings, row, crc, body"
    sql = f"INSERT INTO chunk ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)"
    for number in range(4):
        ask(path, sql, *chunk(1, NOW - 10**6 + number * 10**5, 50))


async def salvaged(path: Path) -> State:
    """Set the database aside as the next start does, and bring all of it back."""
    files.beside(path, files.SUSPECT).touch()
    store = SqliteStore(path)
    await store.open()
    rescue = Rescue(store)
    state = await rescue.state()
    assert state is not None
    async for piece in rescue.salvage(state, NONE):
        state = piece.state
    rescue.close()
    await store.close()
    return state


async def content(path: Path) -> Any:
    store = SqliteStore(path)
    found = await gathered(store)
    await store.close()
    return found


def break_journal(path: Path, *numbers: int) -> None:
    """Flip a bit in the messages of these rows."""
    for number in numbers:
        sql = "UPDATE journal SET body = CAST(? AS BLOB) WHERE id = ?"
        ((body,),) = ask(path, "SELECT body FROM journal WHERE id = ?", number)
        ask(path, sql, body[:-1] + bytes([body[-1] ^ 1]), number)


async def test_a_sound_database_comes_back_as_it_was(path: Path) -> None:
    await filled(path)
    journal = ask(path, "SELECT * FROM journal ORDER BY id")
    before = await content(path)
    state = await salvaged(path)
    assert state.phase == LAST
    assert state.bad == {}
    assert ask(path, "SELECT * FROM journal ORDER BY id") == journal
    assert await content(path) == before
    assert ask(path, "SELECT readings, crc FROM chunk ORDER BY id") == ask(
        path.parent / state.file, "SELECT readings, crc FROM chunk ORDER BY id"
    )
    assert ask(path, "SELECT count(*) FROM summary") == [(1,)]
    assert ask(path, "SELECT id FROM outbox") == [(1,)]
    assert ask(path, "SELECT state, seq FROM command ORDER BY n") == [
        ("unknown", None),
        ("done", None),
    ]


async def test_devices_go_on_at_once_and_numbers_never_collide(path: Path) -> None:
    await filled(path)
    names = dict(ask(path, "SELECT key, value FROM meta"))
    files.beside(path, files.SUSPECT).touch()
    store = SqliteStore(path)
    opened = await store.open()
    assert [device.token_hash for device in opened.devices] == ["hash-1"]
    assert [stream.committed for stream in opened.streams] == [ROWS]
    assert len(opened.series) == 4
    assert opened.meta["watermark_ns"] == names["watermark_ns"]
    assert opened.meta["log_epoch"] != names["log_epoch"]
    assert opened.meta["store_id"] != names["store_id"]
    assert opened.highest["journal"] > ROWS
    assert opened.highest["event"] > ROWS
    assert opened.alerts == [ALERT]
    assert opened.highest["alert"] > 9
    await store.close()
    assert not files.beside(path, files.SUSPECT).exists()


async def test_an_interrupted_salvage_goes_on_where_it_was(path: Path) -> None:
    await filled(path)
    before = await content(path)
    files.beside(path, files.SUSPECT).touch()
    for _ in range(200):
        store = SqliteStore(path)
        await store.open()
        rescue = Rescue(store)
        state = await rescue.state()
        assert state is not None
        pieces = rescue.salvage(state, NONE)
        piece = await anext(pieces, None)
        await pieces.aclose()
        rescue.close()
        await store.close()
        if piece is None:
            break
    assert piece is None
    assert await content(path) == before
    assert ask(path, "SELECT count(*) FROM chunk") == [(4,)]


async def test_what_cannot_be_read_is_told(path: Path) -> None:
    await filled(path)
    break_journal(path, 7, 8, 100, ROWS)
    ask(path, "UPDATE chunk SET body = CAST(substr(body, 2) || x'00' AS BLOB) WHERE id = 2")
    state = await salvaged(path)
    assert state.bad == {"chunk": 1, "journal": 4}
    found = ask(path, "SELECT cause, what, sum(n) FROM dropped GROUP BY cause, what ORDER BY what")
    assert found == [("damage", "messages", 4), ("damage", "readings", 50)]
    with (
        closing(open_damaged(path.parent / state.file)) as old,
        closing(open_reader(path)) as known,
    ):
        lost = list(gaps(old, known, {"1": ROWS}))
    epoch = f"{1:016x}"
    assert lost == [Gap(1, epoch, 7, 8), Gap(1, epoch, 100, 100), Gap(1, epoch, ROWS, ROWS)]
    assert len(ask(path, "SELECT id FROM journal")) == ROWS - 4


async def test_what_was_rejected_or_lost_before_is_not_told_again(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.commit([*world(), row(1, entry(1, NOW, [1])), row(2, entry(3, NOW, [3]))])
    await store.commit([row(3, gap_entry(6, 8)), row(4, entry(9, NOW, [9]))])
    epoch = f"{1:016x}"
    await store.commit(
        [f.Rejection(1, 1, epoch, 2, 3, "bad", NOW, b""), f.Loss(1, 1, epoch, 6, 8, 1, None, NOW)]
    )
    await store.close()
    break_journal(path, 2, 3)
    with closing(open_damaged(path)) as conn:
        assert list(gaps(conn, conn, {"1": 9})) == [Gap(1, epoch, 3, 5)]


async def test_messages_of_an_unknown_stream_are_left_out(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    mixed = row(1, entry(1, NOW, [1]), entry(1, NOW, [2], stream=2))
    await store.commit([*world(), *world("shed-2", 2), mixed])
    await store.close()
    ask(path, "DELETE FROM stream WHERE id = 2")
    state = await salvaged(path)
    assert state.back["readings"] == 4
    assert ask(path, "SELECT readings FROM journal") == [(4,)]
    assert ask(path, "SELECT sum(n) FROM dropped WHERE what = 'readings'") == [(4,)]
    assert offline.verify(path).problems == []


async def test_windows_open_at_the_damage_are_due(path: Path) -> None:
    await filled(path)
    files.beside(path, files.SUSPECT).touch()
    store = SqliteStore(path)
    await store.open()
    rescue = Rescue(store)
    state = await rescue.state()
    assert state is not None
    windows = [parse_window("1s"), parse_window("1m")]
    async for _ in rescue.salvage(state, partial(reopened, windows, state.watermark_ns)):
        pass
    rescue.close()
    await store.close()
    due = ask(path, "SELECT DISTINCT window, t0 FROM revision_due ORDER BY window, t0")
    second = NOW // 1000 * 1000
    assert due == [
        ("1m", NOW // 60_000 * 60_000),
        *(("1s", second + at) for at in (1000, 2000, 3000)),
    ]


@pytest.mark.parametrize("seed", range(4))
async def test_random_pages_destroyed(path: Path, seed: int) -> None:
    """Whatever is hit: a start, a salvage to the end, nothing twice, a sound new database."""
    await filled(path)
    page_bytes = page_size(path)
    size = path.stat().st_size // page_bytes
    with path.open("r+b") as file:
        for page in np.random.default_rng(seed).choice(size, size // 8, replace=False).tolist():
            file.seek(page * page_bytes)
            file.write(os.urandom(page_bytes))
    await salvaged(path)
    numbers = [number for (number,) in ask(path, "SELECT id FROM journal")]
    assert len(numbers) == len(set(numbers))
    assert set(numbers) <= set(range(1, ROWS + 1))
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]
    assert offline.verify(path).problems == []


async def test_a_schema_that_is_no_text(path: Path) -> None:
    """SQLite's message quotes it, and cannot be read either."""
    await filled(path)
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("PRAGMA writable_schema = ON")
        change = "UPDATE sqlite_master SET name = CAST(x'a0a1' AS TEXT), sql = 'CREATE x'"
        conn.execute(f"{change} WHERE name = 'span'")
    state = await salvaged(path)
    assert state.file


async def test_the_first_pages_are_laid_into_a_copy(path: Path) -> None:
    await filled(path)
    skeleton.save(path, files.beside(path, files.SCHEMA))
    before = await content(path)
    with path.open("r+b") as file:
        file.write(os.urandom(1024))
    damaged = path.read_bytes()
    state = await salvaged(path)
    assert (path.parent / state.file).read_bytes() == damaged
    assert state.source.endswith(".patched")
    assert await content(path) == before


@pytest.mark.parametrize("size", [512, 1024, 4096, 65536])
def test_the_schema_is_found_again_whatever_its_pages(path: Path, size: int) -> None:
    """Statements that do not fit into a page go on in others."""
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(f"PRAGMA page_size = {size}")
        for n in range(60):
            conn.execute(f"CREATE TABLE t{n} (id INTEGER PRIMARY KEY, {'x' * n * 50} TEXT)")
        conn.execute("INSERT INTO t59 VALUES (7, 'seven')")
    schema = ask(path, "SELECT sql FROM sqlite_master ORDER BY name")
    kept = files.beside(path, files.SCHEMA)
    skeleton.save(path, kept)
    content = kept.read_bytes()
    with path.open("r+b") as file:
        for at in range(4, len(content), 4 + size):
            file.seek((int.from_bytes(content[at : at + 4], "big") - 1) * size)
            file.write(os.urandom(size))
    skeleton.lay(kept, path)
    with closing(open_damaged(path)) as conn:
        assert conn.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall() == schema
        assert conn.execute("SELECT * FROM t59").fetchall() == [(7, "seven")]


async def test_the_catalogue_alone_lets_devices_go_on(path: Path) -> None:
    await filled(path)
    starting.keep_catalogue(path)
    path.write_bytes(b"")
    store = SqliteStore(path)
    opened = await store.open()
    assert [device.token_hash for device in opened.devices] == ["hash-1"]
    assert [stream.committed for stream in opened.streams] == [ROWS]
    await store.close()


async def test_users_and_tokens_outlive_damage_and_removed_ones_stay_away(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    kept = [f.UserSet("ada", "hash", NOW), f.TokenSet("grafana", "hash", NOW)]
    await store.commit([*kept, f.UserSet("eve", "hash", NOW)])
    await store.close()
    starting.keep_catalogue(path)
    for damage in (b"", None):
        store = SqliteStore(path)
        if damage is None:
            starting.suspect(path)
        else:
            path.write_bytes(damage)
        opened = await store.open()
        names = ["ada"] if damage is None else ["ada", "eve"]
        assert [user.name for user in opened.users] == names
        assert opened.tokens == kept[1:]
        await store.commit([f.UserRemoved("eve")])
        await store.close()


def test_holes_end_where_rows_can_be_read_again(path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("PRAGMA page_size = 4096")
        conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text)")
        conn.executemany("INSERT INTO t VALUES (?, ?)", [(n, "x" * 100) for n in range(1, 2001)])
        (page,) = conn.execute("SELECT rootpage FROM sqlite_master WHERE name = 't'").fetchone()
    with path.open("r+b") as file:
        file.seek((page + 10) * 4096)
        file.write(bytes(4096))
    with closing(open_damaged(path)) as conn:
        found = list(walk(conn, "SELECT id FROM t WHERE id >= ? ORDER BY id"))
    (hole,) = [item for item in found if isinstance(item, Hole)]
    assert hole.next is not None
    read = [item[0] for item in found if not isinstance(item, Hole)]
    assert read == [*range(1, hole.first), *range(hole.next, 2001)]
    assert 10 < hole.next - hole.first < 60


async def test_a_wal_that_lost_commits_is_told_from_one_that_ends(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    for number in range(1, 20):
        await store.commit([event(number)])
    data = files.beside(path, "-wal").read_bytes()
    await store.close()
    copy = path.with_name("wal")
    step = page_size(path) + 24
    for at in range(32, len(data) - 3 * step, step):
        copy.write_bytes(data[: at + 500] + b"!" + data[at + 501 :])
        assert wal.broken(copy)
    for end in range(0, len(data), 1000):
        copy.write_bytes(data[:end])
        assert not wal.broken(copy)
    copy.write_bytes(data + data[32 : 32 + step])
    assert not wal.broken(copy)
    copy.write_bytes(bytes(len(data)))
    assert wal.broken(copy)


async def test_salvaging_by_hand_keeps_what_exists(path: Path, tmp_path: Path) -> None:
    await filled(path)
    (tmp_path / "there").write_text("precious")
    with pytest.raises(StoreError, match="exists already"):
        await asyncio.to_thread(offline.salvage, path, tmp_path / "there", [])
    state = offline.salvage(path, tmp_path / "new.db", [])
    assert state.back["journal"] == ROWS
    assert await content(tmp_path / "new.db") == await content(path)
