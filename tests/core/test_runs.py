"""Runs: what lies between two times."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.between import Between
from gateway.core.chunks import Run
from gateway.core.readings import Clock
from gateway.core.runs import within

TIMES = st.lists(st.integers(0, 12), max_size=20)


@given(TIMES, st.integers(0, 12), st.integers(0, 12))
def test_what_lies_between_two_times_in_whatever_order(
    times: list[int], since: int, until: int
) -> None:
    run = Run("Cel", Clock.DEVICE, b"", np.array(times, np.int64), np.arange(len(times)))
    kept = [(t, n) for n, t in enumerate(times) if since <= t < until]
    found = list(within(run, Between(since, until)))
    assert [
        pair for some in found for pair in zip(some.t.tolist(), some.v.tolist(), strict=True)
    ] == kept
    assert len(found) <= 1
