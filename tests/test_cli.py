"""The command line as people use it: what it prints, one-line errors, exit codes."""

import fcntl
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway import __version__
from gateway.cli import COMMANDS, main

ROOT = str(Path(__file__).parents[1])
TOKEN = re.compile(r"[A-Za-z0-9_-]{43}\n")


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def gateway(tmp_path, monkeypatch, capfdbinary):
    """Run `gateway …` in tmp_path, in this process, and give what came of it."""

    def _gateway(*arguments: str) -> Done:
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as left:
            main(arguments)
        out, err = capfdbinary.readouterr()
        return Done(int(left.value.code), out.decode(), err.decode())

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("gateway.config.SYSTEM_PATH", tmp_path / "no.toml")
    return _gateway


def fails(done, code, *words):
    """Assert that it failed with one line on stderr that holds the words."""
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    for word in words:
        assert word in done.stderr
    return True


def test_help_names_every_command(gateway):
    done = gateway("--help")
    assert done.returncode == 0
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(gateway, name):
    done = gateway(name, "--help")
    assert done.returncode == 0
    assert "--help" in done.stdout


def test_version(gateway):
    assert __version__ in gateway("--version").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "No such command 'nothing'"),
        (["device", "add"], "Missing argument"),
        (["run", "--port", "1"], "No such option"),
        (["query", "a", "b", "--step", "soon"], "a whole number and a unit"),
        (["query", "a", "b", "--step", "0s"], "longer than 0"),
        (["query", "a", "b", "--since", "soon"], "neither like 1h"),
        (["command", "a", "b", "{"], "not JSON"),
        (["export", "--format", "xml"], "'xml' is not one of"),
    ],
)
def test_wrong_usage_is_code_2(gateway, arguments, words):
    assert fails(gateway(*arguments), 2, words, "--help")


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"], ["device", "add", "a"], ["device", "list"], ["tail"], ["query", "a", "b"],
        ["export"], ["status"], ["command", "a", "b"],
    ],
)  # fmt: skip
def test_every_command_names_a_wrong_key(gateway, tmp_path, arguments):
    (tmp_path / "c.toml").write_text("[listen]\nprot = 1\n")
    done = gateway(*arguments, "--config", "c.toml")
    assert fails(done, 1, "listen.prot", "did you mean port?", "line 2")


def test_a_missing_configuration_is_said(gateway):
    assert fails(gateway("run", "--config", "c.toml"), 1, "c.toml does not exist")


@pytest.mark.parametrize("arguments", [["device", "list"], ["query", "a", "b"], ["export"]])
def test_reading_before_anything_was_stored(gateway, arguments):
    assert fails(gateway(*arguments), 1, "there is no database", "gateway run")


def test_devices_come_and_go_while_the_gateway_is_stopped(gateway):
    added = gateway("device", "add", "sn-1")
    assert added.returncode == 0, added.stderr
    assert TOKEN.fullmatch(added.stdout)
    assert fails(gateway("device", "add", "sn-1"), 1, "exists", "device rotate")
    rotated = gateway("device", "rotate", "sn-1")
    assert TOKEN.fullmatch(rotated.stdout)
    assert rotated.stdout != added.stdout
    assert gateway("device", "disable", "sn-1").returncode == 0
    (row,) = listed(gateway)
    assert (row["id"], row["token"], row["disabled"], row["removed"]) == ("sn-1", True, True, False)
    assert gateway("device", "enable", "sn-1").returncode == 0
    assert gateway("device", "remove", "sn-1").returncode == 0
    (row,) = listed(gateway)
    assert (row["disabled"], row["removed"]) == (False, True)
    assert fails(gateway("device", "rotate", "sn-1"), 1, "there is no device sn-1")
    assert TOKEN.fullmatch(gateway("device", "add", "sn-1").stdout)


