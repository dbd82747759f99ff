"""What is deleted every few seconds, on a real store."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.core import facts as f
from gateway.core.clock import Now
from gateway.store.blocks import messages
from gateway.store.sqlite import SqliteStore
from gateway.upkeep import Upkeep
from tests.store.samples import HOUR, put

ROWS = 2000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "gateway.db")
    await store.open()
    yield store
    await store.close()


@pytest.mark.parametrize(("full", "left"), [(False, ROWS + 1), (True, 1)])
async def test_on_a_full_disk_nothing_is_kept_to_be_sent_again(
    store: SqliteStore, tmp_path: Path, full: bool, left: int
) -> None:
    settled = time.time_ns() // 10**6 - HOUR
    await store.commit([put(number) for number in range(1, ROWS + 1)])
    await store.commit([put(ROWS + 1)])
    await store.commit([f.OutboxDone(settled, number) for number in range(1, ROWS + 1)])
    upkeep = Upkeep(
        store=store,
        replay_ms=24 * HOUR,
        clock=lambda: Now(time.time_ns(), time.monotonic_ns()),
        may_expire=lambda: True,
        full=lambda: full,
        before="ok",
        clock_told=lambda _: None,
    )
    await upkeep._round()
    assert await store._read(lambda conn: len(list(messages(conn)))) == left
    assert [row.id for row in await store.outbox_after(0, 10)] == [ROWS + 1]


@pytest.mark.parametrize(("before", "told"), [("ok", ["wrong", "ok"]), ("wrong", ["ok"])])
async def test_a_clock_that_is_not_believed_is_told_and_so_is_its_end(
    store: SqliteStore, before: str, told: list[str]
) -> None:
    sure, found = [False, False, True, True], []
    upkeep = Upkeep(
        store=store,
        replay_ms=0,
        clock=lambda: Now(10**18, 1, sure[0]),
        may_expire=lambda: False,
        full=lambda: False,
        before=before,
        clock_told=found.append,
    )
    while sure:
        await upkeep._round()
        sure.pop(0)
    assert found == told
