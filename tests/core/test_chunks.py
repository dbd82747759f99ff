import re
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gateway.core import chunks
from gateway.core.between import Between
from gateway.core.chunks import MAX_READINGS, Run, decode, encode
from gateway.core.octets import deflated, varint
from gateway.core.readings import Clock
from tests.core.chunk_reading import read

PAGE = Path(__file__).parents[2] / "docs" / "storage.md"
BOOT = bytes(range(8))
START = 1_767_225_600 * 10**9
MB = 1 << 20


def examples(n=60):
    """However slow the machine is."""
    return settings(max_examples=n, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# Runs of every kind ------------------------------------------------------------------------

INT64 = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-300, 300),
    st.sampled_from([-(2**63), 2**63 - 1, -(2**62), 2**53 + 1]),
)
UINT64 = st.one_of(
    st.integers(0, 2**64 - 1), st.integers(0, 300), st.sampled_from([2**63, 2**64 - 1])
)


def listed(elements, dtype):
    return st.lists(elements, max_size=25).map(lambda values: np.array(values, dtype))


@st.composite
def decimal_fractions(draw):
    """What scaled integers, decimal fractions and single floats come to, and some that do not."""
    k = np.array(draw(st.lists(st.integers(-40_000, 40_000), max_size=25)), np.int64)
    digits, step = draw(st.integers(0, 10)), draw(st.sampled_from([1, 2, 5, 25]))
    how = draw(st.integers(0, 3))
    if how == 0:
        v = k / 10.0**digits
    elif how == 1:
        v = k * (step / 10**digits)
    elif how == 2:
        v = (k / 10.0**digits).astype(np.float32).astype(np.float64)
    else:
        v = k / 10.0**digits + 273.15
    strange = draw(st.sampled_from([None, None, -0.0, 5e-324, 0.1 + 0.2, 1e300, 3.4e38]))
    if strange is not None and len(v):
        v[draw(st.integers(0, len(v) - 1))] = strange
    return v


FLOATS = st.one_of(
    listed(st.integers(0, 2**64 - 1), np.uint64).map(lambda words: words.view(np.float64)),
    listed(st.floats(allow_nan=False, allow_infinity=False), np.float64),
    listed(st.floats(width=32, allow_nan=False, allow_infinity=False), np.float64),
    listed(st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 2.2e-308, 1.7e308]), np.float64),
    decimal_fractions(),
)
COLUMNS = {
    "float64": FLOATS,
    "int64": listed(INT64, np.int64),
    "uint64": listed(UINT64, np.uint64),
    "bool": listed(st.booleans(), np.bool_),
    "text": listed(st.text(max_size=12) | st.sampled_from(["", "öffen", "閉", "🚪\0"]), object),
}


@st.composite
def times(draw, n):
    if draw(st.booleans()):
        return np.array(draw(st.lists(INT64, min_size=n, max_size=n)), np.int64)
    jitter = draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n))
    return START + np.arange(n) * 10**9 + np.array(jitter, np.int64) * 10**6


@st.composite
def one_run(draw, kinds=tuple(COLUMNS)):
    v = draw(COLUMNS[draw(st.sampled_from(kinds))])
    return Run(
        draw(st.sampled_from(["", "Cel", "µS/cm"]) | st.text(max_size=64)),
        draw(st.sampled_from(Clock)),
        draw(st.sampled_from([b"", BOOT]) | st.binary(min_size=8, max_size=8)),
        draw(times(len(v))),
        v,
    )


RUNS = st.lists(one_run(), max_size=5)


def shown(runs):
    """Runs as `chunk_reading.read` gives them: every bit counts."""
    return [
        (run.unit, int(run.clock), run.boot, kind_of(run.v), run.t.tolist(), words(run.v))
        for run in runs
    ]


def kind_of(v):
    return "text" if v.dtype == object else v.dtype.name


def words(v):
    if v.dtype in (object, np.bool_):
        return v.tolist()
    return v.view(np.uint64).tolist()


# Round trips -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_run_comes_back_bit_for_bit(kind):
    @given(one_run([kind]))
    @examples()
    def check(run):
        (back,) = decode(encode([run]))
        assert shown([back]) == shown([run])
        assert (back.t.dtype, back.v.dtype) == (run.t.dtype, run.v.dtype)
        assert isinstance(back.clock, Clock)

    check()


@given(RUNS)
@examples()
def test_runs_of_mixed_types_clocks_and_boots_come_back_in_order(runs):
    assert shown(decode(encode(runs))) == shown(runs)


