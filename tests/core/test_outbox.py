import pytest

from gateway.core.facts import OutboxPut
from gateway.core.outbox import (
    MOST_DEFERRED,
    REMEMBERED,
    Fullness,
    Mix,
    Newest,
    Recent,
    Refusals,
    Suspects,
    admits,
    seconds_to_full,
    to_drop,
)


def row(number: int, *, topic: str = "t", size: int = 10, retain: bool = False) -> OutboxPut:
    return OutboxPut(
        id=number, t=0, topic=topic, payload=b"x" * size, retain=retain, ends=None, window_ms=0,
        backfill=False, expires=None, replaces=False, properties="{}",
    )  # fmt: skip


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.1, 10), (0.9, 90)])
def test_the_backlog_gets_its_share(share: float, expected: int) -> None:
    mix = Mix(share)
    assert sum(mix.backlog_next() for _ in range(100)) == expected


def test_turns_alternate_at_one_half() -> None:
    mix = Mix(0.5)
    assert [mix.backlog_next() for _ in range(4)] == [False, True, False, True]


def test_a_refused_row_is_due_later_and_later_and_then_given_up() -> None:
    refusals = Refusals(dead_after=3)
    assert not refusals.refuse(7, 0.0)
    assert refusals.due(0.9) is None
    assert refusals.due(1.0) == 7
    assert not refusals.refuse(7, 1.0)
    assert refusals.next_at() == 3.0
    assert refusals.due(3.0) == 7
    assert refusals.refuse(7, 3.0)
    assert refusals.due(1000.0) is None


def test_a_row_that_is_taken_after_all_starts_anew() -> None:
    refusals = Refusals(dead_after=2)
    refusals.refuse(7, 0.0)
    refusals.settle(7)
    assert refusals.due(10.0) is None
    assert not refusals.refuse(7, 10.0)


def test_a_new_connection_keeps_the_counts() -> None:
    refusals = Refusals(dead_after=2)
    refusals.refuse(7, 0.0)
    refusals.forget_times()
    assert refusals.due(10.0) is None
    assert refusals.refuse(7, 10.0)


def test_refusals_are_bounded() -> None:
    refusals = Refusals(dead_after=2)
    for number in range(MOST_DEFERRED):
        assert not refusals.full
        refusals.refuse(number, 0.0)
    assert refusals.full


def test_the_culprit_is_found_one_by_one() -> None:
    suspects = Suspects()
    assert suspects.window(20) == 20
    assert suspects.blame([1, 2, 3]) is None
    assert suspects.window(20) == 1
    suspects.clear(1)
    assert suspects.blame([2]) == 2
    suspects.clear(2)
    suspects.clear(3)
    assert suspects.window(20) == 20


def test_a_row_alone_for_the_first_time_is_only_suspected() -> None:
    suspects = Suspects()
    assert suspects.blame([9]) is None
    assert suspects.blame([9]) == 9


def test_recent_rows_are_bounded() -> None:
    recent = Recent()
    for number in range(REMEMBERED + 10):
        recent.add(number)
    assert 9 not in recent
    assert 10 in recent
    assert REMEMBERED + 9 in recent


def test_an_older_retained_row_is_outdated() -> None:
    newest = Newest()
    newest.sent(row(5, retain=True), live=True)
    assert newest.outdated(row(4, retain=True))
    assert not newest.outdated(row(5, retain=True))
    assert not newest.outdated(row(4, topic="other", retain=True))
    assert not newest.outdated(row(4))


def test_a_summary_that_was_overtaken_is_history() -> None:
    newest, summary = Newest(), row(5)._replace(window_ms=10)
    newest.sent(summary, live=True)
    newest.restart([], 99)
    assert newest.behind(summary._replace(id=4))
    assert not newest.behind(summary)
    assert not newest.behind(summary._replace(id=4, topic="other"))
    assert not newest.behind(row(4))
    newest.sent(summary._replace(id=50), live=False)
    assert not newest.behind(summary._replace(id=6))


def test_what_may_have_been_overtaken_in_an_earlier_run_is_history() -> None:
    newest, summary = Newest(overtaken=5), row(5)._replace(window_ms=10)
    assert newest.behind(summary)
    assert not newest.behind(summary._replace(id=6))
    assert not newest.behind(row(5))


def test_topics_published_afresh_outdate_the_backlog() -> None:
    newest = Newest()
    newest.sent(row(50, topic="old", retain=True), live=True)
    newest.restart(["t"], 10)
    assert newest.outdated(row(9, retain=True))
    assert not newest.outdated(row(11, retain=True))
    assert not newest.outdated(row(1, topic="old", retain=True))


def test_the_oldest_rows_are_dropped_until_it_fits() -> None:
    rows = [row(number, size=100) for number in range(1, 6)]
    assert to_drop(rows, held=500, most=500) == []
    assert to_drop(rows, held=500, most=499) == [1]
    assert to_drop(rows, held=500, most=250) == [1, 2, 3]
    assert to_drop(rows, held=5000, most=0) == [1, 2, 3, 4, 5]


def test_a_full_outbox_is_full_until_a_fifth_is_free() -> None:
    fullness = Fullness(100)
    assert [fullness.changed(held) for held in (0, 99, 100, 300, 81, 80, 99, 100)] == [
        False, False, True, False, False, True, False, True,
    ]  # fmt: skip
    assert fullness.full


def test_what_was_full_before_a_restart_is_full_until_then_too() -> None:
    assert not Fullness(100, full=True).changed(90)
    assert Fullness(100, full=True).changed(10)


def test_new_rows_are_refused_only_if_that_is_the_policy() -> None:
    assert admits("drop_oldest", held=100, most=10)
    assert admits("reject_new", held=9, most=10)
    assert not admits("reject_new", held=10, most=10)


def test_time_to_full() -> None:
    assert seconds_to_full([], 100) is None
    assert seconds_to_full([(0.0, 50), (10.0, 40)], 100) is None
    assert seconds_to_full([(0.0, 10), (10.0, 30)], 100) == 35
    assert seconds_to_full([(0.0, 10), (10.0, 300)], 100) == 0
