import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.facts import SummaryMade
from gateway.core.readings import Kind
from gateway.core.summary import dump, encode, head, payload, text
from tests.text_form import parse_text

GREENHOUSE = SummaryMade(
    series=1,
    window="10s",
    t0=1732380000000,
    t1=1732380010000,
    n=20,
    mean=21.43,
    min=21.1,
    max=21.9,
    std=0.2,
    p50=21.4,
    p95=21.8,
    first=21.2,
    last=21.6,
    changes=None,
    rev=1,
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


def number(**changed):
    summary = GREENHOUSE._replace(**changed)
    return payload(
        summary, device="greenhouse-1", metric="temperature", unit="Cel", kind=Kind.NUMBER
    )


def sequence(last, *, kind, unit="", device="greenhouse-1", metric="door"):
    none = dict.fromkeys(("mean", "min", "max", "std", "p50", "p95"))
    summary = GREENHOUSE._replace(**none, first=last, last=last, changes=3)
    return payload(summary, device=device, metric=metric, unit=unit, kind=kind)


def assert_comes_back(shape):
    line = text(shape)
    assert len(line.splitlines()) == 1
    found = parse_text(line)
    assert found == {key: shape[key] for key in found}
    value = "last" if "changes" in shape else "mean"
    assert {"dev", "m", "u", "w", "t0", "t1", "n", value} <= found.keys()
    assert repr(found[value]) == repr(shape[value])


def test_the_payload_of_numbers_is_the_documented_json():
    assert dump(number()) == (
        '{"v":1,"dev":"greenhouse-1","m":"temperature","u":"Cel","w":"10s","t0":1732380000000,'
        '"t1":1732380010000,"n":20,"mean":21.43,"min":21.1,"max":21.9,"std":0.2,"p50":21.4,'
        '"p95":21.8,"first":21.2,"last":21.6}'
    )


def test_the_payload_of_a_boolean_has_its_changes_and_no_statistics():
    shape = sequence(1, kind=Kind.BOOLEAN)
    assert dump(shape).endswith('"n":20,"first":true,"last":true,"changes":3}')
    assert "mean" not in shape


def test_rev_is_written_from_the_second_on():
    assert "rev" not in number()
    assert dump(number(rev=2)).endswith(',"last":21.6,"rev":2}')


@given(st.lists(NUMBERS, min_size=8, max_size=8), st.integers(1, 3), st.text(), st.text())
def test_the_short_way_to_the_json_leads_to_the_same(numbers, rev, metric, unit):
    names = ("mean", "min", "max", "std", "p50", "p95", "first", "last")
    summary = GREENHOUSE._replace(rev=rev, **dict(zip(names, numbers, strict=True)))
    name = {"device": "greenhouse-1", "metric": metric, "unit": unit}
    assert encode(summary, head(**name)) == dump(payload(summary, kind=Kind.NUMBER, **name))


def test_numbers_are_written_in_full():
    shape = number(mean=0.1 + 0.2, min=-1e-300, max=1e16, std=0.0, p50=3.0)
    assert '"mean":0.30000000000000004,"min":-1e-300,"max":1e+16,"std":0.0,"p50":3.0' in dump(shape)


def test_dump_is_ascii_and_refuses_what_json_has_not():
    assert dump({"u": "µ\u2028"}) == '{"u":"\\u00b5\\u2028"}'
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            dump([wrong])


def test_the_text_of_numbers_is_the_documented_line():
    assert text(number()) == (
        "2024-11-23T16:40:10Z greenhouse-1 temperature 21.43 Cel (min 21.1, max 21.9, n 20, 10s)"
    )


def test_the_text_of_booleans_and_texts():
    door = text(sequence(True, kind=Kind.BOOLEAN))
    assert door == "2024-11-23T16:40:10Z greenhouse-1 door true (changes 3, n 20, 10s)"
    mode = text(sequence("a (b)\nc", kind=Kind.TEXT))
    assert mode == '2024-11-23T16:40:10Z greenhouse-1 door "a (b)\\nc" (changes 3, n 20, 10s)'


def test_a_revision_and_skipped_summaries_stand_in_the_text():
    line = text({**number(rev=2), "skipped": 7})
    assert line.endswith("(min 21.1, max 21.9, n 20, 10s, rev 2, skipped 7)")
    assert parse_text(line)["rev"] == 2
    assert parse_text(line)["skipped"] == 7


@given(NUMBERS, NUMBERS, st.integers(1, 10**9), st.integers(1, 9))
def test_numbers_come_back_from_the_text(mean, spread, n, rev):
    shape = number(mean=mean, min=spread, max=spread, n=n, rev=rev)
    assert_comes_back(shape)
    assert json.loads(dump(shape)) == shape


@given(st.text(), st.text(), st.text(min_size=1), st.text(min_size=1))
def test_any_text_name_and_unit_come_back_from_one_line(value, unit, device, metric):
    shape = sequence(value, kind=Kind.TEXT, unit=unit, device=device, metric=metric)
    assert_comes_back(shape)


@given(st.integers(-(10**9), 10**9), st.sampled_from([("1s", 1), ("15m", 900), ("1d", 86400)]))
def test_any_time_comes_back_from_the_text(seconds, window):
    name, length = window
    shape = number(t0=seconds * 1000, t1=(seconds + length) * 1000, window=name)
    assert_comes_back(shape)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "2024-11-23T16:40:10Z greenhouse-1 temperature (n 20, 10s)",
        "2024-11-23T16:40:10Z greenhouse-1 temperature 21.43 Cel (min 21.1, max 21.9, n 20)",
        "2024-11-23T16:40:10Z greenhouse-1 temperature 21.43 Cel (low 21.1, max 21.9, n 20, 10s)",
        "2024-11-23T16:40:10Z greenhouse-1 temperature 21.43 Cel (min x, max 21.9, n 20, 10s)",
        "2024-11-23T16:40:10Z greenhouse-1 temperature warm Cel (min 21.1, max 21.9, n 20, 10s)",
        "2024-11-23T16:40:10Z greenhouse-1 temperature 21.43 Cel (min 21.1, max 21.9, n 20, 10x)",
        "2024-13-23T16:40:10Z greenhouse-1 temperature 21.43 Cel (changes 1, n 20, 10s)",
    ],
)
def test_a_line_that_is_none_is_refused(line):
    with pytest.raises(ValueError, match=r"."):
        parse_text(line)