@given(RUNS)
@examples()
def test_the_documented_format_is_the_one_that_is_written(runs):
    assert read(encode(runs)) == shown(runs)


@given(RUNS)
@examples()
def test_the_same_runs_give_the_same_bytes(runs):
    assert encode(runs) == encode(decode(encode(runs)))


@pytest.mark.parametrize("step", [1, -1, 2])
def test_columns_need_not_lie_side_by_side_in_memory(step):
    table = np.arange(40.0).reshape(10, 4)
    t = START + np.arange(10)
    run = Run("", Clock.DEVICE, b"", t[::step], table[::step, 1])
    assert shown(decode(encode([run]))) == shown([run])


def test_a_whole_chunk_of_the_greatest_size():
    t = START + np.arange(MAX_READINGS)
    (back,) = decode(encode([Run("", Clock.DEVICE, b"", t, t % 7)]))
    assert (back.t == t).all()
    assert (back.v == t % 7).all()


def test_the_example_of_the_page():
    example = re.search(
        r"Example: four.*?CRC-32 (0x[0-9a-f]+)\.\n\n```\n(.*?)```", PAGE.read_text(), re.DOTALL
    )
    body = bytes.fromhex("".join(line.split("  ")[0] for line in example[2].splitlines()))
    t = START + np.array([0, 1000, 2001, 3000]) * 10**6
    v = np.array([2150, 2151, 2149, 2150], np.int16) * 0.01
    assert encode([Run("Cel", Clock.DEVICE, b"", t, v)]) == body
    assert zlib.crc32(body) == int(example[1], 16)


# What cannot be written --------------------------------------------------------------------

ONE = Run("", Clock.DEVICE, b"", np.zeros(1, np.int64), np.zeros(1))
UNFIT = {
    "float32": ONE._replace(v=np.zeros(1, np.float32)),
    "int32": ONE._replace(v=np.zeros(1, np.int32)),
    "big-endian": ONE._replace(v=np.zeros(1, ">f8")),
    "float times": ONE._replace(t=np.zeros(1)),
    "too few values": ONE._replace(v=np.zeros(0)),
    "a table": ONE._replace(t=np.zeros((1, 1), np.int64), v=np.zeros((1, 1))),
    "a short boot": ONE._replace(boot=b"abc"),
    "not a text": ONE._replace(v=np.array([b"bytes"], object)),
    "half a character": ONE._replace(v=np.array(["\ud800"], object)),
    "half a character of a unit": ONE._replace(unit="\ud800"),
}


@pytest.mark.parametrize("run", UNFIT.values(), ids=UNFIT)
def test_what_no_chunk_can_hold_is_refused(run):
    with pytest.raises(ValueError, match=r".+"):
        encode([run])


def test_too_many_readings_are_refused():
    many = ONE._replace(t=np.zeros(MAX_READINGS, np.int64), v=np.zeros(MAX_READINGS))
    assert len(encode([many])) < 40
    with pytest.raises(ValueError, match="more than"):
        encode([many, ONE])


# Damage ------------------------------------------------------------------------------------


def survives(body):
    """Whatever the bytes are: ValueError, or at most so many readings of whatever value."""
    try:
        runs = decode(body)
    except ValueError:
        return
    assert sum(len(run.t) for run in runs) <= MAX_READINGS
    assert all(run.t.shape == run.v.shape for run in runs)


@given(RUNS, st.data())
@examples(200)
def test_flipped_bytes_do_no_harm(runs, data):
    body = bytearray(encode(runs))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    survives(bytes(body))


@given(RUNS, st.data())
@examples(200)
def test_bytes_put_in_or_left_out_do_no_harm(runs, data):
    body = encode(runs)
    at, end = sorted(data.draw(st.integers(0, len(body))) for _ in range(2))
    survives(body[:at] + data.draw(st.binary(max_size=12)) + body[end:])


@given(st.binary(max_size=200), st.integers(0, 63))
@examples(300)
def test_random_bytes_do_no_harm(noise, head):
    survives(noise)
    survives(bytes([1, 1, head]) + noise)


@given(RUNS, st.data())
@examples()
def test_a_truncated_body_is_refused(runs, data):
    body = encode(runs)
    with pytest.raises(ValueError, match=r".*"):
        decode(body[: data.draw(st.integers(0, len(body) - 1))])


@given(RUNS, st.binary(min_size=1, max_size=9))
@examples()
def test_bytes_after_the_last_run_are_refused(runs, more):
    with pytest.raises(ValueError, match="follow"):
        decode(encode(runs) + more)


