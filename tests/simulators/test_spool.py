"""Both spools keep the same promises; the one on disk also over crashes."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.messages import Data, Event, Gap
from simulators.body import UNNUMBERED
from simulators.diskspool import BLOCK, COMPACT_AT, DiskSpool
from simulators.queue import Loss
from simulators.spool import RamSpool, Spool, SpoolError


def data(value: int, sid: int = 1) -> Data:
    return Data(seq=UNNUMBERED, sid=sid, t0=value, step=None, columns=[value], valid=None, clock=0)


def contents(spool: Spool) -> list[tuple[int, int, Any]]:
    """(first number, last number, value or None for a GAP) of everything queued."""
    found, seq = [], spool.lo - 1
    while (entry := spool.after(seq)) is not None:
        message = entry.message
        value = message.columns[0] if isinstance(message, Data) else None
        assert message.seq == entry.seq
        found.append((entry.seq, entry.last, value))
        seq = entry.last
    return found


@pytest.fixture(params=["ram", "disk"])
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[int], Spool]:
    if request.param == "ram":
        return RamSpool
    return lambda capacity: DiskSpool(tmp_path / "s.spool", capacity=capacity)


def test_numbers_go_up_from_one_and_stay_until_freed(build: Callable[[int], Spool]) -> None:
    spool = build(10)
    assert (spool.lo, spool.hi, len(spool)) == (1, 0, 0)
    assert [spool.append(data(v), 1) for v in (7, 8, 9)] == [1, 2, 3]
    assert spool.free(2) == [(1, 1, False), (1, 1, False)]
    assert (spool.lo, spool.hi) == (3, 3)
    assert contents(spool) == [(3, 3, 9)]
    spool.free(3)
    assert (spool.lo, spool.hi, len(spool)) == (4, 3, 0)


def test_a_full_spool_drops_its_oldest_and_says_so(build: Callable[[int], Spool]) -> None:
    spool = build(2)
    for value in range(5):
        spool.append(data(value), 10)
    assert contents(spool) == [(1, 3, None), (4, 4, 3), (5, 5, 4)]
    entry = spool.after(0)
    assert entry is not None
    assert entry.message == Gap(seq=1, last=3, reason=Loss.OVERFLOW, readings=30)
    assert spool.free(3) == [(3, 30, True)]


def test_a_new_epoch_numbers_what_is_queued_from_one(build: Callable[[int], Spool]) -> None:
    spool = build(2)
    for value in range(4):
        spool.append(data(value), 1)
    old = spool.epoch
    spool.renew()
    assert spool.epoch != old
    assert contents(spool) == [(1, 1, 2), (2, 2, 3)]


def test_a_message_that_is_too_big_can_be_given_up(build: Callable[[int], Spool]) -> None:
    spool = build(5)
    spool.append(data(1), 6)
    spool.append(data(2), 1)
    spool.surrender()
    entry = spool.after(0)
    assert entry is not None
    assert entry.message == Gap(seq=1, last=1, reason=Loss.TOO_BIG, readings=6)


def test_schemas_of_queued_data_are_known(build: Callable[[int], Spool]) -> None:
    spool = build(9)
    spool.append(data(1, sid=4), 1)
    spool.append(Event(seq=UNNUMBERED, name="e", detail=None), 0)
    spool.append(data(1, sid=7), 1)
    assert spool.sids == {4, 7}
    spool.free(1)
    assert spool.sids == {7}


OPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 100)),
        st.tuples(st.just("free"), st.integers(0, 5)),
        st.tuples(st.just("surrender"), st.just(0)),
        st.tuples(st.just("reopen"), st.just(0)),
    ),
    max_size=40,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ops=OPS, capacity=st.integers(1, 6))
def test_the_disk_does_what_ram_does(
    tmp_path: Path, ops: list[tuple[str, int]], capacity: int
) -> None:
    path = tmp_path / "same.spool"
    path.unlink(missing_ok=True)
    ram, disk = RamSpool(capacity), DiskSpool(path, capacity=capacity)
    for op, n in ops:
        if op == "reopen":
            disk.close()
            disk = DiskSpool(path, capacity=capacity)
        for spool in (ram, disk):
            if op == "append":
                spool.append(data(n), n)
            elif op == "free":
                spool.free(min(spool.lo - 1 + n, spool.hi))
            elif op == "surrender":
                spool.surrender()
        assert contents(disk) == contents(ram)
        assert (disk.lo, disk.hi, len(disk), disk.sids) == (ram.lo, ram.hi, len(ram), ram.sids)
    disk.close()


def crash(spool: DiskSpool) -> None:
    """What a killed process leaves: the file, not closed in order."""
    spool._log.close()


def test_after_a_crash_the_doubtful_numbers_are_a_loss(tmp_path: Path) -> None:
    path = tmp_path / "s.spool"
    spool = DiskSpool(path)
    epoch = spool.epoch
    spool.append(data(5), 1)
    crash(spool)
    spool = DiskSpool(path)
    assert spool.epoch == epoch
    assert contents(spool) == [(1, 1, 5), (2, BLOCK, None)]
    entry = spool.after(1)
    assert entry is not None
    assert entry.message == Gap(seq=2, last=BLOCK, reason=Loss.RESTART, readings=None)
    assert spool.append(data(6), 1) == BLOCK + 1


def test_with_every_record_forced_to_disk_nothing_is_doubtful(tmp_path: Path) -> None:
    path = tmp_path / "s.spool"
    spool = DiskSpool(path, fsync=True)
    spool.append(data(5), 1)
    crash(spool)
    spool = DiskSpool(path, fsync=True)
    assert contents(spool) == [(1, 1, 5)]
    assert spool.append(data(6), 1) == 2


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cut=st.integers(0, 400))
def test_a_torn_tail_never_gives_a_number_twice(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "torn.spool"
    path.unlink(missing_ok=True)
    spool = DiskSpool(path)
    epoch = spool.epoch
    for value in range(8):
        spool.append(data(value), 1)
    crash(spool)
    os.truncate(path, max(0, path.stat().st_size - cut))
    spool = DiskSpool(path)
    assert spool.append(data(99), 1) > 8 or spool.epoch != epoch
    kept = [value for _, _, value in contents(spool) if value not in (None, 99)]
    assert kept == list(range(len(kept)))
    spool.close()


def test_a_damaged_record_ends_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "s.spool"
    spool = DiskSpool(path)
    for value in range(3):
        spool.append(data(value), 1)
    size = path.stat().st_size
    crash(spool)
    with path.open("r+b") as file:
        file.seek(size - 3)
        file.write(b"\xff")
    spool = DiskSpool(path)
    assert [value for _, _, value in contents(spool)] == [0, 1, None]


def test_freed_space_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "s.spool"
    spool = DiskSpool(path)
    big = Event(seq=UNNUMBERED, name="e", detail="x" * 5000)
    for seq in range(1, 400):
        spool.append(big, 0)
        spool.free(seq - 2)
    assert path.stat().st_size < 2 * COMPACT_AT + 20_000
    assert (spool.lo, spool.hi) == (398, 399)
    epoch = spool.epoch
    spool.close()
    again = DiskSpool(path)
    assert (again.lo, again.hi, again.epoch) == (398, 399, epoch)


def test_two_processes_cannot_share_a_spool(tmp_path: Path) -> None:
    spool = DiskSpool(tmp_path / "s.spool")
    with pytest.raises(SpoolError, match="another process"):
        DiskSpool(tmp_path / "s.spool")
    spool.free(0)


def test_a_spool_that_cannot_be_opened_says_which(tmp_path: Path) -> None:
    (tmp_path / "s.spool").mkdir()
    with pytest.raises(SpoolError, match=r"s\.spool"):
        DiskSpool(tmp_path / "s.spool")


KILLED = """
import os, sys
from pathlib import Path
from gateway.core.messages import Event
from simulators.diskspool import DiskSpool
spool = DiskSpool(Path(sys.argv[1]), fsync=True)
while True:
    seq = spool.append(Event(seq=0, name="n", detail=spool.hi + 1), 1)
    print(seq, flush=True)
"""


def test_every_number_given_out_before_a_kill_is_still_there(tmp_path: Path) -> None:
    path = tmp_path / "s.spool"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        told = [int(process.stdout.readline()) for _ in range(50)]
        process.send_signal(signal.SIGKILL)
        told += [int(line) for line in process.stdout.read().split()]
    spool = DiskSpool(path, fsync=True)
    assert spool.hi >= told[-1]
    for seq in told:
        entry = spool.after(seq - 1)
        assert entry is not None
        assert entry.message == Event(seq=seq, name="n", detail=seq)
