import math
from decimal import Context, Decimal
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import cutting
from gateway.core import windows as windows_module
from gateway.core.cutting import Readings, order_of
from gateway.core.facts import RevisionDue
from gateway.core.quantiles import EXACT, RELATIVE_ERROR
from gateway.core.readings import NS_PER_MS, NS_PER_S, Kind
from gateway.core.sequences import MAX_SEQUENCE
from gateway.core.shard import ENOUGH, ENOUGH_PIECES
from gateway.core.windows import SHARD, Windows, parse_window, summarise
from gateway.errors import ConfigError

KINDS = {1: Kind.NUMBER, 2: Kind.NUMBER, 3: Kind.BOOLEAN, 4: Kind.TEXT}
DTYPES = {Kind.NUMBER: np.float64, Kind.BOOLEAN: np.bool_, Kind.TEXT: np.object_}
VALUES = {
    Kind.NUMBER: st.one_of(
        st.floats(-1e308, 1e308),
        st.floats(-50, 50),
        st.integers(-(2**63), 2**63 - 1).map(float),
        st.sampled_from([0.0, 21.5]),
    ),
    Kind.BOOLEAN: st.booleans(),
    Kind.TEXT: st.sampled_from(["", "on", "off"]),
}


def readings(series, t, v, *, dtype=None):
    kind = KINDS[series]
    values = np.array(v, dtype or DTYPES[kind])
    return Readings((series,), kind, np.array(t, np.int64), values[np.newaxis])


def seconds(*times):
    return [int(time * NS_PER_S) for time in times]


def windows(*names, lateness=0, watermark=0):
    return Windows([parse_window(name) for name in names], lateness * NS_PER_S, watermark)


def mean_and_std(values):
    """By exact arithmetic."""
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    variance = sum((value - mean) ** 2 for value in exact) / len(exact)
    wide = Context(prec=60, Emax=10**6, Emin=-(10**6))
    root = wide.sqrt(wide.divide(Decimal(variance.numerator), Decimal(variance.denominator)))
    return float(mean), float(root)


def assert_is_brute_force(summary, rows, *, exact=False):
    """`rows`: (t, v) of the summary's window, in order of arrival."""
    ordered = sorted(rows, key=lambda row: row[0])
    v = [value for _, value in ordered]
    assert (summary.n, summary.first, summary.last) == (len(v), v[0], v[-1])
    if isinstance(v[0], (bool, str)):
        assert summary.changes == sum(a != b for a, b in pairwise(v))
        assert summary[5:11] == (None,) * 6
        return
    mean, std = mean_and_std(v)
    assert (summary.min, summary.max, summary.changes) == (min(v), max(v), None)
    assert summary.mean == pytest.approx(mean, rel=1e-9, abs=1e-9 * max(map(abs, v)))
    least = 1e-320  # below that a double has no digits to compare
    assert summary.std == pytest.approx(std, rel=1e-9, abs=max(least, 1e-9 * max(map(abs, v))))
    v.sort()
    tolerance = 0.0 if exact or len(v) <= EXACT else RELATIVE_ERROR
    for found, percent in ((summary.p50, 50), (summary.p95, 95)):
        wanted = v[math.ceil(Fraction(percent * len(v), 100)) - 1]
        assert math.isclose(found, wanted, rel_tol=tolerance, abs_tol=2.0**-1022 * bool(tolerance))
        assert summary.min <= found <= summary.max
    assert summary.min <= summary.mean <= summary.max


