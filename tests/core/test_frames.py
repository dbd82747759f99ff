import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.frames import MOST_FRAGMENTS, Frames, leading, row_at
from gateway.errors import WireError

MOST = 65_536
KEYS = st.binary(min_size=4, max_size=4)


def frame(
    payload: bytes,
    *,
    fin: bool = True,
    opcode: int = 2,
    mask: bool = True,
    key: bytes = bytes(4),
) -> bytes:
    size = len(payload)
    first, flag = (0x80 if fin else 0) | opcode, 0x80 if mask else 0
    if size < 126:
        head = bytes([first, flag | size])
    elif size < 65_536:
        head = bytes([first, flag | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, flag | 127]) + size.to_bytes(8, "big")
    masked = bytes(byte ^ key[at % 4] for at, byte in enumerate(payload)) if any(key) else payload
    return head + (key if mask else b"") + masked


def feed(frames: Frames, data: bytes) -> bytes:
    return frames.cut(frames.gather(data))


FRAMES = st.lists(st.integers(0, 70_000).map(bytes), max_size=6)


@given(FRAMES, st.lists(st.integers(1, 5000), max_size=20))
def test_legal_frames_pass_however_they_are_cut(payloads: list[bytes], cuts: list[int]) -> None:
    stream = whole = b"".join(map(frame, payloads))
    frames, passed = Frames(MOST), b""
    for cut in cuts:
        passed += feed(frames, stream[:cut])
        stream = stream[cut:]
    passed += feed(frames, stream)
    assert passed == whole
    assert frames.between
    with pytest.raises(WireError, match="masked"):
        feed(frames, frame(b"x", mask=False))


@given(st.lists(st.integers(0, 300).map(bytes), min_size=1, max_size=5), st.integers(14, 200))
def test_only_whole_frames_pass(payloads: list[bytes], most: int) -> None:
    """Byte by byte; those of more than `most` bytes in all pass as they come."""
    frames, passed, ends = Frames(most), b"", [0]
    for payload in payloads:
        ends.append(ends[-1] + len(frame(payload)))
    for byte in b"".join(map(frame, payloads)):
        passed += feed(frames, bytes([byte]))
        begin = max(end for end in ends if end <= len(passed))
        if begin < len(passed):
            assert ends[ends.index(begin) + 1] - begin > most
            assert not frames.between
    assert len(passed) == ends[-1]


@given(FRAMES)
def test_an_unmasked_frame_is_found_byte_by_byte(payloads: list[bytes]) -> None:
    frames = Frames(MOST)
    stream = b"".join(frame(payload[:300]) for payload in payloads)
    for byte in stream:
        feed(frames, bytes([byte]))
    unmasked = frame(bytes(200), mask=False)
    feed(frames, unmasked[:1])
    with pytest.raises(WireError, match="masked"):
        feed(frames, unmasked[1:4])


def test_a_message_of_too_many_fragments_is_refused() -> None:
    frames = Frames(MOST)
    feed(frames, frame(b"", fin=False) + frame(b"", fin=False, opcode=0) * (MOST_FRAGMENTS - 1))
    feed(frames, frame(b"", opcode=9))
    with pytest.raises(WireError, match="fragments"):
        feed(frames, frame(b"", fin=False, opcode=0))


def test_fragments_count_for_each_message_alone() -> None:
    frames = Frames(MOST)
    for _ in range(3):
        feed(frames, frame(b"", fin=False) + frame(b"", fin=False, opcode=0) * 60)
        feed(frames, frame(b"", opcode=0))


def test_a_fragment_that_comes_in_pieces_counts_once() -> None:
    frames = Frames(MOST)
    for byte in frame(b"x", fin=False) + frame(b"x" * 200, fin=False, opcode=0) * 40:
        feed(frames, bytes([byte]))
    assert not frames.between
    feed(frames, frame(b"", opcode=0))
    assert frames.between


@given(
    st.integers(1, 400).flatmap(
        lambda size: st.lists(
            st.tuples(st.binary(min_size=size, max_size=size), KEYS), min_size=1, max_size=8
        )
    ),
    st.binary(max_size=12),
    st.integers(0, 3),
)
def test_frames_of_one_size_are_opened_together(
    messages: list[tuple[bytes, bytes]], after: bytes, before: int
) -> None:
    data = bytes(before) + b"".join(frame(some, key=key) for some, key in messages) + after
    row = row_at(data, before)
    assert row is not None
    assert row.most >= len(messages)
    assert row.first(data) == messages[0][0]
    found = [bytes(one) for one in row.open(data)]
    assert found[: len(messages)] == [some for some, _ in messages]
    if len(after) < row.step:
        assert len(found) == len(messages)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x82",
        frame(b""),
        frame(b"12")[:-1],
        frame(bytes(200))[:3],
        frame(b"12", opcode=1),
        frame(b"12", opcode=9),
        frame(b"12", fin=False),
        frame(b"12", mask=False),
        frame(bytes(200), mask=False),
        frame(bytes(70_000)),
    ],
)
def test_what_is_no_whole_binary_frame_is_no_row(data: bytes) -> None:
    assert row_at(data, 0) is None


def test_leading() -> None:
    flags = np.array([True, True, False, True])
    assert [leading(flags[n:]) for n in range(4)] == [2, 1, 0, 1]
