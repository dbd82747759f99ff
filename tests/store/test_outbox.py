"""The outbox on disk against a model of it, and what it costs to write."""

import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from gateway.core import facts as f
from gateway.core.topics import Topics, Upstream
from gateway.store.outbox import LONGEST_RUN, runs
from gateway.store.sql import register
from gateway.store.sqlite import SqliteStore
from tests.store.samples import NOW, put

DAY = 86_400_000
UP = Upstream(Topics("sensors", "gw-1"))


def test_runs_have_no_holes_and_one_time() -> None:
    done = [f.OutboxDone(*pair) for pair in ((5, 2), (5, 1), (5, 4), (6, 5), (6, 6), (5, 4))]
    assert runs(done) == [(1, 2, 5), (4, 4, 5), (5, 6, 6)]
    assert runs([]) == []


def test_runs_are_bounded() -> None:
    done = [f.OutboxDone(5, number) for number in range(1, LONGEST_RUN + 2)]
    assert runs(done) == [(1, LONGEST_RUN, 5), (LONGEST_RUN + 1, LONGEST_RUN + 1, 5)]


class Model:
    """Does to dicts what the store does to tables."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.t = NOW
        self.last = 0
        self.open: dict[int, f.OutboxPut] = {}
        self.done: dict[int, tuple[int, f.OutboxPut]] = {}
        self.dropped: dict[int, int] = {}
        self.dead: set[int] = set()

    def step(self) -> list[f.Fact]:
        self.t += self.random.randrange(1, DAY // 20)
        return self.random.choice(
            (self.put, self.put, self.ack, self.ack, self.reopen, self.drop)
        )()

    def put(self) -> list[f.Fact]:
        rows: list[f.Fact] = []
        for _ in range(self.random.randrange(1, 30)):
            self.last += self.random.choice((1, 1, 1, 2))
            window = self.random.choice((0, 10))
            expires = self.random.choice((None, None, self.t + DAY // 4))
            row = put(self.last, window_ms=window, expires=expires)._replace(t=self.t)
            self.open[self.last] = row
            rows.append(row)
        return rows

    def ack(self) -> list[f.Fact]:
        count = min(len(self.open), self.random.randrange(1, 40))
        chosen = self.random.sample(sorted(self.open), count)
        for number in chosen:
            self.done[number] = self.t, self.open.pop(number)
        return [f.OutboxDone(self.t, number) for number in chosen]

    def reopen(self) -> list[f.Fact]:
        since = self.t - self.random.randrange(DAY)
        for number, (at, row) in list(self.done.items()):
            if at >= since and (row.expires is None or row.expires > self.t):
                self.open[number] = row._replace(backfill=row.backfill or row.window_ms > 0)
                del self.done[number]
        return [f.OutboxReopened(since, self.t)]

    def bury(self) -> list[f.Fact]:
        if not self.open:
            return []
        number = self.random.choice(sorted(self.open))
        del self.open[number]
        self.dead.add(number)
        return [f.OutboxRefused(135, True, number)]

    def drop(self) -> list[f.Fact]:
        until = min(self.open, default=0) + self.random.randrange(20)
        for number in [n for n in self.open if n <= until and n < self.last]:
            day = self.open.pop(number).t // DAY
            self.dropped[day] = self.dropped.get(day, 0) + 1
        return [f.OutboxDropped(until // 2), f.OutboxDropped(until)]


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_the_open_rows_are_the_models(tmp_path: Path, seed: int) -> None:
    store, model = SqliteStore(tmp_path / "gateway.db"), Model(seed)
    await store.open()
    for _ in range(150):
        await store.commit(model.step())
        expected = [model.open[number] for number in sorted(model.open)]
        assert await store.outbox_after(0, 10_000) == expected
        stats = await store.outbox_stats()
        assert stats[:2] == (len(expected), sum(len(row.payload) for row in expected))
        assert stats.dead == len(model.dead)
    await store.close()
    assert model.dropped
    assert ask(tmp_path, "SELECT day, n FROM dropped ORDER BY day") == sorted(model.dropped.items())


async def test_pruning_spares_what_is_open(tmp_path: Path) -> None:
    store, model = SqliteStore(tmp_path / "gateway.db"), Model(9)
    await store.open()
    for _ in range(200):
        await store.commit(model.step())
        while await store.prune(model.t, replay_ms=DAY):
            pass
        for number, (at, _) in list(model.done.items()):
            if at < model.t - DAY:
                del model.done[number]
        rows = {number for (number,) in ask(tmp_path, "SELECT id FROM messages")}
        assert rows >= model.open.keys()
        assert [one.id for one in await store.outbox_after(0, 10_000)] == sorted(model.open)
    await store.commit([f.OutboxDone(model.t, number) for number in model.open])
    while await store.prune(model.t + 2 * DAY, replay_ms=DAY):
        pass
    left = ask(tmp_path, "SELECT id FROM messages")
    await store.close()
    assert len(left) <= LONGEST_RUN


def ask(folder: Path, sql: str) -> list[Any]:
    conn = sqlite3.connect(f"file:{folder}/gateway.db?mode=ro", uri=True)
    register(conn)
    try:
        return conn.execute(sql).fetchall()
    finally:
        conn.close()


async def test_the_outbox_adds_little_to_what_is_written(tmp_path: Path) -> None:
    """20 summaries put and acknowledged in 10 s add less than 2.5 KiB a second to the WAL."""
    alone = await written(tmp_path / "alone.db", outbox=False)
    with_outbox = await written(tmp_path / "with.db", outbox=True)
    assert (with_outbox - alone) / 10 < 2.5 * 1024


async def written(path: Path, *, outbox: bool) -> float:
    """Bytes of WAL for each end of a window of 20 series."""
    store = SqliteStore(path)
    await store.open()
    await store.on_writer(lambda conn: conn.execute("PRAGMA wal_autocheckpoint = 0"))
    wal, number, sizes = path.with_name(path.name + "-wal"), 0, []
    for window in range(120):
        t0 = NOW + 10_000 * window
        facts: list[f.Fact] = [
            f.OutboxDone(t0, n) for n in range(number - 19, number + 1) if outbox and number
        ]
        for device in range(20):
            number += 1
            body = summary(device, t0)
            facts.append(
                f.EventLogged(number, t0, "summary", body["dev"], body["m"], "10s", str(body))
            )
            if outbox:
                facts.append(UP.summary(number, t0 + 10_000, body))
        await store.commit(facts)
        sizes.append(wal.stat().st_size)
    await store.close()
    return (sizes[-1] - sizes[19]) / 100


def summary(device: int, t0: int) -> dict[str, Any]:
    return {
        "v": 1, "dev": f"greenhouse-{device}", "m": "temperature", "u": "Cel", "w": "10s",
        "t0": t0, "t1": t0 + 10_000, "n": 10, "mean": 21.437812, "min": 20.123, "max": 22.451,
        "std": 0.1234567, "p50": 21.4123, "p95": 22.3212, "first": 21.12, "last": 21.9,
    }  # fmt: skip
