"""Exports: every stored reading once, in each format."""

import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from gateway.core.readings import NS_PER_MS, Clock
from gateway.errors import StoreError, StoreUnavailable
from gateway.store.export import Choice, pieces, to_csv, to_jsonl, to_parquet
from gateway.store.sqlite import SqliteStore
from tests.store.samples import BOOT, NOW, entry, gap_entry, row, world

EVERYTHING = Choice()


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "gateway.db")
    await store.open()
    await store.commit([*world(), *world("shed-2", 2)])
    await store.commit(
        [
            row(1, entry(1, NOW, [2150, 2151]), gap_entry(2, 9)),
            row(2, entry(2, 5, [300], clock=Clock.UNKNOWN, boot=BOOT)),
            row(3, entry(1, NOW + 5000, [7], stream=2)),
        ]
    )
    yield store
    await store.close()


def jsonl(path: Path, choice: Choice = EVERYTHING) -> list[dict[str, Any]]:
    out = io.BytesIO()
    count = to_jsonl(pieces(path, choice), out)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert count == len(lines)
    return lines


async def test_jsonl(live: SqliteStore) -> None:
    lines = jsonl(live.path)
    assert len(lines) == 16
    t = NOW * NS_PER_MS
    assert lines[:2] == [
        {"dev": "shed-1", "m": "door", "t": t, "v": True},
        {"dev": "shed-1", "m": "door", "t": t + 10**9, "v": False},
    ]
    assert [line["v"] for line in lines[6:8]] == [21.5, 21.51]
    assert list(lines[0]) == ["dev", "m", "t", "v"]
    assert lines[9]["v"] == 2**63 + 2150
    assert lines[8] == {
        "dev": "shed-1", "m": "temperature", "t": None, "raw": 5_000_000, "boot": BOOT.hex(),
        "v": 3.0,
    }  # fmt: skip
    assert lines[-1]["dev"] == "shed-2"


async def test_a_stopped_gateway_exports_the_same(live: SqliteStore) -> None:
    before = jsonl(live.path)
    await live.close()
    assert jsonl(live.path) == before


async def test_an_export_is_a_snapshot(live: SqliteStore) -> None:
    source = pieces(live.path)
    first = next(source)
    await live.commit([row(4, entry(10, NOW, [1]))])
    assert len(first.t) + sum(len(piece.t) for piece in source) == 16
    assert len(jsonl(live.path)) == 20


@pytest.mark.parametrize(
    ("choice", "count"),
    [
        (Choice(device="shed-2"), 4),
        (Choice(metric="door"), 4),
        (Choice(since_ns=(NOW + 1000) * NS_PER_MS), 8),
        (Choice(until_ns=(NOW + 1000) * NS_PER_MS, metric="total"), 1),
        (Choice(since_ns=0, device="nobody"), 0),
    ],
)
async def test_filters(live: SqliteStore, choice: Choice, count: int) -> None:
    assert len(jsonl(live.path, choice)) == count


async def test_csv(live: SqliteStore) -> None:
    out = io.BytesIO()
    assert to_csv(pieces(live.path), out) == 16
    rows = list(csv.reader(io.StringIO(out.getvalue().decode(), newline="")))
    assert rows[0] == ["dev", "m", "u", "t", "v", "raw", "boot"]
    assert rows[7] == ["shed-1", "temperature", "Cel", str(NOW * NS_PER_MS), "21.5", "", ""]
    assert rows[1][4] == "true"
    assert rows[9] == ["shed-1", "temperature", "Cel", "", "3.0", "5000000", BOOT.hex()]
    out.write(b"the stream is still open")


async def test_parquet(live: SqliteStore) -> None:
    out = io.BytesIO()
    assert to_parquet(pieces(live.path), out) == 16
    table = parquet.read_table(io.BytesIO(out.getvalue()))
    assert table.num_rows == 16
    numbers, texts = table["v"].to_pylist(), table["text"].to_pylist()
    assert numbers[:4] == [1.0, 0.0, 1.0, None]
    assert texts[2:4] == [None, "s2150"]
    assert table["t"].cast("int64").to_pylist()[0] == NOW * NS_PER_MS
    assert table["t"].to_pylist()[8] is None
    assert table["raw"].to_pylist()[8] == 5_000_000


async def test_parquet_says_what_it_lacks(
    live: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(StoreError, match="pip install"):
        to_parquet(pieces(live.path), io.BytesIO())


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="nothing"):
        list(pieces(tmp_path / "nothing.db"))