class Disk:
    """What a gateway keeps: the journal, the stored watermark, summaries and due revisions."""

    def __init__(self, lengths, lateness, watermark):
        self.lengths, self.lateness = lengths, lateness
        self.journal = []
        self.summaries = {}
        self.due = set()
        self.windows = Windows(lengths, lateness, watermark)

    def fold(self, group):
        self.journal.append(group)
        for series, _, t, _ in group:
            self.due |= self.windows.late(series, t)
        self.windows.fold(group)

    def close(self, now, most=None):
        closed = self.windows.close(now, most)
        assert most is None or len(closed.summaries) + len(closed.from_disk) <= most
        lengths = {window.name: window.length for window in self.lengths}
        shards = {}
        for s in closed.summaries:
            shard = shards.setdefault(s.series // windows_module.SHARD, [])
            shard.append((s.t1, lengths[s.window], s.series))
        assert all(order == sorted(order) for order in shards.values())
        for summary in closed.summaries:
            key = RevisionDue(summary.window, summary.t0, summary.series)
            assert key not in self.summaries
            assert summary.t1 * NS_PER_MS <= self.windows.watermark
            self.summaries[key] = summary
        self.due.update(closed.from_disk)

    def restart(self):
        """Fold again what was not settled; of that, what was told is stored."""
        since, settled = self.windows.open_since(), self.windows.settled
        told = {}
        for key, made in self.summaries.items():
            if made.t1 * NS_PER_MS > settled:
                before = told.setdefault((key.window, key.series), made)
                if before.t0 < made.t0:
                    told[key.window, key.series] = made
        self.windows = Windows(self.lengths, self.lateness, settled, told)
        for group in self.journal:
            stored = [
                one._replace(t=one.t[one.t >= since], v=one.v[:, one.t >= since]) for one in group
            ]
            self.windows.fold(stored)

    def rows(self, wanted):
        return [
            (t, v)
            for group in self.journal
            for one in group
            for series, values in zip(one.series, one.v, strict=True)
            if series == wanted
            for t, v in zip(one.t.tolist(), values.tolist(), strict=True)
        ]

    def revise(self):
        for key in self.due:
            window = parse_window(key.window)
            kind = KINDS[key.series]
            t, v = zip(*self.rows(key.series), strict=True)
            one = readings(key.series, t, v)
            made = summarise(
                kind, one.t, one.v[0], series=key.series, window=window, t0=key.t0 * NS_PER_MS
            )
            self.summaries[key] = made

    def assert_all_windows_are_brute_force(self):
        wanted = {}
        for series in KINDS:
            for t, v in self.rows(series):
                for window in self.lengths:
                    t0 = t // window.length * window.length
                    key = RevisionDue(window.name, t0 // NS_PER_MS, series)
                    wanted.setdefault(key, []).append((t, v))
        assert self.summaries.keys() == wanted.keys()
        for key, summary in self.summaries.items():
            assert summary[:3] == (key.series, key.window, key.t0)
            assert summary.t1 - summary.t0 == parse_window(key.window).length // NS_PER_MS
            assert_is_brute_force(summary, wanted[key])


TIMES = st.one_of(
    st.integers(-130, 130).map(lambda half: half * NS_PER_S // 2),
    st.integers(-65 * NS_PER_S, 65 * NS_PER_S),
)


@st.composite
def columns(draw):
    series = draw(st.sampled_from(list(KINDS)))
    rows = draw(st.lists(st.tuples(TIMES, VALUES[KINDS[series]]), max_size=6))
    return readings(series, [t for t, _ in rows], [v for _, v in rows])


@st.composite
def tables(draw):
    """Series that share their times."""
    numbers = VALUES[Kind.NUMBER]
    rows = draw(st.lists(st.tuples(TIMES, numbers, numbers), max_size=6))
    t = np.array([t for t, _, _ in rows], np.int64)
    series = draw(st.sampled_from([(1, 2), (2, 1)]))
    return Readings(series, Kind.NUMBER, t, np.array([v for _, *v in rows]).reshape(-1, 2).T)


STEPS = st.one_of(
    st.tuples(st.just(Disk.fold), st.lists(st.one_of(columns(), tables()), max_size=6)),
    st.tuples(st.just(Disk.close), TIMES, st.sampled_from([None, 1, 2, 5])),
    st.tuples(st.just(Disk.restart)),
)
NAMES = ["1s", "2s", "3s", "7s", "10s", "15s", "30s", "1m", "1h"]


@pytest.fixture(params=[(1, 2), (1, SHARD), (cutting.FEW, SHARD)])
def _sizes(request):
    """What is too little for a table, and how many series are closed together."""
    few, together = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "FEW", few)
        patch.setattr(windows_module, "SHARD", together)
        yield


@pytest.mark.usefixtures("_sizes")
@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique=True),
    st.integers(0, 20 * NS_PER_S),
    TIMES,
    st.lists(STEPS, max_size=20),
)
def test_whatever_happens_each_summary_is_that_of_its_readings(names, lateness, watermark, steps):
    disk = Disk([parse_window(name) for name in names], lateness, watermark)
    for step, *arguments in steps:
        step(disk, *arguments)
    disk.close(10_000 * NS_PER_S)
    disk.revise()
    disk.assert_all_windows_are_brute_force()


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1e-300, 1e-3, 1.0, 1e300]))
def test_many_readings_out_of_order_late_and_with_restarts(seed, scale):
    rng = np.random.default_rng(seed)
    lengths = [parse_window(name) for name in ("1m", "10s", "15m", "15s")]
    disk = Disk(lengths, 5 * NS_PER_S, 0)
    for second in range(0, 900, 30):
        t = (second * NS_PER_S + rng.normal(0, 10 * NS_PER_S, 120)).astype(np.int64)
        v = rng.normal(rng.choice([-5, 0, 100]), 1, 120) * scale
        disk.fold([readings(1, t[:70], v[:70]), readings(1, t[70:], v[70:])])
        disk.fold([readings(3, t, v > 0)])
        if rng.random() < 0.2:
            disk.restart()
        disk.close(second * NS_PER_S)
    disk.close(10_000 * NS_PER_S)
    assert max(summary.n for summary in disk.summaries.values()) > EXACT
    disk.revise()
    disk.assert_all_windows_are_brute_force()


