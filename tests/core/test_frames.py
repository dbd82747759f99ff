import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.frames import MOST_FRAGMENTS, Frames
from gateway.errors import WireError


def frame(payload: bytes, *, fin: bool = True, opcode: int = 2, mask: bool = True) -> bytes:
    size = len(payload)
    first, flag = (0x80 if fin else 0) | opcode, 0x80 if mask else 0
    if size < 126:
        head = bytes([first, flag | size])
    elif size < 65_536:
        head = bytes([first, flag | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, flag | 127]) + size.to_bytes(8, "big")
    return head + (bytes(4) if mask else b"") + payload


FRAMES = st.lists(st.integers(0, 70_000).map(bytes), max_size=6)


@given(FRAMES, st.lists(st.integers(1, 5000), max_size=20))
def test_legal_frames_pass_however_they_are_cut(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(frame, payloads))
    frames = Frames()
    for cut in cuts:
        frames.feed(stream[:cut])
        stream = stream[cut:]
    frames.feed(stream)
    with pytest.raises(WireError, match="masked"):
        frames.feed(frame(b"x", mask=False))


@given(FRAMES)
def test_an_unmasked_frame_is_found_byte_by_byte(payloads: list[bytes]) -> None:
    frames = Frames()
    stream = b"".join(frame(payload[:300]) for payload in payloads)
    for byte in stream:
        frames.feed(bytes([byte]))
    unmasked = frame(bytes(200), mask=False)
    frames.feed(unmasked[:1])
    with pytest.raises(WireError, match="masked"):
        frames.feed(unmasked[1:4])


def test_a_message_of_too_many_fragments_is_refused() -> None:
    frames = Frames()
    frames.feed(frame(b"", fin=False) + frame(b"", fin=False, opcode=0) * (MOST_FRAGMENTS - 1))
    frames.feed(frame(b"", opcode=9))
    with pytest.raises(WireError, match="fragments"):
        frames.feed(frame(b"", fin=False, opcode=0))


def test_fragments_count_for_each_message_alone() -> None:
    frames = Frames()
    for _ in range(3):
        frames.feed(frame(b"", fin=False) + frame(b"", fin=False, opcode=0) * 60)
        frames.feed(frame(b"", opcode=0))
