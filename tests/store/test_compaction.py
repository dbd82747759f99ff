"""Compaction: what is read does not change, whatever moves and whenever it stops."""

import io
import sqlite3
from collections.abc import AsyncIterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cbor2 import CBORTag
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import facts as f
from gateway.core.cbor import encode
from gateway.core.columns import Field, Layout, layout_to_json
from gateway.core.entry import Entry
from gateway.core.messages import Data, to_map
from gateway.core.readings import NS_PER_MS, Clock
from gateway.errors import StoreCorrupt, StoreError
from gateway.store import compaction
from gateway.store.connect import open_reader
from gateway.store.export import pieces, to_jsonl
from gateway.store.sqlite import SqliteStore
from tests.store.samples import BOOT, HOUR, NOW, entry, journal_row, row, senml_entry, world

DAY_MS = 24 * HOUR


def exported(path: Path) -> bytes:
    out = io.BytesIO()
    to_jsonl(pieces(path), out)
    return out.getvalue()


def ask(path: Path, sql: str) -> list[Any]:
    conn = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return conn.execute(sql).fetchall()
    finally:
        conn.close()


async def settle(store: SqliteStore, number: int) -> None:
    await store.commit([f.MetaSet("settled_row", str(number))])


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "gateway.db")
    await store.open()
    await store.commit([*world(), *world("shed-2", 2)])
    yield store
    await store.close()


async def test_rows_become_chunks_and_read_the_same(store: SqliteStore) -> None:
    rows = [
        row(i, entry(i, NOW + 1000 * i, [i, i + 1]), entry(i, NOW + 1000 * i, [i], stream=2))
        for i in range(1, 301)
    ]
    await store.commit(rows)
    await settle(store, 300)
    before = exported(store.path)
    found = [(n, run.t.tolist()) async for n, run in store.readings(since_ns=0, until_ns=2**62)]
    assert await store.compact(NOW, urgent=True) == 299
    assert ask(store.path, "SELECT count(*), min(id) FROM journal") == [(1, 300)]
    assert ask(store.path, "SELECT sum(readings) FROM chunk") == [(299 * 12,)]
    assert exported(store.path) == before
    again = [(n, run.t.tolist()) async for n, run in store.readings(since_ns=0, until_ns=2**62)]
    times = {n: sorted(t for m, ts in found if m == n for t in ts) for n, _ in found}
    assert {n: sorted(t for m, ts in again if m == n for t in ts) for n, _ in again} == times
    assert await store.compact(NOW, urgent=True) == 0


async def test_only_settled_rows_go(store: SqliteStore) -> None:
    await store.commit([row(i, entry(i, NOW, [i])) for i in range(1, 11)])
    assert await store.compact(NOW, urgent=True) == 0
    await settle(store, 4)
    assert await store.compact(NOW, urgent=True) == 4
    assert ask(store.path, "SELECT min(id) FROM journal") == [(5,)]


async def test_a_step_waits_until_it_is_worth_while(store: SqliteStore) -> None:
    await store.commit([row(i, entry(i, NOW, [i])) for i in range(1, 11)])
    await settle(store, 10)
    assert await store.compact(NOW + HOUR - 1) == 0
    assert await store.compact(NOW + HOUR) == 9


async def test_a_small_chunk_of_the_day_grows(store: SqliteStore) -> None:
    for i in range(1, 6):
        await store.commit([row(i, entry(i, NOW + 1000 * (10 - i), [i]))])
        await settle(store, i)
        await store.compact(NOW, urgent=True)
    assert ask(store.path, "SELECT readings, row FROM chunk WHERE series = 1") == [(4, 4)]
    assert [v async for v in values(store, 1)] == [0.04, 0.03, 0.02, 0.01, 0.05]


async def values(store: SqliteStore, series: int) -> AsyncIterator[Any]:
    async for _, run in store.readings(since_ns=0, until_ns=2**62, series=[series]):
        for value in run.v.tolist():
            yield value


