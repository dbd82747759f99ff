"""Plans for bench/load: how its clients connect, what they say first, and what they send."""

import base64
import json
import os
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cbor2
import numpy as np

CUMULATIVE, PER_FRAME, PUBACK = range(3)
TEMPLATES = 64
SEQ, TIME = 0x7E57_5E90, 0x0123_4567_89AB_CDEF
"""Stand where the load patches the sequence number and the time in; both are encoded at length."""

Prelude = list[tuple[bytes, int]]
"""Messages to say first, and how many answers each is followed by."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What `bench/load` needs to know. `prelude` takes the number of the connection."""

    port: int
    path: str
    subprotocol: str | None
    mode: int
    templates: list[bytes]
    prelude: Callable[[int], Prelude] = field(default=lambda _: [])
    seq: tuple[int, int] = (0, 0)
    time: tuple[int, int] = (0, 0)
    back_ms: int = 0

    def write(self, file: Path, connections: int) -> None:
        """Write the plan as load.c reads it."""
        preludes = [self.prelude(number) for number in range(connections)]
        counts = (connections, len(preludes[0]), len(self.templates))
        with file.open("wb") as sink:
            sink.write(struct.pack("<IIIII", self.port, self.mode, *counts))
            sink.write(struct.pack("<IIIII", *self.seq, *self.time, self.back_ms))
            for prelude in preludes:
                sink.write(_frame(self._upgrade(), 0))
                sink.writelines(_frame(message, answers) for message, answers in prelude)
            sink.writelines(_frame(template, 0) for template in self.templates)

    def _upgrade(self) -> bytes:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {self.path} HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        ]
        if self.subprotocol:
            lines.append(f"Sec-WebSocket-Protocol: {self.subprotocol}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _frame(content: bytes, answers: int) -> bytes:
    return struct.pack("<II", answers, len(content)) + content


def walk(count: int, seed: int) -> np.ndarray:
    """A temperature that wanders, float32."""
    steps = np.random.default_rng(seed).normal(0, 0.02, count)
    return (21.5 + np.cumsum(steps)).astype("<f4")


# -- sensorlink.v1 ---------------------------------------------------------------------------


def sensorlink(port: int, readings: int) -> Plan:
    """DATA messages of one float32 column, for the gateway or what answers as it does."""
    templates = [cbor2.dumps(_data(readings, seed)) for seed in range(TEMPLATES)]
    return _sensorlink(port, templates, readings)


def in_turn(port: int, readings: int) -> Plan:
    """DATA messages of one reading and of several, one after the other."""
    both = (1, readings)
    templates = [cbor2.dumps(_data(both[seed % 2], seed)) for seed in range(TEMPLATES)]
    return _sensorlink(port, templates, readings)


def uneven(port: int, readings: int) -> Plan:
    """DATA messages of one float32 column with a time for each reading."""
    offsets = cbor2.CBORTag(69, np.arange(readings, dtype="<u2").tobytes())
    templates = [cbor2.dumps(_table(1, readings, seed) | {4: offsets}) for seed in range(TEMPLATES)]
    return _sensorlink(port, templates, readings)


def wide(port: int, *, fields: int, rows: int) -> Plan:
    """DATA messages of so many float32 columns."""
    templates = [cbor2.dumps(_table(fields, rows, seed)) for seed in range(TEMPLATES)]
    return _sensorlink(port, templates, rows, fields=fields)


def senml(port: int, readings: int) -> Plan:
    """SENML messages: packs of so many records."""
    templates = [cbor2.dumps(_senml(readings, seed)) for seed in range(TEMPLATES)]
    return _sensorlink(port, templates, readings)


def _sensorlink(port: int, templates: list[bytes], rows: int, *, fields: int = 1) -> Plan:
    first = templates[0]
    seq, time = first.find(struct.pack(">I", SEQ)), first.find(struct.pack(">Q", TIME))
    return Plan(
        port=port,
        path="/link",
        subprotocol="sensorlink.v1",
        mode=CUMULATIVE,
        templates=templates,
        prelude=partial(_introduction, fields=fields),
        seq=(seq, 4),
        time=(time, 8) if time >= 0 else (0, 0),
        back_ms=rows,
    )


def _data(readings: int, seed: int) -> dict[int, Any]:
    values = walk(readings, seed)
    if readings == 1:
        return {0: 16, 1: SEQ, 2: 1, 3: TIME, 5: [float(values[0])], 7: 0}
    return _table(1, readings, seed)


def _table(fields: int, rows: int, seed: int) -> dict[int, Any]:
    columns = [cbor2.CBORTag(85, walk(rows, seed * fields + at).tobytes()) for at in range(fields)]
    return {0: 16, 1: SEQ, 2: 1, 3: TIME, 4: 1, 5: columns, 7: 0}


def _senml(readings: int, seed: int) -> dict[int, Any]:
    values = walk(readings, seed)
    records: list[dict[Any, Any]] = [
        {0: f"m{at % 3}", 2: float(value)} for at, value in enumerate(values)
    ]
    return {0: 17, 1: SEQ, 2: records}


def _introduction(number: int, *, fields: int) -> Prelude:
    hello = {0: 1, 2: [1, 0], 3: f"bench-{number:04d}", 4: os.urandom(8), 5: 1, 6: 0}
    columns = [{0: f"temperature-{at}", 1: "Cel", 2: 85} for at in range(fields)]
    schema = {0: 8, 2: 1, 3: columns, 5: b"mark"}
    return [(cbor2.dumps(hello), 1), (cbor2.dumps(schema), 0)]


# -- MQTT 3.1.1 over WebSocket ---------------------------------------------------------------


def mqtt(port: int, readings: int) -> Plan:
    """PUBLISH at QoS 1 with the payload that the gateway gets."""
    payloads = [cbor2.dumps(_data(readings, seed)) for seed in range(TEMPLATES)]
    templates = [_publish(b"bench/t", payload) for payload in payloads]
    at = templates[0].index(b"bench/t") + len(b"bench/t")
    return Plan(
        port=port,
        path="/mqtt",
        subprotocol="mqtt",
        mode=PUBACK,
        templates=templates,
        prelude=lambda number: [(_connect(f"bench-{number:04d}"), 1)],
        seq=(at, 2),
    )


def _connect(client: str) -> bytes:
    name = client.encode()
    body = b"\0\4MQTT\4\2\0\x3c"
    body += struct.pack(">H", len(name)) + name
    return b"\x10" + _varint(len(body)) + body


def _publish(topic: bytes, payload: bytes) -> bytes:
    body = struct.pack(">H", len(topic)) + topic + b"\0\0" + payload
    return b"\x32" + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    found = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        found.append(low | (0x80 if value else 0))
        if not value:
            return bytes(found)


# -- JSON -------------------------------------------------------------------------------------


def json_text(port: int, readings: int, *, path: str = "/in") -> Plan:
    """Text messages of JSON, each answered by one message."""
    rng = random.Random(1)
    templates = [
        json.dumps(
            {"d": "bench", "t": 1_790_000_000_000, "v": [round(rng.gauss(21, 1), 3)] * readings}
        ).encode()
        for _ in range(TEMPLATES)
    ]
    return Plan(port=port, path=path, subprotocol=None, mode=PER_FRAME, templates=templates)