def listed(gateway):
    done = gateway("device", "list", "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_token_is_nowhere_on_the_disk(gateway, tmp_path):
    token = gateway("device", "add", "sn-1").stdout.strip().encode()
    files = [path for path in (tmp_path / "data").iterdir() if path.is_file()]
    assert files
    assert not any(token in path.read_bytes() for path in files)


def test_a_bad_device_id_is_refused(gateway):
    assert fails(gateway("device", "add", "a/b"), 1, "no device id")


def test_a_command_waits_for_the_gateway(gateway):
    assert fails(gateway("command", "sn-1", "relay"), 1, "no device sn-1")
    gateway("device", "add", "sn-1")
    queued = gateway("command", "sn-1", "relay", '{"on": true}', "--ttl", "1h")
    assert (queued.returncode, queued.stdout) == (0, "1\n")
    assert "the gateway does not run" in queued.stderr
    assert gateway("command", "sn-1", "relay").stdout == "2\n"


def test_export_of_an_empty_store_is_empty(gateway, tmp_path):
    gateway("device", "add", "sn-1")
    done = gateway("export")
    assert (done.returncode, done.stdout) == (0, "")
    done = gateway("export", "--format", "csv", "-o", "out.csv")
    assert done.returncode == 0
    assert (tmp_path / "out.csv").read_text().startswith("dev,m,")
    assert not (tmp_path / "out.csv.part").exists()


def test_export_says_when_it_cannot_write(gateway):
    gateway("device", "add", "sn-1")
    done = gateway("export", "-o", "no/where.jsonl")
    assert fails(done, 1, "cannot write no/where.jsonl")


def test_query_of_an_unknown_series_is_empty(gateway):
    gateway("device", "add", "sn-1")
    done = gateway("query", "sn-1", "t", "--format", "csv", "--step", "1m")
    assert (done.returncode, done.stdout) == (0, "t,min,mean,max,n\n")


def test_status_while_the_gateway_is_stopped(gateway):
    nothing = json.loads(gateway("status", "--json").stdout)
    assert nothing["gateway"]["state"] == "not running"
    gateway("device", "add", "sn-1")
    some = json.loads(gateway("status", "--json").stdout)
    assert [row["id"] for row in some["devices"]] == ["sn-1"]
    assert some["store"]["bytes"] > 0
    assert "sn-1" in gateway("status").stdout


def test_a_busy_store_is_said(gateway, tmp_path):
    gateway("device", "add", "sn-1")
    with (tmp_path / "data" / "gateway.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = gateway("device", "add", "sn-2")
    assert fails(done, 1, "another gateway", "control socket")


def test_check_finds_nothing_wrong_here(gateway, monkeypatch):
    monkeypatch.setenv("SENSOR_GATEWAY__LISTEN__PORT", "0")
    done = gateway("check")
    assert done.returncode == 0, done.stdout
    for word in ("configuration", "data folder", "free space", "clock", "broker", "SQLite"):
        assert word in done.stdout


def test_check_shows_all_that_is_wrong(gateway, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "password").write_text("x")
        (tmp_path / "password").chmod(0o644)
        (tmp_path / "gateway.toml").write_text(
            f"[listen]\nport = {port}\n[mqtt]\nurl = 'mqtt://127.0.0.1:1'\n"
            "password_file = 'password'\n"
        )
        done = gateway("check")
    assert fails(done, 1, "2 of")
    assert re.search(r"port .* wrong .*address already in use", done.stdout)
    assert re.search(r"broker .* wrong .*connection refused", done.stdout)
    assert re.search(r"mqtt.password_file .* warning .*chmod 600", done.stdout)


def test_check_goes_on_after_a_wrong_configuration(gateway, tmp_path):
    (tmp_path / "gateway.toml").write_text("[listen]\nport = 99999\n")
    done = gateway("check")
    assert fails(done, 1, "1 of")
    assert "at most 65535" in done.stdout
    assert "SQLite" in done.stdout


def test_a_reader_that_goes_away_ends_it_quietly(gateway, tmp_path):
    gateway("device", "add", "sn-1")
    done = subprocess.run(
        ["bash", "-c", '"$0" -m gateway device list --json | true; exit ${PIPESTATUS[0]}',
         sys.executable],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": ROOT},
    )  # fmt: skip
    assert done.returncode in (0, 1)
    assert done.stderr == ""
