"""The power fails at any sync: what was acknowledged before is there, and everything agrees."""

import random
from collections import Counter
from pathlib import Path

from tests.faults.campaign import Report
from tests.faults.powercut import Cut, Event, File, Write, cuts, lay_out, record, survive

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
    """The campaign can fail: acknowledgements that rest on no sync are reported as lost."""
    recording, ledger = await record(tmp_path, 6, seconds=1.2, durability="relaxed")
    report = Report()
    rng = random.Random(6)
    for cut in cuts(recording):
        await survive(cut, ledger, tmp_path / "cut", rng, report)
        if report.verdict.lost:
            break
    assert report.verdict.lost > 0


def test_the_disk_keeps_what_was_synced_and_any_part_of_the_rest(tmp_path: Path) -> None:
    """Of a write that no sync followed, whole, torn and missing ones are all seen."""
    disk = File(bytearray(b"a" * 2048), [Write(0, b"b" * 2048)], named=True)
    seen = Counter()
    for seed in range(300):
        lay_out(Cut(0.0, "x", {"x": disk}), tmp_path, random.Random(seed))
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
        (bytes(cut.files["x"].durable), len(cut.files["x"].pending))
        for cut in map(_copied, cuts(recording))
    ] == [(b"", 1), (b"1", 1), (b"12", 0)]


def _copied(cut: Cut) -> Cut:
    files = {
        name: File(file.durable[:], file.pending[:], file.named, file.removed)
        for name, file in cut.files.items()
    }
    return cut._replace(files=files)
