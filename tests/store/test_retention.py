"""Retention: the oldest goes first, what goes is counted, and the file shrinks."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.core import facts as f
from gateway.core.readings import NS_PER_MS
from gateway.store.connect import PAGE_BYTES
from gateway.store.retention import Bounds
from gateway.store.sqlite import SqliteStore
from tests.store.samples import HOUR, NOW, entry, event, made, order, row, world

DAY = 24 * HOUR
FOR_EVER = Bounds(0, 0, 0)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """Ten days of readings, one message an hour, in chunks of a day each."""
    store = SqliteStore(tmp_path / "gateway.db")
    await store.open()
    await store.commit(world())
    start = NOW // DAY * DAY
    for i in range(1, 242):
        await store.commit([row(i, entry(i, start + (i - 1) * HOUR, [i]))])
    await store.commit([f.MetaSet("settled_row", "241")])
    assert await store.compact(NOW, urgent=True) == 240
    yield store
    await store.close()


def ask(store: SqliteStore, sql: str) -> list[Any]:
    conn = sqlite3.connect(f"file:{store.path}?mode=ro", uri=True)
    try:
        return conn.execute(sql).fetchall()
    finally:
        conn.close()


async def retained(store: SqliteStore, bounds: Bounds, now_ms: int | None) -> int:
    total = 0
    while gone := await store.retain(bounds, now_ms):
        total += gone
    return total


async def test_readings_go_by_age_and_are_counted(store: SqliteStore) -> None:
    now = NOW // DAY * DAY + 12 * DAY
    assert await retained(store, FOR_EVER, now) == 0
    assert await retained(store, Bounds(9, 0, 0), now) == 3 * 4
    [(left, oldest)] = ask(store, "SELECT sum(readings), min(t_min_ns) FROM chunk")
    assert (left, oldest) == (7 * 24 * 4, (NOW // DAY * DAY + 3 * DAY) * NS_PER_MS)
    start = NOW // DAY * DAY
    assert ask(store, "SELECT * FROM dropped") == [
        (now // DAY, "age", "readings", 3 * 24 * 4, start, start + 3 * DAY - HOUR)
    ]


async def test_nothing_goes_by_age_while_the_clock_may_be_wrong(store: SqliteStore) -> None:
    assert await retained(store, Bounds(1, 1, 0), None) == 0


async def test_summaries_live_longer_and_the_newest_stay(store: SqliteStore) -> None:
    summaries = [
        made(s, NOW + i * DAY, window=w) for i in range(5) for s in (1, 4) for w in ("10s", "1h")
    ]
    await store.commit(summaries)
    now = NOW + 10 * DAY
    assert await retained(store, Bounds(0, 7, 0), now) == 3 * 2 * 2
    assert ask(store, "SELECT count(*), min(t0) FROM summary") == [(8, NOW + 3 * DAY)]
    assert ask(store, "SELECT what, n FROM dropped") == [("summaries", 12)]


async def test_too_much_goes_oldest_first_without_a_clock(store: SqliteStore) -> None:
    await store.commit([made(1, NOW + i * 10_000) for i in range(20_000)])
    [(pages,)] = ask(store, "PRAGMA page_count")
    most = pages * PAGE_BYTES // 2
    await retained(store, Bounds(0, 0, most), None)
    assert ask(store, "SELECT count(*) FROM chunk") == [(0,)]
    [(left, oldest)] = ask(store, "SELECT count(*), min(t0) FROM summary")
    assert 0 < left < 20_000
    assert oldest == NOW + (20_000 - left) * 10_000
    assert dict(ask(store, "SELECT what, n FROM dropped WHERE cause = 'size'")) == {
        "readings": 240 * 4, "summaries": 20_000 - left,
    }  # fmt: skip
    await store.close()
    assert store.path.stat().st_size <= most


async def test_rejected_messages_and_ended_commands_go_with_the_readings(
    store: SqliteStore,
) -> None:
    rejected = [f.Rejection(i, 1, "e", i, 6, "why", NOW + i * DAY, b"x") for i in range(1, 5)]
    commands = [order(i, "done" if i != 2 else "queued")._replace(created=NOW) for i in range(1, 5)]
    await store.commit([*rejected, *commands, event(1)])
    await retained(store, Bounds(1, 0, 0), NOW + 400 * DAY)
    assert ask(store, "SELECT id FROM rejected") == [(4,)]
    assert ask(store, "SELECT n FROM command") == [(2,), (4,)]
