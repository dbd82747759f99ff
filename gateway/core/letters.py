"""Rows of the outbox as the messages that go to the broker."""

import json
from dataclasses import dataclass

from gateway.core.broker import Outgoing
from gateway.core.facts import OutboxPut
from gateway.core.topics import JSON_TYPE, Topics, topic_at

LONGEST_EXPIRY_S = 2**32 - 1
_NONE = ("{}", "")


@dataclass(frozen=True, slots=True)
class Letters:
    """Marks every message, so that consumers recognise one that comes twice.

    User properties: `gw`, `id` (the row's number, the same at every repetition) and `epoch` (of
    the log; numbers are unique within it).
    """

    topics: Topics
    epoch: str

    def row(self, row: OutboxPut, now_ms: int) -> Outgoing:
        """The message of a row that is sent now. Only live state expires at the broker."""
        properties = json.loads(row.properties) if row.properties not in _NONE else {}
        correlation = properties.get("correlation")
        return Outgoing(
            topic=topic_at(row, now_ms),
            payload=row.payload,
            retain=row.retain,
            content_type=properties.get("content_type", JSON_TYPE),
            correlation=None if correlation is None else bytes.fromhex(correlation),
            expiry_s=None if row.expires is None else _seconds(row.expires - now_ms),
            user=self._marks(str(row.id)),
        )

    def status(self, payload: bytes) -> Outgoing:
        """The gateway's own status, retained."""
        topic = self.topics.gateway_status
        return Outgoing(topic=topic, payload=payload, retain=True, user=self._marks())

    def retained(self, row: OutboxPut) -> Outgoing:
        """A status that is published afresh; its number means nothing."""
        return Outgoing(
            topic=row.topic,
            payload=row.payload,
            retain=True,
            content_type=JSON_TYPE,
            user=self._marks(),
        )

    def _marks(self, number: str | None = None) -> tuple[tuple[str, str], ...]:
        marks = (("gw", self.topics.gateway), ("epoch", self.epoch))
        return marks if number is None else (marks[0], ("id", number), marks[1])


def _seconds(ms: int) -> int:
    """Whole seconds, rounded up."""
    return min(-(-ms // 1000), LONGEST_EXPIRY_S)
