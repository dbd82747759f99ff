"""How long to wait before the next try."""

from collections.abc import Callable
from dataclasses import dataclass

SETTLED_S = 10.0
QUIET_S = 60.0


@dataclass(slots=True)
class Backoff:
    """Jittered exponential backoff; all times in seconds of a monotonic clock.

    A connection that lasted forgives the failures before it. One that was taken over by another
    client of the same name must last a whole minute, or both would throw each other out forever.
    `random` returns numbers from 0 to 1.
    """

    random: Callable[[], float]
    first: float = 1.0
    most: float = 60.0
    failures: int = 0
    taken_over: bool = False
    _since: float | None = None

    def connected(self, now: float) -> None:
        self._since = now

    def lost(self, now: float, *, taken_over: bool = False) -> float:
        """A connection ended, or could not be made: the delay before the next try."""
        needed = QUIET_S if self.taken_over else SETTLED_S
        if self._since is not None and now - self._since >= needed:
            self.failures = 0
            self.taken_over = False
        self._since = None
        self.taken_over = self.taken_over or taken_over
        ceiling = min(self.most, self.first * 2.0 ** min(self.failures, 16))
        self.failures += 1
        return ceiling * (0.5 + 0.5 * self.random())
