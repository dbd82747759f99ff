"""The resume table: what a HELLO means for a stream of which A is committed."""

from typing import NamedTuple

from gateway.core.session import GAP, NEW, REFUSED, RESUMED


class Verdict(NamedTuple):
    """WELCOME's state, the committed seq to go on from, and the numbers lost, if any."""

    state: int
    committed: int
    lost: tuple[int, int] | None = None


def resume(committed: int | None, *, lo: int, hi: int) -> Verdict:
    """Compare the device's queue [lo, hi] with `committed` (None: the epoch is unknown).

    docs/wire.md, Opening: 0 resumed, 1 new, 2 gap, 3 refused.
    """
    if committed is None:
        return Verdict(NEW, lo - 1)
    if committed > hi:
        return Verdict(REFUSED, committed)
    if committed < lo - 1:
        return Verdict(GAP, lo - 1, (committed + 1, lo - 1))
    return Verdict(RESUMED, committed)
