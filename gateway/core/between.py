"""Which readings lie between two times."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Part = slice | NDArray[np.bool_]
"""Some of an array: a slice, which copies nothing, if it stands together."""


class Between(NamedTuple):
    """since <= t < until (ns, within 64 bits)."""

    since: int
    until: int

    def part(self, t: NDArray[np.int64]) -> Part:
        """Where times lie between the two. Times are mostly in order."""
        if (t[1:] < t[:-1]).any():
            return (t >= self.since) & (t < self.until)
        first, end = t.searchsorted(np.array(self, np.int64)).tolist()
        return slice(first, max(first, end))


def end_of(part: Part, n: int) -> int:
    """How many of n must be read to know those of a part."""
    return part.stop if isinstance(part, slice) else n
