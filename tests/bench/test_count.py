"""The guard against regressions: the same counts at every run, and words that say what is worse."""

from pathlib import Path

from bench.count import compare, count
from bench.fixed import Case, Work

SMALL = Case("small", devices=2, messages=3, readings=1)


async def test_the_same_work_gives_the_same_counts() -> None:
    first, second = await count(SMALL), await count(SMALL)
    assert first == second
    assert first["bytecodes"] > first["calls"] > 0


async def test_the_work_is_acknowledged(tmp_path: Path) -> None:
    work = Work(SMALL, tmp_path)
    await work.open()
    await work.turn()
    await work.turn()
    assert await work.close() == 12


def test_ten_percent_more_is_no_regression() -> None:
    assert compare({"a": {"calls": 11.0}}, {"a": {"calls": 10.0}}) == []


def test_more_than_that_is_told() -> None:
    (told,) = compare({"a": {"calls": 12.0}}, {"a": {"calls": 10.0}})
    assert told == "a: 12.0 calls a message, +20% over 10.0 of the baseline"


def test_a_case_without_a_baseline_is_told() -> None:
    assert compare({"a": {"calls": 1.0}}, {}) == ["a: no baseline"]
