"""What is looked after every few seconds: the outbox, the clock, and what is past its bound."""

import asyncio
import logging
from collections.abc import Callable

from gateway.core.clock import Now
from gateway.errors import StoreError
from gateway.measures import Measures
from gateway.store import Store

log = logging.getLogger(__name__)

PERIOD_S = 5.0
BATCHES = 20


class Upkeep:
    """Figures that cannot be read at once, and the pruning of logs."""

    def __init__(
        self,
        *,
        store: Store,
        replay_ms: int,
        clock: Callable[[], Now],
        may_expire: Callable[[], bool],
        full: Callable[[], bool],
        before: str,
        clock_told: Callable[[str], None],
    ) -> None:
        """`full`: the disk is, and nothing is kept only to be sent again.

        `clock_told` is told whether the clock is "ok" or "wrong" when that changes; `before`: what
        it was told last.
        """
        self._store = store
        self._replay_ms = replay_ms
        self._clock = clock
        self._may_expire = may_expire
        self._full = full
        self._sure = before == "ok"
        self._clock_told = clock_told
        self.outbox_depth = 0
        self.outbox_bytes = 0
        self.outbox_dead = 0
        self.outbox_oldest: int | None = None

    def measure(self, measures: Measures) -> None:
        """Name the figures for `/metrics`."""
        measures.gauge("outbox_rows", "Outbox rows not acknowledged", lambda: self.outbox_depth)
        measures.gauge("outbox_bytes", "Bytes of those rows", lambda: self.outbox_bytes)
        measures.gauge("outbox_dead_rows", "Rows that were given up", lambda: self.outbox_dead)
        measures.gauge(
            "outbox_oldest_seconds", "Age of the oldest of those rows", lambda: self.outbox_age
        )
        measures.gauge(
            "clock_sure", "1 if the system clock is believed", lambda: self._clock().sure
        )

    async def run(self) -> None:
        """Look after things until cancelled."""
        while True:
            try:
                await self._round()
            except StoreError as error:
                log.warning("upkeep waits: %s", error)
            await asyncio.sleep(PERIOD_S)

    async def _round(self) -> None:
        stats = await self._store.outbox_stats()
        self.outbox_depth, self.outbox_bytes = stats.depth, stats.bytes
        self.outbox_oldest, self.outbox_dead = stats.oldest, stats.dead
        now = self._clock()
        self._tell(now)
        replay_ms = 0 if self._full() else self._replay_ms
        for _ in range(BATCHES if self._may_expire() else 0):
            if not await self._store.prune(now.ms, replay_ms=replay_ms):
                break

    def _tell(self, now: Now) -> None:
        if now.sure != self._sure:
            self._sure = now.sure
            self._clock_told("ok" if now.sure else "wrong")
            if now.sure:
                log.warning("the clock is believed again", extra={"unix_ms": now.ms})
            else:
                log.warning(
                    "the system clock is not believed; readings without a time of their"
                    " own are placed later and nothing expires"
                )

    @property
    def outbox_age(self) -> float:
        """Seconds since the oldest outbox row was put that still waits; 0 if none does."""
        if self.outbox_oldest is None:
            return 0.0
        return max(0.0, (self._clock().ms - self.outbox_oldest) / 1000)
