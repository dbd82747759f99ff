"""Medians, spreads and ratios of a run."""

from bench import goals
from bench.notes import Notes


def notes() -> Notes:
    found = Notes()
    for ours, theirs in ((10, 5), (30, 10), (20, 20)):
        found.add("part", "cell", "ours", rate=ours)
        found.add("part", "cell", "theirs", rate=theirs)
    return found


def test_medians_and_spreads_are_over_all_rounds() -> None:
    assert notes().median("part", "cell", "ours", "rate") == 20
    assert notes().spread("part", "cell", "ours", "rate") == 1.0


def test_a_ratio_is_taken_within_each_round() -> None:
    assert notes().ratio("part", "cell", "ours", "theirs", "rate") == 2.0


def test_what_was_not_measured_has_no_figure() -> None:
    assert notes().median("part", "cell", "nobody", "rate") is None
    assert notes().ratio("part", "cell", "ours", "nobody", "rate") is None


def test_goals_without_figures_say_so() -> None:
    assert goals.table(Notes()).count("not measured") == len(goals.GOALS)


def test_notes_survive_being_written() -> None:
    assert Notes(notes().all).median("part", "cell", "ours", "rate") == 20
