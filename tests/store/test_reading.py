"""Reading: pages give one snapshot, in order."""

from pathlib import Path

import pytest

from gateway.core.readings import NS_PER_MS
from gateway.store import readers
from gateway.store.sqlite import SqliteStore
from tests.store.samples import NOW, entry, row, world


@pytest.mark.parametrize("items", [1, 2, 7, 100])
async def test_pages_of_any_size_give_the_same_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, items: int
) -> None:
    monkeypatch.setattr(readers, "PAGE_ITEMS", items)
    store = SqliteStore(tmp_path / "gateway.db")
    await store.open()
    await store.commit([*world(), *(row(i, entry(i, NOW + 1000 * i, [i])) for i in range(1, 8))])
    found = []
    async for number, run in store.readings(since_ns=0, until_ns=2**62, series=[1, 1, 99]):
        found.append((number, run.t.tolist()))
        if len(found) == 1:
            await store.commit([row(8, entry(8, NOW, [8]))])
    await store.close()
    assert found == [(1, [(NOW + 1000 * i) * NS_PER_MS]) for i in range(1, 8)]
