"""What becomes of a row: done, tried again, or given up."""

import logging

from gateway.bridge.ground import Ground
from gateway.core.facts import OutboxDone, OutboxPut, OutboxRefused

log = logging.getLogger(__name__)


class Verdicts:
    """Each is a fact for the next commit, and forgets or remembers what the row did."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def done(self, row: OutboxPut) -> None:
        """Nobody needs it any more: the broker has it, or it is too old."""
        self._settle(row)
        self._ground.post(OutboxDone(done=0, id=row.id))  # the time is that of the commit

    def count(self, code: int) -> None:
        """A message was refused."""
        refused = self._ground.stats.refused
        refused[code] = refused.get(code, 0) + 1

    def strike(self, row: OutboxPut, code: int, text: str) -> None:
        """Try the row again later, unless it was refused too often."""
        if self._ground.refusals.refuse(row.id, self._ground.seconds):
            self.bury(row, code, text)
        else:
            self._ground.suspects.clear(row.id)
            self._ground.post(OutboxRefused(code=code, dead=False, id=row.id))

    def bury(self, row: OutboxPut, code: int, text: str) -> None:
        """Give the row up, and keep it aside."""
        self._settle(row)
        self._ground.stats.dead += 1
        self._ground.post(OutboxRefused(code=code, dead=True, id=row.id))
        log.error(
            "MQTT: message %d for %s is given up and kept aside: %s (0x%02x)",
            row.id, row.topic[:200], text, code,
        )  # fmt: skip

    def _settle(self, row: OutboxPut) -> None:
        self._ground.recent.add(row.id)
        self._ground.refusals.settle(row.id)
        self._ground.suspects.clear(row.id)
