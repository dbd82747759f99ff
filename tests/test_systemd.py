"""Notification and sockets as systemd does them, and what systemd itself thinks of the units."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gateway.config import load
from gateway.systemd import Notifier, listen_sockets

UNITS = Path(__file__).parents[1] / "systemd"
ANALYZE = shutil.which("systemd-analyze")
needs_analyze = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


@pytest.fixture
def supervisor(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def test_states_arrive_as_systemd_reads_them(supervisor):
    env = {"NOTIFY_SOCKET": supervisor.getsockname()}
    notifier = Notifier(env)
    assert notifier.active
    assert notifier.ready("http://127.0.0.1:8080\n3 devices")
    assert supervisor.recv(999) == b"READY=1\nSTATUS=http://127.0.0.1:8080 3 devices"
    assert notifier.alive()
    assert supervisor.recv(999) == b"WATCHDOG=1"
    assert notifier.status("5 devices")
    assert supervisor.recv(999) == b"STATUS=5 devices"
    assert notifier.stopping()
    assert supervisor.recv(999) == b"STOPPING=1\nSTATUS=stopping"
    assert env == {}


def test_an_abstract_address_works():
    name = f"gateway-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name)
        sock.settimeout(5)
        assert Notifier({"NOTIFY_SOCKET": "@" + name}).alive()
        assert sock.recv(999) == b"WATCHDOG=1"


@pytest.mark.parametrize("env", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_without_systemd_nothing_is_sent(env):
    notifier = Notifier(env)
    assert not notifier.active
    assert not notifier.ready("up")


def test_a_supervisor_that_went_away_does_no_harm(tmp_path):
    assert not Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).alive()


@pytest.mark.parametrize(
    ("env", "seconds"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_a_period(env, seconds):
    assert Notifier(env).watchdog_interval == seconds
    assert env == {}


TAKE = """
import os, sys
from gateway.systemd import listen_sockets
os.environ["LISTEN_PID"] = str(os.getpid()) if sys.argv[1] == "mine" else "1"
taken = listen_sockets()
for sock in taken:
    print(sock.getsockname()[1], sock.getblocking(), os.get_inheritable(sock.fileno()))
print([name for name in os.environ if name.startswith("LISTEN_")])
"""


def passed_on(whose: str, sockets: list[socket.socket]) -> list[str]:
    """Start a child with the sockets at 3, 4 … as systemd does, and give what it prints."""
    high = [os.dup2(sock.fileno(), 100 + index) for index, sock in enumerate(sockets)]
    moves = " ".join(f"{3 + index}<&{fd}" for index, fd in enumerate(high))
    closes = " ".join(f"{fd}<&-" for fd in high)
    shell = f'exec "$0" -c "$1" {whose} {moves} {closes}'
    env = os.environ | {"LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": "a:b"}
    done = subprocess.run(
        ["bash", "-c", shell, sys.executable, TAKE],
        check=True, capture_output=True, text=True, pass_fds=high, env=env,
        cwd=UNITS.parent,
    )  # fmt: skip
    for fd in high:
        os.close(fd)
    return done.stdout.splitlines()


@pytest.fixture
def listeners():
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    yield sockets
    for sock in sockets:
        sock.close()


def test_sockets_are_taken_over(listeners):
    ports = [sock.getsockname()[1] for sock in listeners]
    assert passed_on("mine", listeners) == [f"{port} False False" for port in ports] + ["[]"]


def test_sockets_of_another_process_are_left_alone(listeners):
    assert passed_on("other", listeners) == ["[]"]


@pytest.mark.parametrize(
    "env", [{}, {"LISTEN_PID": str(os.getpid())}, {"LISTEN_PID": "x", "LISTEN_FDS": "1"}]
)
def test_no_sockets_without_activation(env):
    assert listen_sockets(env) == []
    assert env == {}


@pytest.fixture
def units(tmp_path):
    """The units with a program that exists on this machine, for `systemd-analyze`."""
    for name in ("sensor-gateway.service", "sensor-gateway.socket"):
        text = (UNITS / name).read_text()
        text = re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", text, flags=re.MULTILINE)
        (tmp_path / name).write_text(text)
    return tmp_path


@needs_analyze
def test_systemd_accepts_the_units(units):
    done = subprocess.run(
        [ANALYZE, "verify", "--man=no", *map(str, sorted(units.glob("sensor-gateway.*")))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if "sensor-gateway" in line]
    assert (done.returncode, ours) == (0, [])


@needs_analyze
def test_systemd_rates_the_service_as_well_confined(units):
    done = subprocess.run(
        [ANALYZE, "security", "--offline=true", "--threshold=20", "--no-pager",
         str(units / "sensor-gateway.service")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    exposure = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    assert exposure, done.stdout + done.stderr
    assert float(exposure[1]) < 2.0
    assert done.returncode == 0


def install(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", UNITS / "install.sh", *options],
        capture_output=True, text=True, check=False, env=os.environ | {"DESTDIR": str(root)},
    )  # fmt: skip


def test_installing_twice_keeps_the_configuration(tmp_path):
    first = install(tmp_path, "--files-only")
    assert first.returncode == 0, first.stderr
    config = tmp_path / "etc/sensor-gateway/gateway.toml"
    assert load(config, env={}).gateway.data_dir == Path("/var/lib/sensor-gateway")
    config.write_text('[gateway]\nid = "mine"\n')
    second = install(tmp_path, "--files-only")
    assert second.returncode == 0, second.stderr
    assert tomllib.loads(config.read_text()) == {"gateway": {"id": "mine"}}
    assert load(config.with_name("gateway.toml.new"), env={}).gateway.id == "gw-1"
    assert (tmp_path / "etc/systemd/system/sensor-gateway.service").exists()
    assert (tmp_path / "etc/sysusers.d/sensor-gateway.conf").exists()


def test_installing_again_without_a_change_leaves_no_new_file(tmp_path):
    for _ in range(2):
        assert install(tmp_path, "--files-only").returncode == 0
    assert not list(tmp_path.rglob("*.new"))


def test_the_installer_says_what_is_wrong(tmp_path):
    unknown = install(tmp_path, "--sockets")
    assert unknown.returncode == 1
    assert "error: unknown option --sockets" in unknown.stderr
    assert "--files-only" in install(tmp_path).stderr
