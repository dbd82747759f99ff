"""What the configuration wants to be told of: rules, and whom each is about."""

import re
from dataclasses import dataclass
from enum import Enum
from fnmatch import translate

import numpy as np
from numpy.typing import NDArray

from gateway.core.readings import Kind, SeriesKey

RESERVED = frozenset({"clock", "disk", "outbox", "store"})
"""Names of the gateway's own alerts."""


class Watch(Enum):
    """What a rule looks at; the value names it in an alert's `detail`."""

    LEVEL = "value"
    RATE = "rate"
    SILENCE = "silent_s"
    CLOCK = "clock_error_s"
    DISK = "disk_used"
    OUTBOX = "outbox_age_s"


MEASURED = frozenset({Watch.LEVEL, Watch.RATE})
"""What is judged by readings, and by their times."""


@dataclass(frozen=True, slots=True)
class Limits:
    """A range: a value is out beyond a limit, and back once it is within by `hysteresis`.

    hold: so long (ns) must values be out without a break before it counts.
    """

    above: float | None = None
    below: float | None = None
    hysteresis: float = 0.0
    hold: int = 0

    def out(self, v: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which values lie beyond a limit."""
        found = np.zeros(len(v), np.bool_)
        if self.above is not None:
            found |= v > self.above
        if self.below is not None:
            found |= v < self.below
        return found

    def back(self, v: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which values end it: as far as `hysteresis` within, or at the limit itself."""
        found = np.ones(len(v), np.bool_)
        if self.above is not None:
            found &= v <= self.above - self.hysteresis
        if self.below is not None:
            found &= v >= self.below + self.hysteresis
        return found

    def keeps(self, low: float, high: float, *, opened: bool) -> bool:
        """Whether an alert stays as it is for sure: no value, from the least to the greatest of
        them, is out or, of one that is open, back."""
        above, below = self.above, self.below
        if not opened:
            return (above is None or high <= above) and (below is None or low >= below)
        return (above is not None and low > above - self.hysteresis) or (
            below is not None and high < below + self.hysteresis
        )

    def passed(self, value: float) -> dict[str, float]:
        """The limit that a value lies beyond, by its name."""
        if self.above is not None and value > self.above:
            return {"above": self.above}
        if self.below is not None and value < self.below:
            return {"below": self.below}
        return {}


@dataclass(frozen=True, slots=True)
class Rule:
    """One `[[alerts]]` table. device, metric: patterns with `*`, `?` and `[…]`.

    metric None: of no metric in particular. after: the length of a silence, per: the span of a
    rate (ns). text: for people.
    """

    name: str
    watch: Watch
    device: str = "*"
    metric: str | None = None
    limits: Limits = Limits()
    after: int = 0
    per: int = 0
    text: str = ""

    def about(self, device: str, metric: str = "") -> bool:
        """Whether the rule is about that device, and that metric if it names any."""
        return _matches(self.device, device) and (
            self.metric is None or _matches(self.metric, metric)
        )

    def judges(self, key: SeriesKey) -> bool:
        """Whether the readings of a series are judged by it. A text has no size."""
        fits = self.watch in MEASURED and key.kind is not Kind.TEXT
        return fits and self.about(key.device, key.metric)


def _matches(pattern: str, name: str) -> bool:
    return pattern == "*" or re.match(translate(pattern), name) is not None
