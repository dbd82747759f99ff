"""Messages alike that hold booleans, small numbers or packs: what was acknowledged is stored, in
value and in type, after a kill and after compaction."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.store.sqlite import SqliteStore
from tests.faults.devices import FAST, Cut, begin, frame, introduced, now_ms
from tests.processes import GatewayProcess

MESSAGES = 600
ACK_OF_ALL = b"\x02\x19" + MESSAGES.to_bytes(2, "big")
FIELDS = [{0: "open", 2: 0}, {0: "level", 2: 72}, {0: "flow", 2: 86}]
DATA, PACKS = "kinds-data", "kinds-packs"

Stored = dict[tuple[str, str], list[str]]
"""The values of a device's metric in order of time, as they are written."""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    process = begin(tmp_path, f"window = {MESSAGES}\n{FAST}")
    yield process
    process.kill()


def _values(dice: random.Random) -> tuple[bool, int, float]:
    return dice.random() < 0.5, dice.randint(-24, 23), dice.random()


def _data(seq: int, values: Sequence[Any], begun: int) -> dict[int, Any]:
    return {0: 16, 1: seq, 2: 1, 3: begun + seq, 5: list(values), 7: 0}


def _pack(seq: int, values: Sequence[Any], begun: int) -> dict[int, Any]:
    t = (begun + seq) / 1000
    return {
        0: 17,
        1: seq,
        2: [
            {0: f"m{n}", (4 if v is True or v is False else 2): v, 6: t}
            for n, v in enumerate(values)
        ],
    }


def _sent(line: Cut, frames: list[bytes], dice: random.Random) -> None:
    """Some at a time, until all of them are acknowledged."""
    while frames:
        n = dice.choice((1, 2, 3, 20, 60))
        line.say(b"".join(frames[:n]))
        del frames[:n]
    line.hear(ACK_OF_ALL)


def _stored(gateway: GatewayProcess) -> Stored:
    found = defaultdict(list)
    for row in gateway.export():
        found[row["dev"], row["m"]].append((row["t"], repr(row["v"])))
    return {series: [value for _, value in sorted(rows)] for series, rows in found.items()}


async def _compacted(path: Path) -> int:
    """Compact all that is settled; how many rows of the journal that were."""
    store = SqliteStore(path)
    await store.open()
    try:
        rows = 0
        while step := await store.compact(now_ms(), urgent=True):
            rows += step
        return rows
    finally:
        await store.close()


async def test_acknowledged_values_keep_their_type(gateway: GatewayProcess) -> None:
    dice, begun = random.Random(1), now_ms() - MESSAGES
    values = [_values(dice) for _ in range(MESSAGES)]
    line = introduced(gateway, DATA)
    line.say(frame({0: 8, 2: 1, 3: FIELDS, 5: b"kind"}))
    _sent(line, [frame(_data(n, v, begun)) for n, v in enumerate(values, 1)], dice)
    _sent(
        introduced(gateway, PACKS),
        [frame(_pack(n, v, begun)) for n, v in enumerate(values, 1)],
        dice,
    )
    gateway.kill()
    columns = [list(map(repr, column)) for column in zip(*values, strict=True)]
    expected = dict(zip(((DATA, field[0]) for field in FIELDS), columns, strict=True))
    expected |= {(PACKS, f"m{n}"): column for n, column in enumerate(columns)}
    assert _stored(gateway) == expected
    gateway.start()
    assert gateway.stop() == 0
    assert await _compacted(gateway.folder / "data" / "gateway.db") > 0
    assert _stored(gateway) == expected
