"""Readings of one series: put in order of time, cut by time, and in portions for chunks."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gateway.core.between import Between
from gateway.core.chunks import Run
from gateway.core.readings import NS_PER_S, distinct

DAY = 86_400 * NS_PER_S
MOST = 4096
"""Readings of one chunk."""


def by_time(runs: Sequence[Run]) -> list[Run]:
    """The same readings by time; of equal times the one in the earlier run comes first.

    A new run begins wherever unit, clock, boot or type of value change.
    """
    filled = [run for run in runs if len(run.t)]
    kinds: dict[tuple[object, ...], list[Run]] = {}
    for run in filled:
        kinds.setdefault((run.unit, run.clock, run.boot, run.v.dtype), []).append(run)
    if len(kinds) < 2:
        return [_joined(some) for some in kinds.values()]
    return _woven(filled, list(kinds))


def _joined(runs: Sequence[Run]) -> Run:
    """Runs of one kind as a single one, sorted."""
    t = np.concatenate([run.t for run in runs])
    v = np.concatenate([run.v for run in runs])
    if (t[1:] < t[:-1]).any():
        order = np.argsort(t, kind="stable")
        t, v = t[order], v[order]
    return runs[0]._replace(t=t, v=v)


def _woven(runs: Sequence[Run], kinds: Sequence[tuple[object, ...]]) -> list[Run]:
    """Runs of several kinds: each keeps its type, so each is a run of its own."""
    t = np.concatenate([run.t for run in runs])
    source = np.repeat(np.arange(len(runs)), [len(run.t) for run in runs])
    place = np.concatenate([np.arange(len(run.t)) for run in runs])
    order = np.argsort(t, kind="stable")
    source, place = source[order], place[order]
    numbers = [kinds.index((run.unit, run.clock, run.boot, run.v.dtype)) for run in runs]
    kind = np.array(numbers)[source]
    cuts = [0, *(np.flatnonzero(kind[1:] != kind[:-1]) + 1).tolist(), len(t)]
    return [_picked(runs, source[a:b], place[a:b]) for a, b in pairwise(cuts)]


def _picked(runs: Sequence[Run], source: NDArray[np.intp], place: NDArray[np.intp]) -> Run:
    """The readings at these places of these runs, all of one kind."""
    first = runs[int(source[0])]
    t = np.empty(len(source), np.int64)
    v = np.empty(len(source), first.v.dtype)
    for number in distinct(source):
        here = source == number
        t[here] = runs[number].t[place[here]]
        v[here] = runs[number].v[place[here]]
    return first._replace(t=t, v=v)


def parted(runs: Sequence[Run], end: int) -> tuple[list[Run], list[Run]]:
    """Sorted runs parted into what has t <= end (ns), and the rest."""
    early, rest = [], []
    for run in runs:
        at = int(np.searchsorted(run.t, end, side="right"))
        early.append(run._replace(t=run.t[:at], v=run.v[:at]))
        rest.append(run._replace(t=run.t[at:], v=run.v[at:]))
    return [run for run in early if len(run.t)], [run for run in rest if len(run.t)]


def within(run: Run, between: Between) -> Iterator[Run]:
    """What lies between the two times, if anything does."""
    part = between.part(run.t)
    t = run.t[part]
    if len(t):
        yield run._replace(t=t, v=run.v[part])


def portions(runs: Sequence[Run]) -> Iterator[list[Run]]:
    """Sorted runs cut into portions of at most MOST readings, each within one UTC day."""
    held: list[Run] = []
    room, day = MOST, 0
    for run in runs:
        for start, end in _days(run.t):
            at = start
            while at < end:
                today = int(run.t[at]) // DAY
                if held and (not room or today != day):
                    yield held
                    held, room = [], MOST
                day, upto = today, min(end, at + room)
                held.append(run._replace(t=run.t[at:upto], v=run.v[at:upto]))
                room -= upto - at
                at = upto
    if held:
        yield held


def _days(t: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Where the readings of each day begin and end in sorted times."""
    days = t // DAY
    cuts = [0, *(np.flatnonzero(days[1:] != days[:-1]) + 1).tolist(), len(t)]
    yield from pairwise(cuts)
