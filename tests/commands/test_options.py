"""Values of options, and acting as the owner of the data."""

import os
import shutil
import tempfile
import time
from pathlib import Path

import click
import pytest

from gateway.commands.options import DURATION, MOMENT, as_owner

HOUR = 3600 * 10**9


def test_durations():
    assert DURATION.convert("30s", None, None) == 30 * 10**9
    with pytest.raises(click.BadParameter, match="a whole number and a unit"):
        DURATION.convert("30", None, None)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:01", 10**9),
        ("1970-01-01T00:00:01Z", 10**9),
        ("1970-01-01T01:00:01.000001+01:00", 10**9 + 1000),
        ("1970-01-02", 24 * HOUR),
        ("1969-12-31T23:59:59.5", -(10**9) // 2),
    ],
)
def test_moments_by_name(text, ns):
    assert MOMENT.convert(text, None, None) == ns


def test_moments_that_are_so_long_ago():
    before = time.time_ns()
    assert before - HOUR <= MOMENT.convert("1h", None, None) <= time.time_ns() - HOUR


@pytest.mark.parametrize("text", ["", "yesterday", "1", "2026-13-01"])
def test_moments_that_are_none(text):
    with pytest.raises(click.BadParameter, match="neither like 1h"):
        MOMENT.convert(text, None, None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")
def test_root_leaves_no_file_of_its_own_among_the_data():
    folder = Path(tempfile.mkdtemp())
    try:
        os.chown(folder, 65_534, 65_534)
        with as_owner(folder):
            (folder / "file").touch()
        assert (folder / "file").stat().st_uid == 65_534
        assert os.geteuid() == 0
        with pytest.raises(ZeroDivisionError), as_owner(folder):
            _ = 1 // 0
        assert (os.geteuid(), os.getegid()) == (0, 0)
    finally:
        shutil.rmtree(folder)


def test_the_owner_stays_who_they_are(tmp_path):
    with as_owner(tmp_path), as_owner(tmp_path / "none"):
        assert os.geteuid() == tmp_path.stat().st_uid
