"""Fleets, their command line, and what people see of them."""

import asyncio
import io
import json
import os
import signal
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gateway.core.messages import Bye, Data
from simulators.cli import simulate
from simulators.faultoptions import time
from simulators.faults import TINY_SPOOL, Faults
from simulators.fleet import FleetPlan, build, names, parse_mix, run_fleet
from simulators.kinds import KINDS
from simulators.progress import Progress
from simulators.run import Options
from simulators.tally import Tally
from simulators.tokens import Tokens, TokensError

QUIET = Options(quiet=True, duration_s=0.05)


def test_names_are_dealt_out_by_the_mix():
    plan = FleetPlan(devices=6, mix={"greenhouse": 2, "power": 1})
    assert sorted(names(plan)) == [
        "greenhouse-1", "greenhouse-2", "greenhouse-3", "greenhouse-4", "power-1", "power-2",
    ]  # fmt: skip
    assert {name.rpartition("-")[0] for name in names(FleetPlan(devices=12))} == set(KINDS)


def test_a_mix_is_read_or_refused():
    assert parse_mix("power=2, door") == {"power": 2, "door": 1}
    for wrong in ("submarine", "power=0", "power=x"):
        with pytest.raises(click.UsageError):
            parse_mix(wrong)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("90", 90), ("-15m", -900), ("500ms", 0.5), ("1.5d", 129_600)],
)
def test_lengths_of_time(text, seconds):
    assert time(text) == seconds


def test_no_length_of_time():
    with pytest.raises(click.BadParameter):
        time("soon")


async def test_a_fleet_runs_and_parts_in_order(end, tmp_path):
    plan = FleetPlan(devices=5, mix={"power": 1}, rate=100, url=end.url)
    options = Options(quiet=True, duration_s=0.1, summary=tmp_path / "s.json")
    whole = await run_fleet(plan, tokens=Tokens(), options=options)
    assert whole["devices"] == 5
    assert whole["sent"] == whole["acknowledged"] > 0
    assert all(call.of(Bye) for call in end.calls)
    assert {device for device, _, _ in end.committed} == {f"power-{n}" for n in range(1, 6)}
    written = json.loads((tmp_path / "s.json").read_text())
    assert (
        written["sent"]
        == whole["sent"]
        == sum(each["sent"] for each in written["by_device"].values())
    )


async def test_a_backlog_begins_in_the_past(end):
    plan = FleetPlan(devices=1, mix={"greenhouse": 1}, url=end.url, faults=Faults(backlog_s=120))
    whole = await run_fleet(plan, tokens=Tokens(), options=Options(quiet=True, duration_s=0.3))
    assert whole["acknowledged"] >= 58
    times = [message.t0 for message in end.taken(Data)]
    assert times == sorted(times)
    assert times[-1] - times[0] >= 114_000


def test_overflow_means_tiny_spools():
    assert FleetPlan(devices=1, faults=Faults(overflow=True)).spool_capacity == TINY_SPOOL


async def test_the_same_seed_builds_the_same_device(http):
    plan = FleetPlan(devices=1, seed=3)
    given = {"http": http, "tally": Tally(), "token": None}
    one, two = (build("power-1", plan, **given) for _ in range(2))
    two.kind.at = one.kind.at
    clock = one.device.clock
    assert one.kind.take(clock) == two.kind.take(clock)
    assert one.device.spool.epoch != two.device.spool.epoch


def test_tokens_come_from_files_or_the_environment(tmp_path):
    many, one = tmp_path / "many.json", tmp_path / "one"
    many.write_text('{"a": "token a"}')
    one.write_text("single\n")
    tokens = Tokens.load(one=one, many=many, environ={})
    assert (tokens.of("a"), tokens.of("b")) == ("token a", "single")
    assert Tokens.load(one=None, many=None, environ={"SENSOR_TOKEN": "e"}).of("x") == "e"
    assert Tokens.load(one=None, many=None, environ={}).of("x") is None
    assert "single" not in repr(tokens)


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": 1}'])
def test_wrong_files_of_tokens_are_refused(tmp_path, text):
    path = tmp_path / "t.json"
    path.write_text(text)
    with pytest.raises(TokensError, match=r"t\.json"):
        Tokens.load(one=None, many=path, environ={})


async def test_progress_names_troubles_once(make):
    device, stream = make(), io.StringIO()
    tally = Tally()
    progress = Progress([device], tally, stream=stream)
    for pause in (1, 2):
        tally.troubles["probe-1"] = f"cannot reach it; next try in {pause} s"
        progress.update()
    assert stream.getvalue().count("cannot reach it") == 1
    assert "0/1 connected" in progress.line()
    tally.latencies.extend([0.001, 0.003])
    assert progress.finish()["ack_ms"]["max"] == 3.0


@pytest.mark.parametrize("command", ["host", "fleet", "replay"])
def test_every_command_explains_itself(command):
    found = CliRunner().invoke(simulate, [command, "--help"])
    assert found.exit_code == 0
    assert "--json-summary" in found.output


async def started(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulators", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2], env=os.environ | {"SENSOR_TOKEN": ""},
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_with_bye_and_the_summary(end, number):
    process = await started("fleet", "--devices", "2", "--url", end.url)
    await end.until(lambda: len([call for call in end.calls if call.states]) == 2)
    process.send_signal(number)
    _, err = await process.communicate()
    assert process.returncode == 0
    assert b"acknowledged" in err
    assert b"Traceback" not in err
    assert all(call.of(Bye) for call in end.calls)


async def test_an_unreachable_gateway_is_said_without_a_traceback(unused_tcp_port):
    url = f"ws://127.0.0.1:{unused_tcp_port}/link"
    process = await started("fleet", "--devices", "1", "--url", url, "--duration", "0.2")
    _, err = await process.communicate()
    assert process.returncode == 0
    assert f"cannot reach {url}: Connection refused".encode() in err
    assert b"Traceback" not in err


async def test_a_wrong_recording_is_one_line(tmp_path):
    (tmp_path / "x.csv").write_text("time,x\nnever,1\n")
    process = await started("replay", str(tmp_path / "x.csv"))
    _, err = await process.communicate()
    assert process.returncode == 1
    assert err.startswith(b"error: ")
    assert b"x.csv:2:" in err
    assert err.count(b"\n") == 1
