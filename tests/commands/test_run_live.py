"""A gateway as a process of its own: readiness, commands through its socket, a clean end."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.control import ask

ROOT = str(Path(__file__).parents[2])


class Running:
    """`gateway run` in a folder; `line` waits for a line of its log."""

    def __init__(
        self, folder: Path, *, env: dict[str, str] | None = None, before: str = ""
    ) -> None:
        command = f'{before} exec "$0" -u -m gateway run --config gateway.toml'
        self.process = subprocess.Popen(
            ["bash", "-c", command, sys.executable],
            cwd=folder, stderr=subprocess.PIPE, text=True, close_fds=False,
            env=os.environ | {"PYTHONPATH": ROOT} | (env or {}),
        )  # fmt: skip
        self.seen: list[str] = []

    def line(self, pattern: str) -> re.Match[str]:
        for line in self.process.stderr:
            self.seen.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"ended without {pattern!r}: {''.join(self.seen)}")

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.seen += self.process.stderr
        return self.process.wait(30)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "gateway.toml").write_text("[listen]\nport = 0\n")
    return tmp_path


@pytest.fixture
def run(folder):
    started = []

    def _run(**options):
        started.append(Running(folder, **options))
        return started[-1]

    yield _run
    for each in started:
        each.process.kill()
        each.process.wait()
        each.process.stderr.close()


def call(capsys, *arguments):
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main([*arguments])
    out, err = capsys.readouterr()
    return left.value.code, out, err


def test_commands_go_through_the_gateway_that_runs(run, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    gateway = run()
    gateway.line("listening")
    code, token, _ = call(capsys, "device", "add", "sn-1")
    assert (code, len(token)) == (0, 44)
    assert call(capsys, "device", "add", "sn-1")[0] == 1
    assert call(capsys, "device", "rotate", "sn-1")[0] == 0
    assert call(capsys, "device", "disable", "sn-1")[0] == 0
    (row,) = [json.loads(call(capsys, "device", "list", "--json")[1])]
    assert (row["id"], row["disabled"], row["token"]) == ("sn-1", True, True)
    assert call(capsys, "device", "enable", "sn-1")[0] == 0
    code, n, _ = call(capsys, "command", "sn-1", "relay", '{"on": true}', "--ttl", "1h")
    assert (code, n) == (0, "1\n")
    assert ask(folder / "data", "command.get", n=1)["state"] == "queued"
    assert json.loads(call(capsys, "status", "--json")[1])["gateway"]["state"] == "running"
    assert call(capsys, "device", "remove", "sn-1")[0] == 0
    assert gateway.end() == 0
    assert json.loads(call(capsys, "device", "list", "--json")[1])["removed"]


def test_a_second_gateway_is_refused_in_one_line(run, folder):
    run().line("listening")
    second = run()
    found = second.line("^error: (.*)")
    assert "another gateway" in found[1]
    assert second.process.wait(30) == 1
    assert "Traceback" not in "".join(second.seen)


def test_a_port_that_is_taken_is_one_line(run, folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (folder / "gateway.toml").write_text(f"[listen]\nport = {port}\n")
        gateway = run()
        assert f"cannot listen on 127.0.0.1 port {port}" in gateway.line("^error: (.*)")[1]
        assert gateway.process.wait(30) == 1
        assert "Traceback" not in "".join(gateway.seen)


def test_systemd_hears_of_readiness_and_of_the_end(run, folder):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(folder / "notify"))
        supervisor.settimeout(30)
        gateway = run(env={"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "400000"})
        assert supervisor.recv(999).startswith(b"READY=1\n")
        heard = {supervisor.recv(999).partition(b"=")[0] for _ in range(3)}
        assert b"WATCHDOG" in heard
        assert gateway.end() == 0
        assert b"STOPPING=1" in b"".join(drain(supervisor))


def drain(sock):
    sock.setblocking(False)
    while True:
        try:
            yield sock.recv(999)
        except BlockingIOError:
            return


def test_it_listens_on_the_socket_that_systemd_passes(run):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        passed = os.dup2(listener.fileno(), 77)
        gateway = run(env={"LISTEN_FDS": "1"}, before="exec 3<&77 77<&-; export LISTEN_PID=$$;")
        os.close(passed)
        gateway.line("listening")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=30) as answer:
            assert answer.status == 200
        assert gateway.end() == 0
        assert any("systemd listens" in line for line in gateway.seen)
