"""Child processes that live and end together, with real processes and signals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.commands.children import ChildEnded, Children
from gateway.errors import GatewayError

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal, time;"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""
SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def gone(pid: int) -> bool:
    """Whether a process has ended (a zombie that nobody collects counts as ended)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def await_true(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_all_children_end_with_the_context(tmp_path):
    with Children(tmp_path) as children:
        pids = [children.start(name, SLEEP).process.pid for name in "ab"]
        assert not children.wait(0.05)
    assert all(gone(pid) for pid in pids)


def test_a_group_that_will_not_end_is_killed_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.commands.children._PATIENCE_S", 0.2)
    with Children(tmp_path) as children:
        child = children.start("stubborn", [sys.executable, "-c", STUBBORN])
        await_true(lambda: child.log.read_text().endswith("\n"))
        grandchild = int(child.log.read_text())
    assert gone(child.process.pid)
    await_true(lambda: gone(grandchild))


def test_a_child_that_ends_is_named_with_its_last_lines(tmp_path):
    script = "print('x' * 9); print('broken'); raise SystemExit(3)"
    with Children(tmp_path) as children:
        stays = children.start("stays", SLEEP)
        children.start("fails", [sys.executable, "-c", script])
        with pytest.raises(ChildEnded, match=r"fails ended with code 3: its log is .*fails\.log"):
            children.wait(30)
        (ended,) = children.ended()
        assert ended.last_lines() == "    xxxxxxxxx\n    broken\n"
    assert gone(stays.process.pid)


def test_a_child_that_was_killed_is_named(tmp_path):
    with Children(tmp_path) as children:
        child = children.start("killed", SLEEP)
        child.process.kill()
        with pytest.raises(ChildEnded, match="killed by signal 9"):
            children.wait(30)


def test_a_program_that_is_missing_is_said(tmp_path):
    with (
        Children(tmp_path) as children,
        pytest.raises(GatewayError, match="cannot start /no/such"),
    ):
        children.start("missing", ["/no/such"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_wait_and_handlers_come_back(tmp_path, number):
    before = signal.getsignal(number)
    with Children(tmp_path) as children:
        children.start("stays", SLEEP)
        os.kill(os.getpid(), number)
        assert children.wait(30)
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_children_can_be_ended_by_signals(tmp_path):
    with Children(tmp_path) as children:
        child = children.start("stays", SLEEP)
        child.process.send_signal(signal.SIGTERM)
        assert child.process.wait(30) == -signal.SIGTERM


PARENT = """
import sys, time
from pathlib import Path
from gateway.commands.children import Children
with Children(Path(sys.argv[1])) as children:
    child = children.start("orphan", [sys.executable, "-c", "import time; time.sleep(600)"])
    print(child.process.pid, flush=True)
    children.wait(600)
"""


def test_no_child_outlives_a_parent_that_was_killed(tmp_path):
    root = str(Path(__file__).parents[2])
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, tmp_path],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": root},
    )  # fmt: skip
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    await_true(lambda: gone(child))
