"""Reading: what lies between two times, and in what order pages give it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.between import Between
from gateway.core.chunks import Run
from gateway.core.readings import NS_PER_MS, Clock
from gateway.store import readers
from gateway.store.reading import within
from gateway.store.sqlite import SqliteStore
from tests.store.samples import NOW, entry, row, world

TIMES = st.lists(st.integers(0, 12), max_size=20)


@given(TIMES, st.integers(0, 12), st.integers(0, 12))
def test_what_lies_between_two_times_in_whatever_order(
    times: list[int], since: int, until: int
) -> None:
    run = Run("Cel", Clock.DEVICE, b"", np.array(times, np.int64), np.arange(len(times)))
    kept = [(t, n) for n, t in enumerate(times) if since <= t < until]
    found = list(within(run, Between(since, until)))
    assert [
        pair for some in found for pair in zip(some.t.tolist(), some.v.tolist(), strict=True)
    ] == kept
    assert len(found) <= 1


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
