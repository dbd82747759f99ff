"""Judging values against limits, array by array; the state between arrays is a few numbers."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.core.alert_rules import Limits

Times = NDArray[np.int64]
Values = NDArray[np.float64]

GRAIN = 32
"""A rate is measured against one reading in each 32nd of its span, so little need be kept."""


class Turn(NamedTuple):
    """An alert opened or closed with the value `v` at `t` (ns)."""

    opened: bool
    t: int
    v: float


@dataclass(slots=True)
class State:
    """Whether a rule's alert is open; since when (ns) values were out, while it is not open yet."""

    opened: bool = False
    since: int | None = None


def judge(limits: Limits, state: State, t: Times, v: Values) -> list[Turn]:
    """Move `state` over values v (n,) at rising times t (n,), n > 0; what turned.

    At most one opening and one closing, in this order, are told of an array: the first opening,
    if the alert was closed before, and the last closing, if it is closed after. An array after
    which the alert is open as before tells nothing.
    """
    low, high = (v[0], v[0]) if len(v) == 1 else (v.min(), v.max())
    if limits.keeps(low, high, opened=state.opened):
        state.since = None
        return []
    out, back = limits.out(v), limits.back(v)
    began = _began(out, t, state.since)
    due = out if not limits.hold else out & (t - began >= limits.hold)
    turns = _turns(due, back, opened=state.opened)
    told = _told([Turn(bool(due[i]), int(t[i]), float(v[i])) for i in turns], state.opened)
    if len(turns):
        state.opened = bool(due[turns[-1]])
    waits = limits.hold and out[-1] and not state.opened
    state.since = int(began[-1]) if waits else None
    return told


def _began(out: NDArray[np.bool_], t: Times, since: int | None) -> Times:
    """For each value that is out: the time of the first one of its run."""
    first = out.copy()
    first[1:] &= ~out[:-1]
    began = np.where(first, t, t[0])
    if since is not None and out[0]:
        began[0] = since
    index = np.maximum.accumulate(np.where(first, np.arange(len(t)), 0))
    return np.asarray(began[index], np.int64)


def _turns(due: NDArray[np.bool_], back: NDArray[np.bool_], *, opened: bool) -> NDArray[np.intp]:
    """Where the alert turns: `due` opens it, `back` closes it, anything else leaves it."""
    at = np.flatnonzero(due | back)
    after = due[at]
    before = np.concatenate([[opened], after[:-1]])
    return np.asarray(at[after != before], np.intp)


def _told(turns: list[Turn], opened: bool) -> list[Turn]:
    if not turns:
        return []
    first = [] if opened else turns[:1]
    last = [] if turns[-1].opened else turns[-1:]
    return first + last


@dataclass(slots=True)
class Slope:
    """How fast values change: per `per` (ns), since the newest reading that is as old as that.

    Only the first reading of each 32nd of `per` (counted from 1970, so that it does not matter
    how readings are cut into arrays) is measured against; those are all that is kept.
    """

    per: int
    _t: Times = field(default_factory=lambda: np.empty(0, np.int64))
    _v: Values = field(default_factory=lambda: np.empty(0))

    def rates(self, t: Times, v: Values) -> tuple[Times, Values]:
        """The rates at times t (n,), as far as there is an earlier reading (m <= n), and keep."""
        self._keep(t, v)
        at = np.searchsorted(self._t, t - self.per, "right") - 1
        known = at >= 0
        at, t, v = at[known], t[known], v[known]
        rates = (v - self._v[at]) / (t - self._t[at]) * self.per
        self._forget()
        return t, rates

    def recall(self, t: Times, v: Values) -> None:
        """Keep readings that were judged in an earlier life; they may come in any order."""
        every, values = np.concatenate([self._t, t]), np.concatenate([self._v, v])
        order = np.argsort(every, kind="stable")
        self._t, self._v = self._t[:0], self._v[:0]
        self._keep(every[order], values[order])
        self._forget()

    def clear(self) -> None:
        """Begin anew: times went back."""
        self._t, self._v = self._t[:0], self._v[:0]

    def _keep(self, t: Times, v: Values) -> None:
        self._t, self._v = np.concatenate([self._t, t]), np.concatenate([self._v, v])
        grains = self._t // (self.per // GRAIN)
        first = np.ones(len(grains), np.bool_)
        first[1:] = np.diff(grains) > 0
        self._t, self._v = self._t[first], self._v[first]

    def _forget(self) -> None:
        """Drop what is older than what the next reading can be measured against."""
        if len(self._t):
            oldest = np.searchsorted(self._t, self._t[-1] - self.per, "right") - 1
            self._t, self._v = self._t[max(oldest, 0) :], self._v[max(oldest, 0) :]
