"""The short form of the campaign: see docs/operations.md, The fault campaign."""

from pathlib import Path

from tests.faults.campaign import kills


async def test_nothing_is_lost_whatever_dies(tmp_path: Path) -> None:
    report = await kills(tmp_path, 2, attacks=12, broker=True)
    print(report)
    assert report.verdict.found == []
    assert report.verdict.acknowledged > 300
    assert report.verdict.received > 100
    assert report.verdict.revisions > 5
    assert report.attacks["kill"] >= 5
    assert report.attacks["broker"] > 0
