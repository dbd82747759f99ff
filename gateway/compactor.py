"""Keeps the store small: journal rows into chunks, what is past its bound away.

Everything is done in short steps beside the flow, and waits while much comes in.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from gateway.core.clock import Now
from gateway.errors import StoreError
from gateway.store.retention import Bounds

log = logging.getLogger(__name__)

FIRST_S = 1.0
PERIOD_S = 10.0
STEPS = 20
PATIENCE = 12
"""Rounds that may pass without a step while much comes in."""


class Store(Protocol):
    """What compaction asks of the store."""

    async def compact(self, now_ms: int, *, urgent: bool = False) -> int: ...

    async def retain(self, bounds: Bounds, now_ms: int | None) -> int: ...


class Compactor:
    """`busy` says whether readings wait for their commit; `may_expire` whether the clock is right;
    `held` how many bytes the database has on disk; `full` whether the disk is; `salvaging` whether
    journal rows still come back under old numbers: until then the rest stays as it is."""

    def __init__(
        self,
        *,
        store: Store,
        bounds: Bounds,
        clock: Callable[[], Now],
        busy: Callable[[], bool],
        may_expire: Callable[[], bool],
        held: Callable[[], float],
        full: Callable[[], bool],
        salvaging: Callable[[], bool],
    ) -> None:
        self._store = store
        self._bounds = bounds
        self._clock = clock
        self._busy = busy
        self._may_expire = may_expire
        self._held = held
        self._full = full
        self._salvaging = salvaging
        self._waited = 0

    async def run(self) -> None:
        """Keep the store small until cancelled."""
        await asyncio.sleep(FIRST_S)
        while True:
            try:
                await self.round()
            except StoreError as error:
                log.warning("compaction and retention wait: %s", error)
            await asyncio.sleep(PERIOD_S)

    async def round(self) -> None:
        """Some steps of each kind; fewer while much comes in."""
        if self._busy() and self._waited < PATIENCE:
            self._waited += 1
            return
        self._waited = 0
        if not self._salvaging():
            await self._compact()
        if self._full() or not self._salvaging():
            await self._retain()

    async def _compact(self) -> None:
        too_much = bool(self._bounds.most_bytes) and self._held() > self._bounds.most_bytes
        for _ in range(STEPS):
            urgent = too_much or self._full()
            if not await self._store.compact(self._clock().ms, urgent=urgent) or self._busy():
                break

    async def _retain(self) -> None:
        for _ in range(STEPS):
            now_ms = self._clock().ms if self._may_expire() else None
            if not await self._store.retain(self._bounds, now_ms):
                break
            await asyncio.sleep(0)
