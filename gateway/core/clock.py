"""Time as an argument, and the mapping of a device's monotonic clock to Unix time."""

from collections import deque
from typing import NamedTuple

from gateway.core.readings import NS_PER_MS, NS_PER_S

SLIDING = 3600 * NS_PER_S
MOST_SAMPLES = 256
STEADY = NS_PER_MS


class Now(NamedTuple):
    """The gateway's clocks at one instant, in nanoseconds: Unix time and monotonic time.

    sure: whether the Unix time is believed (`core.timekeeping`).
    """

    unix: int
    mono: int
    sure: bool = True

    @property
    def ms(self) -> int:
        """Unix milliseconds."""
        return self.unix // NS_PER_MS


class BootClock:
    """Maps the monotonic clock of one boot of a device (docs/wire.md, Time).

    A sample is the gateway's monotonic time of receipt less the device's time of sending. Its
    delay can only be too large, so the smallest sample of a sliding hour is the best. Samples are
    kept against the gateway's *monotonic* clock: a step of its Unix clock spoils none of them.

    The mapping is learnt only while the gateway's clock is sure, and kept steady, so that evenly
    spaced readings stay so: whole milliseconds, the same as long as they are right to one.
    """

    def __init__(self, offset: int | None = None, error: int | None = None) -> None:
        self.stored = offset
        self.stored_error = error
        self._samples: deque[tuple[int, int]] = deque(maxlen=MOST_SAMPLES)

    def sample(self, now: Now, device_ms: int) -> None:
        """Learn from a HELLO or TIMESYNC that said `device_ms` and arrived now."""
        while len(self._samples) > 1 and self._samples[0][0] < now.mono - SLIDING:
            self._samples.popleft()
        self._samples.append((now.mono, now.mono - device_ms * NS_PER_MS))

    @property
    def known(self) -> bool:
        return bool(self._samples) or self.stored is not None

    def offset(self, now: Now) -> int | None:
        """Nanoseconds to add to the device's time; None while nothing is known."""
        if self._samples and now.sure:
            self.stored = _steady(self.stored, self._best() + now.unix - now.mono)
            self.stored_error = self.error()
        return self.stored

    def error(self) -> int | None:
        """How far the newest sample is from the best: delay, jitter and drift, in ns; and the
        millisecond by which the mapping is held steady."""
        if not self._samples:
            return self.stored_error
        return self._newest() - self._best() + STEADY

    def _best(self) -> int:
        return min(difference for _, difference in self._samples)

    def _newest(self) -> int:
        return self._samples[-1][1]


def _steady(earlier: int | None, exact: int) -> int:
    """The earlier offset while it is good enough, else the exact one to the nearest ms (ns)."""
    if earlier is not None and not earlier % NS_PER_MS and abs(exact - earlier) <= STEADY:
        return earlier
    return (exact + NS_PER_MS // 2) // NS_PER_MS * NS_PER_MS
