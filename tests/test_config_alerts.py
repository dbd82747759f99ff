"""The `[[alerts]]` tables: what is accepted, what it means, and what is said of the rest."""

from pathlib import Path

import pytest

from gateway.config import load
from gateway.config_alerts import rules
from gateway.core.alert_rules import Limits, Rule, Watch
from gateway.errors import ConfigError

HOT = '[[alerts]]\nname = "hot"\nmetric = "temperature"\nabove = 30\n'


@pytest.fixture
def read(tmp_path):
    def _read(text):
        path = tmp_path / "gateway.toml"
        path.write_text(text)
        return rules(load(path, env={}).alerts)

    return _read


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('metric = "t"\nabove = 30', Rule("a", Watch.LEVEL, "*", "t", Limits(30.0))),
        (
            'device = "shed-*"\nmetric = "t"\nabove = 30\nbelow = 2.5\nhysteresis = 1\nfor = "5m"',
            Rule("a", Watch.LEVEL, "shed-*", "t", Limits(30.0, 2.5, 1.0, 300 * 10**9)),
        ),
        (
            'metric = "*"\nfalls = 2\nper = "10m"',
            Rule("a", Watch.RATE, "*", "*", Limits(None, -2.0), per=600 * 10**9),
        ),
        ('silent = "5m"', Rule("a", Watch.SILENCE, after=300 * 10**9)),
        (
            'silent = "1h"\nmetric = "t"\ntext = "look"',
            Rule("a", Watch.SILENCE, "*", "t", after=3600 * 10**9, text="look"),
        ),
        ('clock_error = "10s"', Rule("a", Watch.CLOCK, limits=Limits(10.0, -10.0, 1.0))),
        ("disk_used = 0.5", Rule("a", Watch.DISK, limits=Limits(0.5, None, 0.05))),
        ('outbox_age = "1h"', Rule("a", Watch.OUTBOX, limits=Limits(3600.0, None, 360.0))),
    ],
)
def test_a_table_is_a_rule(read, text, rule):
    assert read(f'[[alerts]]\nname = "a"\n{text}\n') == [rule]


def test_there_may_be_many_and_none(read):
    assert [rule.name for rule in read(HOT + HOT.replace('"hot"', '"hotter"'))] == ["hot", "hotter"]
    assert read("") == []


@pytest.mark.parametrize(
    ("text", "key", "words", "line"),
    [
        ("alerts = 3", "alerts", "write [[alerts]]", None),
        ("[alerts]\nabove = 3", "alerts", "write [[alerts]]", 1),
        ("[[alert]]\nabove = 3", "alert", "did you mean [[alerts]]?", 1),
        (HOT + "abvoe = 3", "alerts[0].abvoe", "did you mean above?", 5),
        (HOT + "qqqqq = 3", "alerts[0].qqqqq", "it has name, device", 5),
        (HOT + HOT + 'hysteresis = "1"', "alerts[1].hysteresis", "a number; it is '1'", 9),
        ("[[alerts]]\nabove = 1", "alerts[0]", "missing", 1),
        (HOT + HOT, "alerts[1].name", "the name of another alert", 6),
        (HOT.replace("hot", "a b"), "alerts[0].name", "letters, digits", 2),
        (HOT.replace("hot", "disk"), "alerts[0].name", "of the gateway itself", 2),
        ('[[alerts]]\nname = "x"', "alerts[0]", "watches nothing: set one of above, below", 1),
        (HOT + 'silent = "1m"', "alerts[0].silent", "does not go with above and below", 5),
        ('[[alerts]]\nname = "x"\nabove = 1', "alerts[0].metric", "is missing", 1),
        (HOT.replace("above", "rises"), "alerts[0].per", "is missing", 1),
        (HOT + 'per = "1m"', "alerts[0].per", "does not go with above", 5),
        ('[[alerts]]\nname = "x"\nsilent = "1m"\nfor = "1m"', "alerts[0].for", "with silent", 4),
        ('[[alerts]]\nname = "x"\nsilent = "0s"', "alerts[0].silent", "shorter than 1s", 3),
        ('[[alerts]]\nname = "x"\nsilent = "367d"', "alerts[0].silent", "longer than 366d", 3),
        ('[[alerts]]\nname = "x"\nsilent = 5', "alerts[0].silent", "a unit", 3),
        ('[[alerts]]\nname = "x"\ndisk_used = 85', "alerts[0].disk_used", "below 1", 3),
        (HOT.replace("30", "nan"), "alerts[0].above", "not a finite number", 4),
        (HOT + "below = 30", "alerts[0].above", "not greater than below", 4),
        (HOT + "below = 20\nhysteresis = 6", "alerts[0].hysteresis", "leaves no values", 6),
        (HOT + "hysteresis = -1", "alerts[0].hysteresis", "at least 0", 5),
        (HOT.replace('"temperature"', '"a/b"'), "alerts[0].metric", "not a name", 3),
    ],
)  # fmt: skip
def test_refusals_name_the_key_the_problem_and_the_line(read, text, key, words, line):
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.key == key
    assert words in str(caught.value)
    assert line is None or f"line {line})" in str(caught.value)


def test_the_example_of_the_documentation_is_one(read):
    page = (Path(__file__).parents[1] / "docs" / "alerts.md").read_text()
    example = page.split("```toml\n")[1].split("```")[0]
    assert {rule.watch for rule in read(example)} == set(Watch)
