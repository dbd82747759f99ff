"""What the broker knows of us, and what it may have lost with it."""

import logging

from gateway.bridge.ground import Ground
from gateway.core.facts import MetaSet
from gateway.errors import StoreError

log = logging.getLogger(__name__)

AUTOSAVE_MS = 30 * 60_000
"""How long Mosquitto keeps what it acknowledged in memory only (autosave_interval)."""
META_SESSION = "mqtt_session"


class Session:
    """Remembers that the broker had a session of ours: one that has none now has lost its memory,
    and with it what it acknowledged last.

    name: which broker, and who we are to it. known: the name that the last run left.
    """

    def __init__(self, ground: Ground, *, name: str, known: str | None) -> None:
        self._ground = ground
        self._name = name
        self._known = known
        self._owed = False
        self._ended: int | None = None

    def ended(self) -> None:
        """A connection has ended."""
        self._ended = self._ground.clock().ms

    async def begin(self, *, present: bool) -> None:
        """A connection has begun; `present`: the broker remembers us."""
        self._owed |= not present and self._known == self._name
        if self._known != self._name:
            self._known = self._name
            self._ground.post(MetaSet(META_SESSION, self._name))
        if self._owed:
            try:
                await self._replay()
            except StoreError as error:
                log.warning("MQTT: what the broker lost cannot be read yet: %s", error)

    async def _replay(self) -> None:
        """Open again what the broker acknowledged in the half hour before the connection ended."""
        end = self._ended
        if end is None:
            end = (await self._ground.outbox.outbox_stats()).acked
        self._owed = False
        if end is not None:
            log.warning("MQTT: the broker has lost our session; its last half hour is sent again")
            self._ground.reopening = True
            self._ground.reopen(end - AUTOSAVE_MS)