@given(st.binary(max_size=25), st.integers(0, 255))
@examples()
def test_other_versions_are_refused(rest, version):
    assume(version != chunks.VERSION)
    with pytest.raises(ValueError, match=f"version {version}"):
        decode(bytes([version]) + rest)


INTS = b"\0\0"
ENDLESS = b"\x00\x03\x00\xfc\xffabc"
"""A stored block of deflate that is not the last one."""
AFTER_THE_END = varint(len(deflated(bytes(99)))) + deflated(bytes(99))[1:] + b"!"

ONE_TEXT = b"\4\0\1" + INTS + b"\1"
"""A run of one text, up to the lengths of the distinct texts, of which there is one."""


def constant(n):
    """The run of n readings of 0 at time 0, in 12 bytes or less."""
    return b"\1\0" + varint(n) + INTS + INTS


BODIES = {
    "readings": constant(MAX_READINGS + 1),
    "readings beyond 64 bits": constant(2**64 - 1),
    "a unit": b"\0" + varint(2**63),
    "raw bytes": ONE_TEXT + b"\0" + varint(2**50) + b"\0abc" + INTS,
    "inflated bytes": ONE_TEXT + b"\0" + varint(2**50) + deflated(bytes(99)) + INTS,
    "bytes beyond all memory": ONE_TEXT + b"\0" + varint(1) + deflated(bytes(99)) + INTS,
    "a stream without an end": ONE_TEXT + b"\0" + varint(6) + varint(len(ENDLESS)) + ENDLESS + INTS,
    "bytes after the end": ONE_TEXT + b"\0" + varint(2 * 99) + AFTER_THE_END + INTS,
    "more than was deflated": ONE_TEXT + b"\0" + varint(400) + deflated(bytes(99)) + INTS,
    "less than was deflated": ONE_TEXT + b"\0" + varint(2) + deflated(bytes(99 * MB)) + INTS,
    "no texts": ONE_TEXT[:-1] + b"\0" + INTS + b"\0" + INTS,
    "more texts than readings": ONE_TEXT[:-1] + varint(2**40) + INTS + b"\0" + INTS,
    "a text beyond the last": ONE_TEXT + INTS + b"\0" + b"\0\2",
    "a wide column": b"\1\0\1" + b"\x24" + bytes(30),
    "an order of 3": b"\1\0\x09" + b"\3" + bytes(30),
    "as many starts as words": b"\1\0\1" + b"\1" + bytes(30),
    "a step of 2^53": b"\0\0\1" + INTS + b"\3\0" + varint(2**53) + INTS,
    "ten digits": b"\0\0\1" + INTS + b"\1\x0a" + INTS,
    "product without scale": b"\0\0\1" + INTS + b"\2\0\1" + INTS,
    "a boolean of 2": b"\3\0\1" + INTS + b"\0\4",
    "a type of 5": b"\5\0\0",
    "a clock of 3": b"\x18\0\0",
    "bit 6": b"\x40" + BOOT + b"\0\0",
    "bit 7": b"\x80" + BOOT + b"\0\0",
    "no deflate": ONE_TEXT + b"\0" + varint(6) + b"\1\7" + INTS,
    "a varint of 65 bits": b"\1\0\1" + b"\0" + b"\xff" * 9 + b"\2" + INTS,
    "a varint of eleven bytes": b"\1\0\1" + b"\0" + b"\x80" * 10 + b"\0" + INTS,
    "a unit that is no UTF-8": b"\0\1\xff\0",
}
CLAIMS = {name: b"\1" + body for name, body in BODIES.items()} | {
    "readings of several runs": b"\2" + constant(MAX_READINGS) + constant(1),
    "runs": varint(2**64 - 1) + constant(0)[:3] * 1000,
}


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_false_claims_are_refused_in_little_memory(claim):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r".+"):
            decode(b"\1" + claim)
        assert tracemalloc.get_traced_memory()[1] < 40 * MB
    finally:
        tracemalloc.stop()


def test_the_pieces_of_those_claims_are_sound_by_themselves():
    assert sum(len(run.t) for run in decode(b"\1\2" + constant(4) + constant(0)[:3])) == 4
    (run,) = decode(b"\1\1" + ONE_TEXT + b"\0" + varint(6) + b"\0abc" + INTS)
    assert run.v.tolist() == ["abc"]
    (run,) = decode(b"\1\1" + b"\0\0\1" + INTS + b"\3\0" + varint(2**53 - 1) + b"\0\1")
    assert run.v.tolist() == [-(2.0**53 - 1)]


