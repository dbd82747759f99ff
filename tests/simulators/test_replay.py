"""Recordings: reading them, packing them, and pushing them until they are acknowledged."""

from pathlib import Path
from typing import Any

import pytest

from gateway.core import cbor
from gateway.core.columns import read_data
from gateway.core.layouts import read_schema
from gateway.core.messages import Data, parse, to_map
from gateway.core.readings import Clock, Timebase
from simulators.packing import MOST_BYTES, Packer, packed
from simulators.recording import Reading, RecordingError, read
from simulators.replay import Replay, run_replay
from simulators.run import Options
from simulators.tokens import Tokens

S = 1_000_000_000
LONG = """time,device,metric,value,unit
2026-01-01T00:00:00Z,a,temp,20.5,Cel
2026-01-01T00:00:00Z,a,open,true,
2026-01-01T01:00:01+01:00,a,temp,20.6,Cel
1767225601,a,open,False,
1767225602500,b,temp,,Cel
1767225602.25,b,state,"well, ok",
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def make(text: str, name: str = "rec.csv") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return make


def test_long_files_are_read_in_order(write):
    t = 1_767_225_600 * S
    assert list(read(write(LONG))) == [
        Reading(t, "a", "temp", 20.5, "Cel"),
        Reading(t, "a", "open", True, ""),
        Reading(t + S, "a", "temp", 20.6, "Cel"),
        Reading(t + S, "a", "open", False, ""),
        Reading(t + 2 * S + S // 2, "b", "temp", None, "Cel"),
        Reading(t + 2 * S + S // 4, "b", "state", "well, ok", ""),
    ]


def test_wide_files_belong_to_one_device(write):
    path = write("time,x,y\n5,1,\n6,-2e3,on\n", "tank.csv")
    assert list(read(path)) == [
        Reading(5 * S, "tank", "x", 1.0, ""),
        Reading(5 * S, "tank", "y", None, ""),
        Reading(6 * S, "tank", "x", -2000.0, ""),
        Reading(6 * S, "tank", "y", "on", ""),
    ]
    assert {r.device for r in read(path, device="other")} == {"other"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("when,x\n1,2\n", 1),
        ("time,x,x\n1,2,3\n", 1),
        ("time,bad name\n1,2\n", 1),
        ("time,x\n1,2\n1,2,3\n", 3),
        ("time,x\nyesterday,2\n", 2),
        ("time,x\n1,2\n\n-1,2\n", 4),
        ("time,x\n1e30,2\n", 2),
        ("time,x\nnan,2\n", 2),
        ("time,x\n1,inf\n", 2),
        ("time,device,metric,value\n1,a b,m,2\n", 2),
        ("time,device,metric,value\n1,a,m\n", 2),
    ],
)
def test_errors_name_the_line(write, text, line):
    with pytest.raises(RecordingError, match=rf"rec\.csv:{line}: "):
        list(read(write(text)))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RecordingError, match=r"cannot read .*none\.csv"):
        list(read(tmp_path / "none.csv"))


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"time,x\n\xff\xfe\x00,1\n")
    with pytest.raises(RecordingError, match="no CSV"):
        list(read(path))


def unpacked(messages: list[Data], packer: Packer) -> list[tuple[str, int, Any]]:
    """(metric, time, value) of all messages as the gateway understands them."""
    found = []
    for message in messages:
        source = cbor.decode(cbor.encode(to_map(message) | {1: 1}))
        layout = read_schema(packer.schemas[message.sid])
        batch = read_data(
            parse(Data, source), layout, device="d", timebase=Timebase(Clock.DEVICE), latest=None
        )
        for column in batch.columns:
            values = zip(column.t.tolist(), column.v.tolist(), strict=True)
            found += [(column.key.metric, t, v) for t, v in values]
    return found


def test_packing_keeps_every_reading(write):
    lines = ["time,device,metric,value,unit"]
    for i in range(3000):
        lines.append(f"{1_767_225_600 + i // 2 * 3 % 1000},d,m{i % 2},{i},V")
        if i % 7 == 0:
            lines.append(f"{1_767_225_600.123456 + i},d,state,{'long text ' * (i % 5)}x,")
    path = write("\n".join(lines))
    packer = Packer()
    messages = [draft.message for _, _, draft in packed(read(path), {"d": packer})]
    expected = [(r.metric, r.t, r.value) for r in read(path)]
    assert sorted(unpacked(messages, packer)) == sorted(expected)
    assert max(len(cbor.encode(to_map(m))) for m in messages) < MOST_BYTES + 1000


def test_even_times_cost_one_step(write):
    rows = "".join(f"{100 + 2 * i},{i}\n" for i in range(50))
    packer = Packer()
    (found,) = packed(read(write("time,x\n" + rows)), {"rec": packer})
    message = found[2].message
    assert (message.t0, message.step, message.clock) == (100_000, 2000, 0)
    assert found[2].readings == 50


async def test_a_replay_ends_when_all_is_acknowledged(write, end):
    path = write(LONG)
    whole = await run_replay(path, url=end.url, tokens=Tokens(), options=Options(quiet=True))
    assert (whole["sent"], whole["acknowledged"], whole["queued"]) == (3, 3, 0)
    assert whole["acknowledged_readings"] == 5
    assert {device for device, _, _ in end.committed} == {"a", "b"}


async def test_a_recorded_pace_can_be_kept(write, end):
    path = write("time,x\n100,1\n100.5,2\n200,true\n")
    options = Options(quiet=True)
    whole = await run_replay(
        path, url=end.url, tokens=Tokens(), speed=1e6, device="p", options=options
    )
    assert whole["acknowledged"] == 2


def test_nothing_is_sent_from_a_file_with_an_error(write):
    with pytest.raises(RecordingError, match=":3:"):
        Replay(write("time,x\n1,2\nx,3\n"))


def test_an_empty_recording_is_refused(write):
    with pytest.raises(RecordingError, match="no readings"):
        Replay(write("time,x\n"))
