"""What time it is, although the machine's own clock may be wrong (docs/operations.md, The clock).

A machine without a battery boots in the past, and a wrong time server moves years in one step. So
the system clock is compared with the last trusted time and what has passed since then on the
monotonic clock. While it is not believed, time goes on from there.
"""

from gateway.core.clock import Now
from gateway.core.readings import NS_PER_MS, NS_PER_S

EARLIEST = 1_700_000_000_000 * NS_PER_MS
"""A clock before this is not set yet."""
HOUR = 3600 * NS_PER_S
DAY = 24 * HOUR
LONGEST_OFF = 366 * DAY
"""How long a gateway may have been off, and its clock still be believed at once."""
STEADY = 60 * NS_PER_S
"""How far a clock may wander within an hour and still count as consistent with itself."""


class Timekeeper:
    """Turns the machine's clocks into the gateway's; both in ns, `mono` never steps.

    A step of up to an hour is followed at once, and so is a longer one forward during the first
    hour, for then the machine learns how long it was off. Any other step is believed once the
    clock has kept it for an hour.
    """

    def __init__(self, reference: int | None) -> None:
        """`reference`: the Unix time (ns) that was trusted last; None on a new store."""
        self._reference = reference
        self._trusted: Now | None = None
        self._settled = 0
        self._started: bool | None = None
        self._doubted: Now | None = None
        self._expiry_from = 0
        self._sure = False
        self._mono = 0

    def now(self, machine: Now) -> Now:
        """The gateway's time when the machine's clocks say `machine`, which is taken for sure."""
        if self._started is None:
            self._begin(machine.mono)
        self._mono = machine.mono
        expected = self._expected(machine)
        if self._plausible(machine, expected):
            self._trust(machine, expected, wait=HOUR)
        elif self._kept(machine):
            self._trust(machine, expected, wait=DAY)
        else:
            self._sure = False
            return Now(expected, machine.mono, sure=False)
        return machine

    @property
    def may_expire(self) -> bool:
        """Whether age may be a reason to delete: not before a leap of time has proved true."""
        return self._sure and self._mono >= self._expiry_from

    def _begin(self, mono: int) -> None:
        self._started, self._settled = False, mono + HOUR
        if self._reference is not None:
            self._trusted = Now(self._reference, mono)

    def _expected(self, machine: Now) -> int:
        if self._trusted is None:
            return machine.unix
        return self._trusted.unix + machine.mono - self._trusted.mono

    def _plausible(self, machine: Now, expected: int) -> bool:
        most = HOUR if self._started else LONGEST_OFF
        return machine.unix >= EARLIEST and -HOUR <= machine.unix - expected <= most

    def _kept(self, machine: Now) -> bool:
        """Whether a clock that is not plausible has agreed with itself for an hour."""
        if machine.unix < EARLIEST:
            self._doubted = None
            return False
        since = self._doubted
        if since is None or abs(machine.unix - since.unix - machine.mono + since.mono) > STEADY:
            since = self._doubted = machine
        return machine.mono - since.mono >= HOUR

    def _trust(self, machine: Now, expected: int, *, wait: int) -> None:
        """Go on from the system clock; after a leap of more than a day nothing expires for long."""
        if abs(machine.unix - expected) > DAY:
            self._expiry_from = max(self._expiry_from, machine.mono + wait)
        self._trusted, self._doubted, self._sure = machine, None, True
        self._started = machine.mono >= self._settled
