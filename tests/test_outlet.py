"""How the sending side of a stream judges its client."""

import socket
import struct
import sys

import pytest

from gateway.outlet import SILENT_MS, silent


def info(*, unacknowledged: int, since_answer_ms: int, unsent: int) -> bytes:
    """Linux's `struct tcp_info` as far as it is looked at."""
    data = bytearray(148)
    struct.pack_into("I", data, 24, unacknowledged)
    struct.pack_into("I", data, 56, since_answer_ms)
    struct.pack_into("I", data, 144, unsent)
    return bytes(data)


@pytest.mark.parametrize(
    ("unacknowledged", "unsent", "gone"),
    [
        (0, 0, True),  # idle, and the probes are not answered
        (3, 0, True),  # nothing that was sent is acknowledged
        (3, 9000, True),
        (0, 9000, False),  # alive, but it does not read: that has a bound of its own
    ],
)
def test_a_peer_that_answers_nothing_is_gone(unacknowledged, unsent, gone):
    late = info(unacknowledged=unacknowledged, since_answer_ms=SILENT_MS + 1, unsent=unsent)
    assert silent(late) is gone
    early = info(unacknowledged=unacknowledged, since_answer_ms=SILENT_MS, unsent=unsent)
    assert not silent(early)


def test_an_older_kernel_says_too_little():
    assert not silent(info(unacknowledged=3, since_answer_ms=SILENT_MS + 1, unsent=0)[:104])


@pytest.mark.skipif(sys.platform != "linux", reason="struct tcp_info is Linux's")
def test_the_kernel_speaks_of_a_living_peer_as_assumed():
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
        with near, far:
            far.sendall(b"x" * 100)
            near.recv(100)
            assert not silent(far.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 148))