@pytest.mark.parametrize(
    ("text", "length"), [("1s", 1), ("90s", 90), ("15m", 900), ("1h", 3600), ("2d", 172800)]
)
def test_a_window_is_named_by_its_length(text, length):
    window = parse_window(text)
    assert (window.name, window.length) == (text, length * NS_PER_S)


@pytest.mark.parametrize(
    "text", ["", "10", "s", "0s", "01s", "-1s", "1.5s", "10 s", "10S", "1w", "1ms", "１s", "1s\n"]
)
def test_what_is_no_window_is_refused_by_name(text):
    with pytest.raises(ConfigError, match="not a window") as caught:
        parse_window(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["36501d", "9999999999s"])
def test_a_window_longer_than_a_century_is_refused(text):
    with pytest.raises(ConfigError, match="longer than"):
        parse_window(text)


def test_a_window_is_closed_when_the_watermark_reaches_its_end():
    open_ = windows("10s", lateness=5)
    open_.fold([readings(1, seconds(9.9, 10), [1, 2])])
    assert open_.close(15 * NS_PER_S - 1).summaries == []
    [summary] = open_.close(15 * NS_PER_S).summaries
    assert (summary.t0, summary.t1, summary.n, summary.rev) == (0, 10_000, 1, 1)
    assert open_.late((1,), np.array(seconds(9.999, 10))) == {RevisionDue("10s", 0, 1)}


def test_the_watermark_never_moves_back():
    open_ = windows("10s", watermark=20 * NS_PER_S)
    open_.close(0)
    assert open_.watermark == 20 * NS_PER_S
    open_.close(21 * NS_PER_S)
    assert open_.watermark == 21 * NS_PER_S


def test_times_before_1970_are_floored():
    open_ = windows("10s", watermark=-100 * NS_PER_S)
    open_.fold([readings(1, seconds(-0.001, -10, -10.001), [1, 2, 3])])
    assert [(s.t0, s.n) for s in open_.close(0).summaries] == [(-20_000, 1), (-10_000, 2)]


def test_a_reading_late_for_a_short_window_counts_in_an_open_long_one():
    open_ = windows("1m", "10s")
    open_.fold([readings(1, seconds(1), [1])])
    open_.close(10 * NS_PER_S)
    late = readings(1, seconds(2), [5])
    assert open_.late((1,), late[2]) == {RevisionDue("10s", 0, 1)}
    open_.fold([late])
    [summary] = open_.close(60 * NS_PER_S).summaries
    assert (summary.window, summary.n, summary.mean, summary.last) == ("1m", 2, 3.0, 5.0)


def test_a_closed_window_leaves_two_longer_ones_independent():
    open_ = windows("10s", "20s", "30s")
    open_.fold([readings(1, seconds(1), [1]), readings(3, seconds(1), [True])])
    open_.close(10 * NS_PER_S)
    open_.fold([readings(1, seconds(11), [3]), readings(3, seconds(11), [False])])
    closed = open_.close(30 * NS_PER_S).summaries
    found = {(s.window, s.series): s.n for s in closed if s.window != "10s"}
    assert found == {("20s", 1): 2, ("20s", 3): 2, ("30s", 1): 2, ("30s", 3): 2}


def test_readings_at_the_same_time_count_in_the_order_of_arrival():
    open_ = windows("10s", "1m")
    open_.fold([readings(3, seconds(2, 2), [False, True])])
    open_.fold([readings(1, seconds(2, 1), [7, 4]), readings(1, seconds(2, 1), [8, 5])])
    open_.fold([readings(1, seconds(1, 2), [6, 9]), readings(3, seconds(2), [False])])
    number, boolean = open_.close(10 * NS_PER_S).summaries
    assert (number.first, number.last) == (4, 9)
    assert (boolean.first, boolean.last, boolean.changes) == (False, False, 2)


