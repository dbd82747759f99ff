"""`gateway user …` and `gateway token …`, with and without a running gateway."""

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import main

SECRET = "correct horse battery"
TOKEN = re.compile(r"[A-Za-z0-9_-]{43}\n")


@pytest.fixture
def gateway(tmp_path, monkeypatch, capfdbinary):
    """Run `gateway …` in tmp_path; its exit code, stdout and stderr."""

    def _gateway(*arguments: str, given: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(given))
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as left:
            main(arguments)
        out, err = capfdbinary.readouterr()
        return int(left.value.code), out.decode(), err.decode()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("gateway.config.SYSTEM_PATH", tmp_path / "no.toml")
    return _gateway


def listed(gateway, what):
    code, out, _ = gateway(what, "list", "--json")
    assert code == 0
    return [json.loads(line) for line in out.splitlines()]


def test_users_come_and_go_while_the_gateway_is_stopped(gateway):
    assert gateway("user", "add", "ada", given=f"{SECRET}\n") == (0, "", "ada may sign in\n")
    code, _, err = gateway("user", "add", "ada", given=f"{SECRET}\n")
    assert (code, err) == (
        1,
        "error: the user ada exists: `gateway user password` sets a new password\n",
    )
    (row,) = listed(gateway, "user")
    assert (row["name"], row["sign_ins"]) == ("ada", 0)
    assert gateway("user", "password", "ada", given="another password\n")[0] == 0
    assert gateway("user", "sign-out", "ada")[0] == 0
    assert "│ ada" in gateway("user", "list")[1]
    code, _, err = gateway("user", "remove", "ada")
    assert code == 0
    assert "no user is left: everybody on this machine is let in" in err
    assert listed(gateway, "user") == []


def test_a_password_that_is_too_short_is_refused(gateway):
    code, _, err = gateway("user", "add", "ada", given="short\n")
    assert (code, err) == (1, "error: a password has 8 to 256 characters\n")
    assert gateway("user", "add", "ada")[0] == 1
    assert gateway("user", "add", "a b", given=f"{SECRET}\n")[0] == 1


@pytest.mark.parametrize("what", ["password", "remove", "sign-out"])
def test_a_user_who_is_not_there(gateway, what):
    code, _, err = gateway("user", what, "bob", given=f"{SECRET}\n")
    assert (code, err) == (1, "error: there is no user bob: `gateway user list` shows all\n")


def test_a_password_is_no_argument(gateway):
    code, _, err = gateway("user", "add", "ada", SECRET)
    assert code == 2
    assert "unexpected extra argument" in err


def test_tokens_come_and_go_while_the_gateway_is_stopped(gateway):
    code, token, err = gateway("token", "add", "grafana")
    assert code == 0
    assert TOKEN.fullmatch(token)
    assert "shown this once" in err
    assert gateway("token", "add", "grafana")[0] == 1
    assert [row["name"] for row in listed(gateway, "token")] == ["grafana"]
    assert "│ grafana" in gateway("token", "list")[1]
    assert gateway("token", "revoke", "grafana") == (
        0,
        "",
        "the access token grafana is revoked\n",
    )
    assert gateway("token", "revoke", "grafana")[0] == 1


def read(fd: int) -> bytes:
    try:
        return os.read(fd, 4096)
    except OSError:  # the other end is closed
        return b""


def test_a_terminal_is_asked_twice_and_shows_nothing(tmp_path: Path):
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-m", "gateway", "user", "add", "ada"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    shown = b""
    for prompt in (b"Password: ", b"Once more: "):
        while prompt not in shown:
            piece = read(master)
            assert piece, shown
            shown += piece
        os.write(master, SECRET.encode() + b"\n")
    while piece := read(master):
        shown += piece
    os.close(master)
    assert process.wait(60) == 0, shown
    assert b"ada may sign in" in shown
    assert SECRET.encode() not in shown
