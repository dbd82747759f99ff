"""Folding stored readings into windows: at the start, and for revisions."""

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Protocol

import numpy as np

from gateway.core.cutting import Readings
from gateway.core.registry import Registry
from gateway.core.windows import Windows
from gateway.store.rows import Found

AT_ONCE = 64


class Store(Protocol):
    """Where stored readings come from."""

    def readings(
        self, *, since_ns: int, until_ns: int, series: Collection[int] | None = None
    ) -> AsyncIterator[Found]: ...


async def fold_stored(
    store: Store,
    registry: Registry,
    windows: Windows,
    *,
    since: int,
    until: int,
    series: Collection[int] | None = None,
) -> None:
    """Fold all stored readings with since <= t < until (ns) into `windows`, in bounded memory."""
    some: list[Readings] = []
    async for number, run in store.readings(since_ns=since, until_ns=until, series=series):
        kind = registry.series_by_id[number].key.kind
        some.append(Readings((number,), kind, run.t, run.v[np.newaxis]))
        if len(some) == AT_ONCE:
            windows.fold(some)
            some.clear()
            await asyncio.sleep(0)
    windows.fold(some)