def test_many_readings_at_the_same_time_keep_their_order():
    rng = np.random.default_rng(1)
    times = seconds(*rng.integers(0, 3, 200))
    open_, rows = windows("10s", "1m"), []
    for row in range(4):
        part = times[row * 50 : row * 50 + 50]
        texts = [f"{row}-{i}" for i in range(50)]
        open_.fold([readings(4, part, texts)])
        rows += zip(part, texts, strict=True)
    for summary in open_.close(60 * NS_PER_S).summaries:
        ordered = [text for _, text in sorted(rows, key=lambda row: row[0])]
        assert (summary.first, summary.last) == (ordered[0], ordered[-1])
        assert summary.changes == 199
    assert sorted(rows, key=lambda row: row[0]) != sorted(rows)


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=17, max_size=80))
@settings(max_examples=50, deadline=None)
def test_changes_count_in_order_of_arrival_within_the_same_time(rows):
    open_ = windows("10s")
    for part in (rows[:9], rows[9:]):
        group = readings(3, seconds(*[t for t, _ in part]), [v for _, v in part])
        open_.fold([group])
    [summary] = open_.close(10 * NS_PER_S).summaries
    assert_is_brute_force(summary, rows)


def test_open_windows_begin_where_the_longest_one_does():
    open_ = windows("10s", "1m")
    assert open_.open_since() == 0
    open_.close(59 * NS_PER_S)
    assert open_.open_since() == 0
    open_.close(125 * NS_PER_S)
    assert open_.open_since() == 120 * NS_PER_S


def test_readings_of_closed_windows_are_left_out():
    open_ = windows("10s", watermark=10 * NS_PER_S)
    open_.fold([readings(1, seconds(5), [1]), readings(4, [], [])])
    assert open_.close(100 * NS_PER_S) == ([], [])


@pytest.mark.parametrize("kind", ["int64", "uint64", "float32", "float64"])
def test_numbers_of_every_type_are_summarised_as_doubles(kind):
    open_ = windows("10s")
    open_.fold([readings(1, seconds(1, 2), [1, 4], dtype=kind)])
    [summary] = open_.close(10 * NS_PER_S).summaries
    assert (summary.mean, summary.std, summary.last) == (2.5, 1.5, 4.0)
    assert type(summary.last) is float


def test_a_constant_keeps_its_value_however_it_is_split():
    open_ = windows("10s", "1m")
    for row in range(59):
        open_.fold([readings(1, seconds(row), [21.4])])
        open_.close(row * NS_PER_S)
    summary = open_.close(60 * NS_PER_S).summaries[-1]
    assert (summary.mean, summary.std, summary.p95) == (21.4, 0.0, 21.4)


@pytest.mark.parametrize("big", [1e308, 1.7e308, 1e-300])
def test_the_ends_of_the_range_neither_overflow_nor_vanish(big):
    open_ = windows("10s")
    open_.fold([readings(1, seconds(*[1] * 400), [big, -big] * 200)])
    open_.fold([readings(1, seconds(2), [big])])
    open_.fold([readings(1, seconds(3), [-big])])
    [summary] = open_.close(10 * NS_PER_S).summaries
    assert summary.mean == pytest.approx(0, abs=1e-12 * big)
    assert summary.std == pytest.approx(big, rel=1e-12)


def test_merging_opposite_ends_of_the_range_does_not_overflow():
    open_ = windows("10s")
    open_.fold([readings(1, seconds(1), [1.7e308])])
    open_.fold([readings(1, seconds(2), [-1.7e308])])
    [summary] = open_.close(10 * NS_PER_S).summaries
    assert (summary.mean, summary.std) == (0.0, pytest.approx(1.7e308))


def test_single_readings_do_not_pile_up():
    open_ = windows("10s")
    for n in range(2 * ENOUGH_PIECES):
        open_.fold([readings(1, [n], [n])])
        assert open_._shards[0].waiting < ENOUGH_PIECES
    [summary] = open_.close(10 * NS_PER_S).summaries
    assert summary.n == 2 * ENOUGH_PIECES


