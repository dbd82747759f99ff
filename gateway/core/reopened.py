"""Which windows must be summarised again when readings come back from a damaged database."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gateway.core.facts import RevisionDue
from gateway.core.readings import NS_PER_MS, distinct
from gateway.core.windows import Window


def reopened(
    lengths: Sequence[Window], watermark: int, series: int, t: NDArray[np.int64]
) -> list[RevisionDue]:
    """The windows of these readings (ns UTC) that `watermark` had not closed.

    Those that were closed have a summary, which comes back by itself.
    """
    return [
        RevisionDue(window.name, place * window.length // NS_PER_MS, series)
        for window in lengths
        for place in distinct(t[t >= window.start(watermark)] // window.length)
    ]
