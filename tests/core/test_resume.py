"""The resume table alone, and as a model: two ends, drops, restarts and overflow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.core.resume import Verdict, resume
from gateway.core.session import GAP, NEW, REFUSED, RESUMED


@pytest.mark.parametrize(
    ("committed", "lo", "hi", "verdict"),
    [
        (None, 1, 0, Verdict(NEW, 0)),
        (None, 5, 9, Verdict(NEW, 4)),
        (4, 5, 9, Verdict(RESUMED, 4)),
        (9, 5, 9, Verdict(RESUMED, 9)),
        (9, 10, 9, Verdict(RESUMED, 9)),
        (3, 5, 9, Verdict(GAP, 4, (4, 4))),
        (0, 10, 9, Verdict(GAP, 9, (1, 9))),
        (10, 5, 9, Verdict(REFUSED, 10)),
        (1, 1, 0, Verdict(REFUSED, 1)),
    ],
)
def test_the_table(committed: int | None, lo: int, hi: int, verdict: Verdict) -> None:
    assert resume(committed, lo=lo, hi=hi) == verdict


@given(st.none() | st.integers(0, 50), st.integers(1, 50), st.integers(0, 50))
def test_the_device_can_always_go_on(committed: int | None, lo: int, more: int) -> None:
    hi = lo - 1 + more
    verdict = resume(committed, lo=lo, hi=hi)
    if verdict.state != REFUSED:
        assert lo - 1 <= verdict.committed <= hi


class Life(RuleBasedStateMachine):
    """A device with a bounded queue and a gateway that commits, with everything that can fail."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch = 0
        self.lo, self.hi = 1, 0
        self.committed: dict[int, int] = {}
        self.taken: list[tuple[int, int]] = []
        self.lost: list[tuple[int, int]] = []
        self.flight = -1

    @rule()
    def measure(self) -> None:
        self.hi += 1
        if self.hi - self.lo >= 5:
            self.lo += 1

    @rule()
    def connect(self) -> None:
        verdict = resume(self.committed.get(self.epoch), lo=self.lo, hi=self.hi)
        if verdict.state == REFUSED:
            self.epoch += 1
            verdict = resume(None, lo=self.lo, hi=self.hi)
        if verdict.lost is not None:
            first, last = verdict.lost
            self.lost += [(self.epoch, seq) for seq in range(first, last + 1)]
        self.committed[self.epoch] = verdict.committed
        self.flight = verdict.committed
        self.lo = max(self.lo, verdict.committed + 1)

    @rule(acknowledged=st.booleans())
    def deliver(self, acknowledged: bool) -> None:
        """One message is committed; its ACK arrives, or the connection breaks before."""
        if not 0 <= self.flight < self.hi or self.flight + 1 < self.lo:
            return
        self.flight += 1
        assert self.flight == self.committed[self.epoch] + 1
        self.taken.append((self.epoch, self.flight))
        self.committed[self.epoch] = self.flight
        if acknowledged:
            self.lo = max(self.lo, self.flight + 1)
        else:
            self.flight = -1

    @rule()
    def drop(self) -> None:
        self.flight = -1

    @rule()
    def lose_the_counter(self) -> None:
        self.lo, self.hi, self.flight = 1, 0, -1

    @invariant()
    def nothing_twice(self) -> None:
        assert len(set(self.taken)) == len(self.taken)
        assert not set(self.taken) & set(self.lost)

    @invariant()
    def nothing_in_silence(self) -> None:
        for epoch, committed in self.committed.items():
            known = [seq for e, seq in (*self.taken, *self.lost) if e == epoch]
            if known:
                assert sorted(known) == list(range(min(known), committed + 1))


TestLife = Life.TestCase
