"""The power fails at any sync: what was acknowledged before is there, and everything agrees."""

import random
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

from tests.faults.campaign import Report
from tests.faults.powercut import Cut, Event, File, Folder, Write, cuts, lay_out, record, survive

SHORT = 30


async def test_what_was_acknowledged_survives_a_power_cut(tmp_path: Path) -> None:
    recording, ledger = await record(tmp_path, 5, seconds=1.2)
    report = Report()
    rng = random.Random(5)
    count = sum(1 for _ in cuts(recording))
    chosen = set(range(12)) | set(rng.sample(range(count), min(SHORT, count))) | {count - 1}
    for n, cut in enumerate(cuts(recording)):
        if n in chosen:
            await survive(cut, ledger, tmp_path / "cut", rng, report)
    print(report)
    assert report.verdict.found == []
    assert report.attacks["cuts"] == len(chosen)
    assert report.verdict.acknowledged > 1000


async def test_relaxed_durability_is_caught(tmp_path: Path) -> None:
    """The campaign can fail: acknowledgements that rest on no sync are lost, and it says so.

    A hole in the WAL, which no power cut leaves where commits are synced, counts as damage.
    """
    recording, ledger = await record(tmp_path, 6, seconds=1.2, durability="relaxed")
    report = Report()
    rng = random.Random(6)
    for cut in cuts(recording):
        await survive(cut, ledger, tmp_path / "cut", rng, report)
        if report.verdict.found:
            break
    assert report.verdict.lost + report.verdict.damaged > 0


def test_the_disk_keeps_what_was_synced_and_any_part_of_the_rest(tmp_path: Path) -> None:
    """Of a write that no sync followed, whole, torn and missing ones are all seen."""
    file = File(bytearray(b"a" * 2048), [Write(0, b"b" * 2048)])
    seen = Counter()
    for seed in range(300):
        lay_out(Cut(0.0, "x", Folder({"x": file})), tmp_path, random.Random(seed))
        content = (tmp_path / "x").read_bytes()
        seen["old" if b"b" not in content else "new" if b"a" not in content else "torn"] += 1
    assert min(seen["old"], seen["new"], seen["torn"]) > 5
    recording = [
        Event(1, 1, "create", "x"),
        Event(2, 2, "write", "x", Write(0, b"1")),
        Event(3, 3, "fsync", "x"),
        Event(4, 4, "write", "x", Write(1, b"2")),
        Event(5, 5, "fsync", "x"),
    ]
    assert [
        (bytes(file.durable), len(file.pending))
        for file in (cut.folder.names()["x"] for cut in map(deepcopy, cuts(recording)))
    ] == [(b"", 1), (b"1", 1), (b"12", 0)]


RENAMED = [
    Event(1, 1, "create", "x"),
    Event(2, 2, "write", "x", Write(0, b"old")),
    Event(3, 3, "fsync", "x"),
    Event(4, 4, "syncdir", ""),
    Event(5, 5, "create", "x.part"),
    Event(6, 6, "write", "x.part", Write(0, b"new")),
    Event(7, 7, "fsync", "x.part"),
    Event(8, 8, "rename", "x.part", to="x"),
    Event(9, 9, "syncdir", ""),
]
UNSYNCED = [event for event in RENAMED if event.at != 7]


def test_a_renamed_file_is_the_old_or_the_new_one_until_its_folder_was_synced(
    tmp_path: Path,
) -> None:
    assert outcomes(RENAMED[:8], tmp_path) == {
        (("x", b"old"),),
        (("x", b"old"), ("x.part", b"new")),
        (("x", b"new"),),
    }
    assert outcomes(RENAMED, tmp_path) == {(("x", b"new"),)}


def test_a_file_that_was_renamed_unsynced_may_be_empty(tmp_path: Path) -> None:
    assert outcomes(UNSYNCED, tmp_path) == {(("x", b"new"),), (("x", b""),)}


def outcomes(recording: Sequence[Event], folder: Path) -> set[tuple[tuple[str, bytes], ...]]:
    """What may be on the disk if the power fails at the end."""
    *_, cut = cuts(recording)
    found = set()
    for seed in range(100):
        place = folder / f"{len(recording)}-{seed}"
        place.mkdir()
        lay_out(cut, place, random.Random(seed))
        found.add(tuple(sorted((path.name, path.read_bytes()) for path in place.iterdir())))
    return found