# Sizes -------------------------------------------------------------------------------------

N = 4096
RNG = np.random.default_rng(1)
WANDER = 20 + np.cumsum(RNG.normal(0, 0.02, N)) + RNG.normal(0, 0.03, N)
JITTERED = START + np.arange(N) * 10**9 + RNG.integers(1, 4, N) * RNG.choice([-1, 1], N) * 10**6
DRIFTING = START + np.cumsum(10**9 + RNG.integers(1, 4, N) * RNG.choice([-1, 1], N) * 10**6)
EVEN = START + np.arange(N) * 10**9


def bytes_a_reading(t, v):
    run = Run("Cel", Clock.MAPPED, BOOT, t, v)
    body = encode([run])
    assert shown(decode(body)) == shown([run])
    return len(body) / len(t)


@pytest.mark.parametrize("t", [JITTERED, DRIFTING], ids=["jittered", "drifting"])
def test_a_temperature_in_hundredths_takes_little(t):
    scaled = np.rint(WANDER * 100).astype(np.int16).astype(np.float64) * 0.01
    assert bytes_a_reading(t, scaled) <= 2.5


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_decimal_fractions_take_little(digits):
    v = np.array([round(x, digits) for x in WANDER.tolist()])
    assert bytes_a_reading(JITTERED, v) <= 2.5


@pytest.mark.parametrize("digits", [1, 2])
def test_decimal_fractions_in_single_precision_take_as_little(digits):
    v = np.array([round(x, digits) for x in WANDER.tolist()])
    single = v.astype(np.float32).astype(np.float64)
    assert bytes_a_reading(JITTERED, single) <= bytes_a_reading(JITTERED, v) + 0.01


def test_white_noise_in_single_precision_takes_little():
    v = RNG.normal(0, 1, N).astype(np.float32).astype(np.float64)
    assert bytes_a_reading(JITTERED, v) <= 6


@pytest.mark.parametrize("value", [21.37, 0.0, 3, True, "closed"])
def test_what_never_changes_takes_next_to_nothing(value):
    v = np.array([value] * N, object if isinstance(value, str) else None)
    assert bytes_a_reading(EVEN, v) <= 0.02


def test_a_text_of_few_states_takes_little():
    v = np.array(["closed", "open", "ajar"], object)[RNG.integers(0, 3, N)]
    assert bytes_a_reading(EVEN, v) <= 0.5


@pytest.mark.parametrize(
    "value", [21.37, -1.7e308, 5e-324, -(2**63), np.uint64(2**64 - 1), False, "closed"]
)
def test_one_reading_takes_40_bytes_at_most(value):
    v = np.array([value], object if isinstance(value, str) else None)
    assert bytes_a_reading(EVEN[:1] + 123_456_789, v) <= 40


@examples(150)
@given(RUNS, INT64, INT64)
def test_what_lies_between_two_times_is_as_in_the_whole(runs, since, until):
    body = encode(runs)
    some = decode(body, Between(since, until))
    assert len(some) == len(runs)
    for run, found in zip(decode(body), some, strict=True):
        keep = (run.t >= since) & (run.t < until)
        assert shown([found]) == shown([run._replace(t=run.t[keep], v=run.v[keep])])


@examples(60)
@given(one_run(), st.data())
def test_a_stretch_of_times_in_order_is_as_in_the_whole(run, data):
    run = run._replace(t=np.sort(run.t))
    bounds = st.sampled_from([*run.t.tolist(), -(2**63), 2**63 - 1])
    since, until = data.draw(bounds), data.draw(bounds)
    (found,) = decode(encode([run]), Between(since, until))
    keep = (run.t >= since) & (run.t < until)
    assert shown([found]) == shown([run._replace(t=run.t[keep], v=run.v[keep])])


def test_a_stretch_of_a_body_cut_short_is_refused_or_right():
    rng = np.random.default_rng(1)
    t = START + np.arange(4096) * 10**9
    run = Run("Cel", Clock.DEVICE, b"", t, np.cumsum(rng.integers(-3, 4, 4096)) * 0.01)
    body, between = encode([run]), Between(int(t[10]), int(t[900]))
    for size in range(0, len(body), 7):
        try:
            (found,) = decode(body[:size], between)
        except ValueError:
            continue
        assert found.v.tolist() == run.v[10:900].tolist()