def test_many_shards_are_folded_one_after_the_other():
    """All at once would hold up what comes meanwhile."""
    count = 8
    open_ = windows("10s")

    def some(n):
        t = np.arange(n, dtype=np.int64)
        return [
            Readings((1 + shard * SHARD,), Kind.NUMBER, t, t[np.newaxis] * 1.0)
            for shard in range(count)
        ]

    open_.fold(some(ENOUGH - 1))
    for left in reversed(range(count)):
        open_.fold(some(1))
        assert sum(shard.waiting >= ENOUGH for shard in open_._shards.values()) == left
    assert {s.n for s in open_.close(10 * NS_PER_S).summaries} == {ENOUGH - 1 + count}


def test_too_many_booleans_are_left_to_the_disk():
    t = np.arange(MAX_SEQUENCE + 1) * NS_PER_MS
    group = [readings(3, t, t % 2 == 0), readings(4, t[1:], ["x"] * MAX_SEQUENCE)]
    open_ = windows("10s", "1m")
    open_.fold(group)
    closed = open_.close(60 * NS_PER_S)
    assert [(s.window, s.series, s.n) for s in closed.summaries] == [
        ("10s", 4, MAX_SEQUENCE),
        ("1m", 4, MAX_SEQUENCE),
    ]
    assert closed.from_disk == [RevisionDue("10s", 0, 3), RevisionDue("1m", 0, 3)]
    _, kind, t, (v,) = group[0]
    summary = summarise(kind, t, v, series=3, window=parse_window("1m"), t0=0)
    assert (summary.n, summary.first) == (MAX_SEQUENCE + 1, True)


def test_numbers_of_every_magnitude_are_left_to_the_disk():
    rng = np.random.default_rng(3)
    v = 10.0 ** rng.uniform(-300, 300, 30_000)
    group = [readings(1, np.arange(30_000) * NS_PER_MS, v)]
    open_ = windows("1m")
    open_.fold(group)
    assert open_.close(60 * NS_PER_S) == ([], [RevisionDue("1m", 0, 1)])


def test_summarise_is_exact_whatever_the_number_of_readings():
    rng = np.random.default_rng(2)
    t = rng.integers(-10 * NS_PER_S, 70 * NS_PER_S, 20_000)
    v = rng.normal(0, 1, 20_000)
    summary = summarise(Kind.NUMBER, t, v, series=1, window=parse_window("1m"), t0=0)
    inside = (t >= 0) & (t < 60 * NS_PER_S)
    rows = list(zip(t[inside].tolist(), v[inside].tolist(), strict=True))
    assert_is_brute_force(summary, rows, exact=True)


def test_summarise_finds_nothing_in_an_empty_window():
    _, kind, t, (v,) = readings(1, seconds(60), [1])
    assert summarise(kind, t, v, series=1, window=parse_window("1m"), t0=0) is None


def test_windows_of_the_far_future_are_given_up():
    t = seconds(3, 65, 130)
    open_ones = windows("10s", "1m", "15s", watermark=0)
    open_ones.fold([readings(1, t, [1.0, 2.0, 3.0])])
    assert open_ones.shed(130 * NS_PER_S) == set()
    assert open_ones.shed(59 * NS_PER_S) == {
        RevisionDue("10s", 60_000, 1),
        RevisionDue("15s", 60_000, 1),
        RevisionDue("1m", 60_000, 1),
        RevisionDue("10s", 130_000, 1),
        RevisionDue("15s", 120_000, 1),
        RevisionDue("1m", 120_000, 1),
    }
    closed = open_ones.close(1000 * NS_PER_S)
    assert [(made.window, made.t0) for made in closed.summaries] == [
        ("10s", 0),
        ("15s", 0),
        ("1m", 0),
    ]
    assert open_ones.held == 0


def test_the_longer_window_around_a_future_one_is_made_from_disk_too():
    open_ones = windows("10s", "1m")
    open_ones.fold([readings(1, seconds(3, 45), [1.0, 2.0])])
    assert open_ones.shed(30 * NS_PER_S) == {RevisionDue("10s", 40_000, 1), RevisionDue("1m", 0, 1)}


@given(
    st.lists(
        st.tuples(
            st.sampled_from([1, 2, 3, 2**40]),
            st.one_of(st.integers(-5, 5), st.integers(-(2**63), 2**63 - 1)),
        ),
        min_size=1,
    )
)
def test_rows_are_ordered_by_series_time_and_arrival(rows):
    series, t = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    assert order_of(series, t).tolist() == np.lexsort((t, series)).tolist()
