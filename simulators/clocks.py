"""The clocks of a device: its Unix clock, that may be wrong or missing, and its monotonic one."""

import time
from collections import deque
from typing import NamedTuple

KEPT_BOOTS = 16
_ANCHOR = time.time_ns() - time.monotonic_ns()


def true_now() -> int:
    """Unix nanoseconds that never step back while this process lives."""
    return _ANCHOR + time.monotonic_ns()


class Stamp(NamedTuple):
    """A time as the device knows it: nanoseconds `t` of `clock` (DATA key 7: 0 or a boot id)."""

    t: int
    clock: int | bytes


class DeviceClock:
    """Turns true time into what one device believes.

    unix: whether the device knows Unix time at all. skew_ns and drift (seconds per second) are
    the error of that knowledge. booted: true Unix nanoseconds of the start of this boot.
    """

    def __init__(
        self, boot: bytes, booted: int, *, since: int | None = None, unix: bool = True,
        skew_ns: int = 0, drift: float = 0.0,
    ) -> None:  # fmt: skip
        """since: true Unix nanoseconds when the drift began (default: at the start)."""
        self.boot = boot
        self.booted = booted
        self.unix = unix
        self._before: deque[tuple[bytes, int]] = deque(maxlen=KEPT_BOOTS)
        self.skew_ns = skew_ns
        self.drift = drift
        self._set = booted if since is None else since

    def reboot(self, boot: bytes, now: int) -> None:
        """Start the monotonic clock again; the Unix clock runs on."""
        self._before.append((self.boot, self.booted))
        self.boot, self.booted = boot, now

    def mono_ms(self, now: int) -> int:
        return max(0, now - self.booted) // 1_000_000

    def stamp(self, now: int) -> Stamp:
        """What the device writes down as the time of true time `now`."""
        if not self.unix:
            boot, booted = self._boot_at(now)
            return Stamp(max(0, now - booted), boot)
        return Stamp(max(0, now + self.skew_ns + round((now - self._set) * self.drift)), 0)

    def _boot_at(self, now: int) -> tuple[bytes, int]:
        """The boot that ran at true time `now`, and its start."""
        for boot, booted in ((self.boot, self.booted), *reversed(self._before)):
            if booted <= now:
                return boot, booted
        return self.boot, self.booted
