"""How long to wait before the next try."""

from collections.abc import Callable
from dataclasses import dataclass

QUIET_S = 60.0


@dataclass(slots=True)
class Backoff:
    """Jittered exponential backoff; all times in seconds of a monotonic clock.

    Only a connection that lasted a minute forgives the failures before it. To be accepted is not
    enough: two clients of the same name, of which each throws the other out (MQTT 5 says 0x8E,
    some brokers say nothing), would do so forever. `random` returns numbers from 0 to 1.
    """

    random: Callable[[], float]
    first: float = 1.0
    most: float = 60.0
    failures: int = 0
    _since: float | None = None

    def connected(self, now: float) -> None:
        self._since = now

    def lost(self, now: float) -> float:
        """A connection ended, or could not be made: the delay before the next try."""
        if self._since is not None and now - self._since >= QUIET_S:
            self.failures = 0
        self._since = None
        ceiling = min(self.most, self.first * 2.0 ** min(self.failures, 16))
        self.failures += 1
        return ceiling * (0.5 + 0.5 * self.random())