async def test_a_chunk_stays_within_a_day(store: SqliteStore) -> None:
    late = [row(i, entry(i, NOW + i * DAY_MS // 4, [i])) for i in range(1, 42)]
    await store.commit(late)
    await settle(store, 41)
    before = exported(store.path)
    await store.compact(NOW, urgent=True)
    spans = ask(store.path, "SELECT t_min_ns, t_max_ns FROM chunk WHERE series = 1")
    assert len(spans) == 10
    assert all(low // (DAY_MS * NS_PER_MS) == high // (DAY_MS * NS_PER_MS) for low, high in spans)
    assert exported(store.path) == before
    third = (NOW + 3 * DAY_MS // 4) * NS_PER_MS
    found = store.readings(since_ns=third, until_ns=third + 1, series=[1])
    assert [run.v.tolist() async for _, run in found] == [[0.03]]


async def test_readings_of_unknown_time_are_placed_in_chunks_too(store: SqliteStore) -> None:
    unknown = [entry(i, 5000 + i, [7], clock=Clock.UNKNOWN, boot=BOOT) for i in (1, 2)]
    await store.commit([row(1, *unknown), row(2, entry(3, NOW, [1]))])
    await settle(store, 2)
    before = exported(store.path)
    await store.compact(NOW, urgent=True)
    assert exported(store.path) == before
    assert sum([len(batch) async for batch in store.unplaced(1, BOOT)]) == 8
    offset = (NOW - HOUR) * NS_PER_MS
    await store.commit([f.BootSeen(1, BOOT.hex(), offset, 0, NOW)])
    assert [batch async for batch in store.unplaced(1, BOOT)] == []
    found = store.readings(since_ns=0, until_ns=NOW * NS_PER_MS, series=[1])
    times = [t async for _, run in found for t in run.t.tolist()]
    assert times == [offset + (5000 + i) * NS_PER_MS for i in (1, 2)]


async def test_a_journal_that_is_not_what_was_read_stays(store: SqliteStore) -> None:
    await store.commit([row(i, entry(i, NOW, [i])) for i in range(1, 4)])
    await settle(store, 3)
    wrong = compaction.Step(last=2, rows=3, readings=12)
    with pytest.raises(StoreError, match="2 journal rows where 3"):
        await store.change(lambda conn: compaction.apply(conn, wrong, []))
    assert ask(store.path, "SELECT count(*) FROM journal") == [(3,)]


async def test_a_damaged_chunk_is_named(store: SqliteStore) -> None:
    await store.commit([row(i, entry(i, NOW, [i])) for i in range(1, 4)])
    await settle(store, 3)
    await store.compact(NOW, urgent=True)
    await store.change(lambda conn: conn.execute("UPDATE chunk SET crc = crc + 1 WHERE id = 1"))
    with pytest.raises(StoreCorrupt, match="chunk 1 is damaged"):
        [one async for one in store.readings(since_ns=0, until_ns=2**62)]


async def test_checkpoints_go_on_between_the_slices_of_a_step(store: SqliteStore) -> None:
    """What is left to a later checkpoint would hold up a commit for as long as it was left."""
    for first in (1, 301):  # the second step writes the small chunks of the first again
        rows = [
            row(i, entry(i, NOW, [i]), entry(i, NOW, [i] * (1 + i % 7), stream=2))
            for i in range(first, first + 300)
        ]
        await store.commit(rows)
        await settle(store, first + 299)
        assert await slices_of_a_step(store) > 10
        assert await store.compact(NOW, urgent=True)


async def slices_of_a_step(store: SqliteStore) -> int:
    """Take a step as `compact` does, with a checkpoint after each slice; how many slices it has."""
    conn = open_reader(store.path)
    step = compaction.choose(conn, NOW, urgent=True)
    assert step is not None
    gathered: compaction.Gathered = {}
    slices = chain(compaction.gather(conn, step, gathered), compaction.filled(conn, step, gathered))
    count = 0
    conn.execute("BEGIN")
    for _ in slices:
        conn.execute("ROLLBACK")
        await settle(store, step.last)
        count += 1
        hindered, *left = await store.on_writer(checkpoint)
        assert not hindered
        assert left == [0, 0]
        conn.execute("BEGIN")
    conn.close()
    return count


def checkpoint(writer: sqlite3.Connection) -> tuple[int, ...]:
    writer.execute("PRAGMA busy_timeout = 0")
    found: tuple[int, ...] = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return found


async def test_a_snapshot_does_not_see_what_moves_meanwhile(store: SqliteStore) -> None:
    await store.commit([row(i, entry(i, NOW + i, [i])) for i in range(1, 4001)])
    await settle(store, 4000)
    found = store.readings(since_ns=0, until_ns=2**62, series=[1])
    first = await anext(found)
    await store.compact(NOW, urgent=True)
    rest = [run async for _, run in found]
    assert len(first.run.t) + sum(len(run.t) for run in rest) == 4000


# -- whatever is stored, in whatever order ------------------------------------------------------

FIELDS = (
    Field("scaled", "Cel", 77, 0.01, 5.0),
    Field("single", "", 85),
    Field("double", "V", 86),
    Field("big", "", 71),
    Field("flag", "", 0),
    Field("word", "", 1),
)
ANY = Layout(1, 9, FIELDS, b"any!")
FLOATS = st.floats(allow_infinity=False, width=64)
ROWS = st.tuples(
    st.integers(-(2**15), 2**15 - 1),
    st.floats(allow_infinity=False, width=32),
    FLOATS,
    st.integers(0, 2**64 - 1),
    st.none() | st.booleans(),
    st.none() | st.text(max_size=5),
)
TIMES = st.sampled_from([0, 1, 10**9, 86_400 * 10**9, 3 * 86_400 * 10**9]) | st.integers(0, 2**58)
MESSAGES = st.tuples(
    st.integers(1, 2),
    TIMES,
    st.integers(0, 3 * 10**9),
    st.sampled_from([Clock.DEVICE, Clock.MAPPED, Clock.UNKNOWN]),
    st.lists(ROWS, min_size=1, max_size=5),
    st.integers(0, 31),
)


def message(seq: int, made: Any) -> Entry:
    stream, t0, step, clock, rows, bits = made
    columns: list[Any] = [
        CBORTag(tag, np.array(column, dtype).tobytes())
        for tag, dtype, column in zip(
            (77, 85, 86, 71), ("<i2", "<f4", "<f8", "<u8"), list(zip(*rows, strict=True))[:4],
            strict=True,
        )
    ]  # fmt: skip
    columns += [[one[4] for one in rows], [one[5] for one in rows]]
    raw = encode(
        to_map(
            Data(seq=seq, sid=1, t0=t0, step=step, columns=columns,
                 valid={0: bytes([bits & (1 << len(rows)) - 1])})
        )
    )  # fmt: skip
    boot = BOOT if clock is Clock.UNKNOWN else b""
    offset = 17 if clock is Clock.MAPPED else 0
    return Entry(stream, seq, seq, raw, 1, clock, offset, stream, boot)


def stored(number: int, made: list[Any]) -> f.JournalRow:
    entries = [message(number * 100 + i, one) for i, one in enumerate(made)]
    times = [
        t0 + 17 * (clock is Clock.MAPPED) + i * step
        for _, t0, step, clock, rows, _ in made
        if clock is not Clock.UNKNOWN
        for i in range(len(rows))
    ]
    span = (min(times), max(times)) if times else None
    return journal_row(number, NOW, entries, span=span)


def any_world(number: int) -> list[f.Fact]:
    kinds = [int(field.kind) for field in FIELDS]
    return [
        f.DeviceAdded(number, f"d{number}", None, False, NOW),
        f.StreamOpened(number, number, f"{number:016x}", 0, NOW),
        f.SchemaLearned(number, number, 1, ANY.fingerprint, 9, layout_to_json(ANY)),
        *(
            f.SeriesLearned(10 * number + i, number, field.metric, field.unit, kind)
            for i, (field, kind) in enumerate(zip(FIELDS, kinds, strict=True))
        ),
    ]


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.lists(MESSAGES, min_size=1, max_size=4), min_size=2, max_size=8),
    stops=st.sets(st.integers(1, 8)),
    known=st.booleans(),
)
async def test_an_export_is_the_same_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, groups: Any, stops: set[int], known: bool
) -> None:
    store = SqliteStore(tmp_path_factory.mktemp("any") / "gateway.db")
    other = SqliteStore(tmp_path_factory.mktemp("other") / "gateway.db")
    for one in (store, other):
        await one.open()
        await one.commit([*any_world(1), *any_world(2)])
    for number, made in enumerate(groups, 1):
        facts: list[f.Fact] = [stored(number, made)]
        if known and number == len(groups):
            facts.append(f.BootSeen(1, BOOT.hex(), 1000, 0, NOW))
        await store.commit(facts)
        await other.commit(facts)
        if number in stops:
            await settle(store, number)
            await store.compact(NOW, urgent=True)
    if not known:
        assert exported(store.path) == exported(other.path)
    assert sorted(exported(store.path).splitlines()) == sorted(exported(other.path).splitlines())
    await store.close()
    await other.close()


async def test_senml_of_another_device(store: SqliteStore) -> None:
    pack = [{-2: "shed-2/temperature", -3: NOW // 1000, -4: "K", 2: 21.5}, {0: "", 2: 21.75}]
    at = NOW // 1000 * 10**9
    packs = [senml_entry(i, NOW * NS_PER_MS, pack) for i in (1, 2)]
    rows = [journal_row(i, NOW, [one], span=(at, at)) for i, one in enumerate(packs, 1)]
    await store.commit(rows)
    await settle(store, 2)
    before = exported(store.path)
    await store.compact(NOW, urgent=True)
    assert exported(store.path) == before
