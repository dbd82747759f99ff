"""The short form of the campaign: see docs/operations.md, The fault campaign."""

from pathlib import Path

import pytest

from tests.faults.campaign import kills


@pytest.mark.parametrize(("seed", "broker"), [(1, False), (2, True)])
async def test_nothing_is_lost_whatever_dies(tmp_path: Path, seed: int, broker: bool) -> None:
    report = await kills(tmp_path, seed, attacks=6, broker=broker)
    print(report)
    assert report.verdict.found == []
    assert report.verdict.acknowledged > 300
    assert report.verdict.received > 100
    assert report.attacks["kill"] + report.attacks["kill_at_start"] >= 3
