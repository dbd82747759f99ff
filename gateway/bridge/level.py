"""How full the outbox is: measured every few seconds, told, and kept below the cap."""

import logging
from collections import deque

from gateway.bridge.ground import Ground
from gateway.core.outbox import Fullness, admits, seconds_to_full, to_drop
from gateway.errors import StoreError

log = logging.getLogger(__name__)

DROP_PAGE = 500
MB = 1024 * 1024


class Level:
    """The outbox against its cap. `full`: how the last run left it."""

    def __init__(self, ground: Ground, *, full: bool) -> None:
        self._ground = ground
        self._most = ground.config.outbox_max_mb * MB
        self._fullness = Fullness(self._most, full=full)
        self._sizes: deque[tuple[float, int]] = deque(maxlen=60)

    @property
    def accepting(self) -> bool:
        """False while `reject_new` forbids new rows."""
        policy = self._ground.config.outbox_full
        return admits(policy, held=self._ground.stats.held_bytes, most=self._most)

    async def look(self) -> None:
        """Measure; make room if that is the policy; tell of a change."""
        try:
            await self._measure()
            if self._fullness.changed(self._ground.stats.held_bytes):
                self._tell()
            if self._ground.config.outbox_full == "drop_oldest":
                await self._make_room()
        except StoreError as error:
            log.warning("MQTT: the outbox cannot be measured: %s", error)

    async def _measure(self) -> None:
        held = await self._ground.outbox.outbox_stats()
        stats = self._ground.stats
        stats.depth, stats.held_bytes, stats.oldest = held.depth, held.bytes, held.oldest
        self._sizes.append((self._ground.seconds, held.bytes))
        stats.full_in = seconds_to_full(self._sizes, self._most)

    def _tell(self) -> None:
        if self._fullness.full:
            lost = "new" if self._ground.config.outbox_full == "reject_new" else "the oldest"
            log.error(
                "MQTT: the outbox is full (%d bytes): %s messages are lost until the broker "
                "takes more; each is counted",
                self._ground.stats.held_bytes, lost,
            )  # fmt: skip
        else:
            log.warning("MQTT: the outbox has room again")
        self._ground.alert("full" if self._fullness.full else "ok")

    async def _make_room(self) -> None:
        """Drop the oldest rows, down to 95 % of the cap."""
        held, after, dropped = self._ground.stats.held_bytes, 0, 0
        goal = self._most - self._most // 20 if held > self._most else held
        while held > goal:
            page = await self._ground.outbox.outbox_after(after, DROP_PAGE)
            drop = to_drop(page, held=held, most=goal)
            if not drop:
                break
            after, dropped = drop[-1], dropped + len(drop)
            self._ground.drop(until=after)
            held -= sum(len(row.payload) for row in page[: len(drop)])
        if dropped:
            self._ground.stats.dropped += dropped
            log.error("MQTT: the oldest %d messages are dropped", dropped)
