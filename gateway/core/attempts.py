"""How often a password may be tried: a bound on attempts per address and per user. Pure.

Each key has a budget of `burst` attempts that comes back one by one, one in `interval`. It is kept
as one number, the time at which the budget is whole again (the generic cell rate algorithm).
"""

from collections.abc import Hashable, Sequence
from ipaddress import ip_address, ip_network

MOST_KEYS = 4096
_PREFIX_6 = 64


class Attempts:
    """Budgets by key. Times are monotonic, in ns; memory is bounded by `most` keys."""

    def __init__(self, *, burst: int, interval: int, most: int = MOST_KEYS) -> None:
        self._burst = burst
        self._interval = interval
        self._most = most
        self._whole: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._whole)

    def wait(self, key: Hashable, now: int) -> int:
        """How long until the next attempt is allowed; 0 if it is now."""
        ahead = max(0, self._whole.get(key, now) - now)
        return max(0, ahead - (self._burst - 1) * self._interval)

    def charge(self, key: Hashable, now: int) -> None:
        """Take one attempt off the budget."""
        if key not in self._whole and len(self._whole) >= self._most:
            self._forget(now)
        self._whole[key] = max(self._whole.get(key, now), now) + self._interval

    def refund(self, key: Hashable) -> None:
        """Give one attempt back: it was no guess."""
        if key in self._whole:
            self._whole[key] -= self._interval

    def _forget(self, now: int) -> None:
        """Make room: whole budgets go, and if there are none the one that is nearest to it."""
        self._whole = {key: whole for key, whole in self._whole.items() if whole > now}
        if len(self._whole) >= self._most:
            del self._whole[min(self._whole, key=lambda key: self._whole[key])]


class Throttle:
    """Several bounds at a time; an attempt needs room in all of them."""

    def __init__(self, *bounds: Attempts) -> None:
        self._bounds = bounds

    def take(self, keys: Sequence[Hashable], now: int) -> int:
        """Charge an attempt to `keys`, one a bound; if one has no room, charge none and say how
        long to wait (ns)."""
        pairs = list(zip(self._bounds, keys, strict=True))
        wait = max(bound.wait(key, now) for bound, key in pairs)
        if not wait:
            for bound, key in pairs:
                bound.charge(key, now)
        return wait

    def give_back(self, keys: Sequence[Hashable]) -> None:
        """The attempt was no guess: the password was right."""
        for bound, key in zip(self._bounds, keys, strict=True):
            bound.refund(key)


def origin_of(address: str) -> str:
    """What counts as one address: an IPv6 client has its whole /64."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 6:
        mapped = found.ipv4_mapped
        return str(mapped or ip_network((int(found), _PREFIX_6), strict=False))
    return str(found)
