"""Counting what a device or a whole fleet did."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np

LATENCIES = 50_000


class Flown(NamedTuple):
    """A message on its way: sent, and not yet acknowledged."""

    last: int
    numbers: int
    readings: int
    lost: bool
    """It is a GAP."""
    at: float
    """When it was sent, in seconds of the loop's clock."""


@dataclass(slots=True)
class Counts:
    """What one device did. Messages, unless the name says readings."""

    sent: int = 0
    resent: int = 0
    acknowledged: int = 0
    acknowledged_readings: int = 0
    """Of acknowledged messages that were not rejected."""
    lost: int = 0
    """Numbers that a GAP declared lost, as far as the gateway has acknowledged the GAP."""
    lost_readings: int = 0
    rejected: int = 0
    rejected_readings: int = 0
    reconnects: int = 0
    refused: int = 0
    """WELCOMEs that made the device begin a new epoch."""
    commands: int = 0
    forgotten: int = 0
    """Queued messages that a device lost together with its counter."""

    def add(self, other: "Counts") -> None:
        for item in fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))

    def land(self, flown: Flown) -> None:
        """Count a message that was acknowledged."""
        if flown.lost:
            self.lost += flown.numbers
            self.lost_readings += flown.readings
        else:
            self.acknowledged += 1
            self.acknowledged_readings += flown.readings

    def as_dict(self) -> dict[str, int]:
        return {item.name: getattr(self, item.name) for item in fields(self)}


@dataclass(slots=True)
class Tally:
    """What all devices of this process share: acknowledgement latencies and the last troubles."""

    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES))
    """Seconds from a message's first sending to the ACK that covers it."""
    troubles: dict[str, str] = field(default_factory=dict)
    """Device to the reason why it is not connected."""

    def latency_ms(self) -> dict[str, float]:
        """p50, p99 and max in milliseconds; empty if nothing was acknowledged."""
        if not self.latencies:
            return {}
        seen = np.fromiter(self.latencies, float) * 1000
        p50, p99 = np.percentile(seen, (50, 99))
        return {"p50": round(p50, 1), "p99": round(p99, 1), "max": round(float(seen.max()), 1)}


def total(counts: Iterable[Counts]) -> Counts:
    """The sum over devices."""
    whole = Counts()
    for one in counts:
        whole.add(one)
    return whole


def summary(counts: Counts, tally: Tally, *, devices: int, queued: int) -> dict[str, Any]:
    """The end of a run as plain values."""
    return {
        "devices": devices,
        **counts.as_dict(),
        "queued": queued,
        "ack_ms": tally.latency_ms(),
    }
