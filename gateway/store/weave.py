"""Weaving: messages of one size are laid out byte by byte, the first of each, then the second.

What messages have in common then stands together, and deflates to half of what it would. Sizes
follow one another in the order in which they first occur.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from operator import mul

import numpy as np
from numpy.typing import NDArray


def woven(body: bytes, sizes: Sequence[int]) -> bytes:
    """Weave a body that joins messages of these sizes."""
    raw = np.frombuffer(body, np.uint8)
    return b"".join(raw[places].T.tobytes() for places in _places(sizes))


def picker(body: bytes, sizes: Sequence[int]) -> Callable[[int], bytes]:
    """What gives the messages of a woven body by their numbers."""
    apart = Counter(sizes)
    ends = dict(zip(apart, accumulate(map(mul, apart, apart.values())), strict=True))

    def pick(number: int) -> bytes:
        size = sizes[number]
        end, step = ends[size], apart[size]
        first = end - size * step + sizes[:number].count(size)
        return body[first:end:step]

    return pick


def _places(sizes: Sequence[int]) -> Iterator[NDArray[np.int64]]:
    """For each size where its messages' bytes are in the body, int64 of (messages, size)."""
    starts = np.cumsum([0, *sizes], dtype=np.int64)
    alike: defaultdict[int, list[int]] = defaultdict(list)
    for n, size in enumerate(sizes):
        alike[size].append(n)
    for size, numbers in alike.items():
        yield starts[numbers][:, None] + np.arange(size)
