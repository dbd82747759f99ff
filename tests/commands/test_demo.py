"""The demo's parts: ports, the broker that is there, the configuration."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from gateway.commands import demo
from gateway.commands.tail import own_url
from gateway.config import load
from gateway.errors import GatewayError


def program(folder, name):
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_port_that_is_taken_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(GatewayError, match=f"port {port}: address already in use.*--port"):
            demo._free_port(port)
    assert demo._free_port(0) > 0


def test_mosquitto_comes_first(tmp_path, monkeypatch):
    for name in ("mosquitto", "mosquitto_sub", "amqtt"):
        program(tmp_path, name)
    monkeypatch.setattr(demo, "_SYSTEM_PATH", str(tmp_path))
    broker = demo.find_broker(tmp_path, 1234)
    assert broker.command == [str(tmp_path / "mosquitto"), "-c", str(tmp_path / "mosquitto.conf")]
    assert "listener 1234 127.0.0.1" in (tmp_path / "mosquitto.conf").read_text()
    assert broker.watch == "mosquitto_sub -p 1234 -v -t 'sensors/#'"


def test_amqtt_comes_second(tmp_path, monkeypatch):
    program(tmp_path, "amqtt")
    monkeypatch.setattr(demo, "_SYSTEM_PATH", str(tmp_path))
    broker = demo.find_broker(tmp_path, 1234)
    assert broker.version == "3.1.1"
    listeners = json.loads((tmp_path / "amqtt.json").read_text())["listeners"]
    assert listeners == {"default": {"type": "tcp", "bind": "127.0.0.1:1234"}}
    assert "--url mqtt://127.0.0.1:1234" in broker.watch


def test_without_a_broker_there_is_no_bridge(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "_SYSTEM_PATH", str(tmp_path))
    assert demo.find_broker(tmp_path, 1234) is None
    config = load(demo.write_config(tmp_path, 8081, None, None), env={})
    assert config.mqtt.url is None
    assert (config.listen.port, config.devices.auth) == (8081, "open")
    assert config.gateway.data_dir == tmp_path / "store"


def test_the_configuration_names_the_broker(tmp_path):
    broker = demo.Broker([], "3.1.1", "")
    config = load(demo.write_config(tmp_path, 8081, 1234, broker), env={})
    assert (config.mqtt.url, config.mqtt.version) == ("mqtt://127.0.0.1:1234", "3.1.1")


@pytest.fixture
def started(tmp_path):
    """`gateway demo` on a free port, once its page is there."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "gateway", "demo", "--port", "0", "--data", tmp_path / "d"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    for line in process.stdout:
        if "Ctrl-C" in line:
            break
    yield process, tmp_path / "d"
    process.kill()
    process.wait()
    process.stdout.close()


def family(process):
    parent = psutil.Process(process.pid)
    return parent.children(recursive=True)


def test_the_demo_ends_without_leaving_anything(started):
    process, data = started
    children = family(process)
    assert len(children) >= 3
    config = load(data / "gateway.toml", env={})
    with urllib.request.urlopen(f"{own_url(config)}/healthz", timeout=10) as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(30) == 0
    assert "Ended" in rest
    assert not [child for child in children if child.is_running()]


def test_the_demo_says_which_child_died(started):
    process, data = started
    children = family(process)
    (gateway,) = [child for child in children if "run" in child.cmdline()]
    gateway.kill()
    rest = process.stdout.read()
    assert process.wait(30) == 1
    assert "The last lines of gateway:" in rest
    assert f"error: gateway was killed by signal 9: its log is {data}/logs/gateway.log" in rest
    assert "Traceback" not in rest
    assert not [child for child in children if child.is_running()]
