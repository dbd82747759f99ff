"""Bytes of a device, cut anywhere: messages alike that are taken many at once, and the rest by the
WebSocket library, come in the order in which they were sent."""

import random
import struct
from collections.abc import Iterator
from typing import Any

import cbor2
import numpy as np
import pytest

from tests.faults.devices import (
    Cut,
    begin,
    frame,
    healthy,
    hello,
    introduced,
    metric,
    now_ms,
    opened,
    reading,
    schema,
    until,
    upgrade,
    values,
)
from tests.processes import GatewayProcess
from tests.wire_client import new_epoch

WINDOW = 1000
MESSAGES = 900
ACK_OF_1 = b"\xa3\0\3\2\1\3"
PING, PONG = b"\x89\x81\0\0\0\0!", b"\x8a\x01!"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    more = f"window = {WINDOW}\n"
    process = begin(tmp_path_factory.mktemp("guard"), more)
    yield process
    assert process.stop() == 0


def _block(seq: int, rows: int) -> dict[int, Any]:
    """Readings seq, seq + 1/1000 …"""
    column = cbor2.CBORTag(86, (seq + np.arange(rows) / 1000).astype("<f8").tobytes())
    return {0: 16, 1: seq, 2: 1, 3: now_ms(), 4: 1, 5: [column], 7: 0}


def _stream(dice: random.Random) -> tuple[bytes, list[float], int]:
    """Messages of all kinds; the values of their readings, and how many pings."""
    said, expected, pings, seq = [], list[float](), 0, 0
    while seq < MESSAGES:
        kind = dice.choice(("alike",) * 4 + ("blocks", "event", "ping", "fragments"))
        for _ in range(dice.choice((1, 2, 3, 30)) if kind in ("alike", "blocks") else 1):
            if seq == MESSAGES:
                break
            if kind == "ping":
                said.append(PING)
                pings += 1
                continue
            seq += 1
            if kind == "event":
                said.append(frame({0: 18, 1: seq, 2: "x"}))
            elif kind == "blocks":
                said.append(frame(_block(seq, 40)))
                expected += (seq + np.arange(40) / 1000).tolist()
            else:
                whole = frame(reading(seq))
                said.append(_fragments(whole) if kind == "fragments" else whole)
                expected.append(float(seq))
    return b"".join(said), expected, pings


def _fragments(whole: bytes) -> bytes:
    """The message of a short frame in two frames (RFC 6455 §5.4)."""
    key, body = whole[2:6], whole[6:]
    first = struct.pack("BB", 0x02, 0x80 | 8) + key + body[:8]
    last = struct.pack("BB", 0x80, 0x80 | len(body) - 8) + key + body[8:]
    return first + last


@pytest.mark.parametrize("seed", range(4))
async def test_all_readings_come_once_however_the_stream_is_cut(
    gateway: GatewayProcess, seed: int
) -> None:
    dice = random.Random(seed)
    device = f"cut-{seed}"
    stream, expected, pings = _stream(dice)
    line = introduced(gateway, device)
    line.say(frame(schema()))
    most = dice.choice((3, 50, 1000, 100_000))
    heard = b""
    while stream:
        cut = dice.randint(1, most)
        line.say(stream[:cut])
        stream = stream[cut:]
    ended = struct.pack(">BH", 0x19, MESSAGES)
    while ended not in heard or heard.count(PONG) < pings:
        heard += line.socket.recv(65_536)
    line.fin()
    await until(lambda: metric(gateway, "gateway_links") == 0)
    assert sorted(values(gateway, device)) == sorted(expected)
    await healthy(gateway)


async def test_frames_before_the_answer_are_taken(gateway: GatewayProcess) -> None:
    line, said = Cut(gateway), frame(hello("early", new_epoch()))
    line.say(upgrade(gateway) + said[:20])
    line.hear(b"\r\n\r\n")
    line.say(said[20:])
    line.hear(b"\x82")
    line.say(frame(schema()) + frame(reading(1)))
    line.hear(ACK_OF_1)
    line.fin()
    await until(lambda: values(gateway, "early") == [1.0])


async def test_a_frame_that_is_too_long_is_refused_at_its_head(gateway: GatewayProcess) -> None:
    line = opened(gateway)
    line.say(b"\x82\xff" + (2**40).to_bytes(8, "big") + bytes(4))
    assert line.hear(b"\x03\xf1").startswith(b"\x88")  # 1009
    line.fin()
    await healthy(gateway)


async def test_a_message_that_cannot_be_read_is_not_taken_for_one_of_many_alike(
    gateway: GatewayProcess,
) -> None:
    line = introduced(gateway, "broken")
    line.say(frame(schema()))
    said = [frame(_small(seq)) for seq in range(1, 61)]
    line.say(b"".join(said[:40]))
    line.hear(b"\x18\x28")
    wrong = bytearray(said[50])
    wrong[-3] ^= 7 ^ 0x18  # a number that goes on in the next byte, where 7 stood
    line.say(b"".join([*said[40:50], wrong, *said[51:]]))
    line.hear(b"\x88")
    line.fin()
    await until(lambda: len(values(gateway, "broken")) == 50)
    await healthy(gateway)


def _small(seq: int) -> dict[int, Any]:
    return {0: 16, 1: seq, 2: 1, 3: now_ms(), 5: [7], 7: 0}
