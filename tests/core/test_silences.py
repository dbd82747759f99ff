"""Who was not heard of in time: told once, at the first look after it, until heard again."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.silences import Silences

AFTER = 10


def test_silence_is_told_once_and_ends_with_a_word():
    silences = Silences[str](AFTER)
    assert not silences.hear("a", 0)
    assert list(silences.silent(9)) == []
    assert list(silences.silent(10)) == ["a"]
    assert list(silences.silent(99)) == []
    assert silences.hear("a", 100)
    assert not silences.hear("a", 101)
    assert list(silences.silent(110)) == []
    assert list(silences.silent(111)) == ["a"]


def test_who_is_excused_is_expected_later():
    silences = Silences[str](AFTER)
    silences.hear("a", 50)
    assert list(silences.silent(59)) == []
    silences.hear("a", 20)
    assert list(silences.silent(59)) == []
    assert list(silences.silent(60)) == ["a"]


def test_who_was_silent_before_a_restart_is_not_told_again():
    silences = Silences[str](AFTER)
    silences.recall("a", 0)
    assert list(silences.silent(100)) == []
    assert silences.hear("a", 100)


@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from("abc"), st.booleans())))
def test_it_is_what_a_look_at_everyone_finds(steps):
    silences, heard, silent, mono = Silences[str](AFTER), {}, set(), 0
    for step, key, hears in steps:
        mono += step
        if hears:
            assert silences.hear(key, mono) is (key in silent)
            heard[key] = mono
            silent.discard(key)
        else:
            due = {k for k, at in heard.items() if mono - at >= AFTER} - silent
            found = list(silences.silent(mono))
            assert set(found) == due
            assert len(found) == len(due)
            silent |= due
