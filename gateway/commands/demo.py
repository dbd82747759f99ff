"""`gateway demo`: a gateway, simulated devices and a broker, with nothing to set up."""

import json
import os
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import click

from gateway.commands.children import ChildEnded, Children
from gateway.errors import GatewayError

_START_S = 30.0
_DEVICES = 12
_SYSTEM_PATH = os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]
)


@dataclass(frozen=True, slots=True)
class Broker:
    """How to start an MQTT broker on this machine, and how to watch it."""

    command: list[str]
    version: str
    watch: str


@click.command()
@click.option("--port", type=click.IntRange(0, 65_535), default=8080, show_default=True)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-data"),
    show_default=True,
    help="Folder for the database, the configuration and the logs.",
)
def demo(port: int, data: Path) -> None:
    """Run a gateway with simulated devices and a broker, on this machine only."""
    port = _free_port(port)
    data = data.resolve()
    data.mkdir(parents=True, exist_ok=True)
    with Children(data / "logs") as children:
        try:
            _run(children, port, data)
        except ChildEnded as error:
            for child in children.ended():
                click.echo(f"The last lines of {child.name}:\n{child.last_lines()}", err=True)
            raise GatewayError(str(error)) from None
    click.echo("Ended. The data stays in " + str(data))


def _run(children: Children, port: int, data: Path) -> None:
    mqtt_port = _free_port(0)
    broker = find_broker(data, mqtt_port)
    if broker is not None:
        children.start("broker", broker.command)
        if _await_port(children, mqtt_port):
            return
    config = write_config(data, port, mqtt_port if broker else None, broker)
    click.echo(f"Starting; logs are in {data / 'logs'}")
    children.start("gateway", _python("gateway", "run", "--config", str(config)))
    if _await_ready(children, port):
        return
    link = f"ws://127.0.0.1:{port}/link"
    state = str(data / "host")
    children.start("host", _python("simulators", "host", "--url", link, "--state", state))
    fleet = ["fleet", "--url", link, "--devices", str(_DEVICES), "--seed", "1"]
    children.start("fleet", _python("simulators", *fleet))
    _announce(port, broker, config)
    while not children.wait(3600):
        pass


def _announce(port: int, broker: Broker | None, config: Path) -> None:
    watch = broker.watch if broker else "(no broker: install mosquitto, or pip install amqtt)"
    click.echo(
        f"""
  Live page   http://127.0.0.1:{port}/
  Events      curl -N 'http://127.0.0.1:{port}/events?format=text'
  Topics      {watch}
  Readings    {_program("gateway")} export --config {config} --format jsonl

Ctrl-C ends it."""
    )


def find_broker(data: Path, port: int) -> Broker | None:
    """Mosquitto if it is installed, else amqtt from this environment, else None."""
    mosquitto = shutil.which("mosquitto", path=_SYSTEM_PATH)
    if mosquitto is not None:
        file = data / "mosquitto.conf"
        user = "user root\n" if os.geteuid() == 0 else ""
        file.write_text(f"{user}listener {port} 127.0.0.1\nallow_anonymous true\n")
        watch = f"mosquitto_sub -p {port} -v -t 'sensors/#'"
        if shutil.which("mosquitto_sub", path=_SYSTEM_PATH) is None:
            watch += "   (package mosquitto-clients)"
        return Broker([mosquitto, "-c", str(file)], "5", watch)
    amqtt = shutil.which("amqtt", path=_SYSTEM_PATH)
    if amqtt is None:
        return None
    file = data / "amqtt.json"  # JSON is YAML, too
    listener = {"type": "tcp", "bind": f"127.0.0.1:{port}"}
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    file.write_text(json.dumps({"listeners": {"default": listener}, "plugins": plugins}))
    watch = f"{_program('amqtt_sub')} --url mqtt://127.0.0.1:{port} -t 'sensors/#'"
    return Broker([amqtt, "-c", str(file)], "3.1.1", watch)


def write_config(data: Path, port: int, mqtt_port: int | None, broker: Broker | None) -> Path:
    """The demo's configuration; written anew each time, since ports change."""
    lines = [
        "# Written by `gateway demo` at each start.",
        '[gateway]\nid = "demo"\ndata_dir = "store"',
        f'[listen]\nhost = "127.0.0.1"\nport = {port}',
        '[devices]\nauth = "open"',
    ]
    if mqtt_port is not None and broker is not None:
        lines.append(f'[mqtt]\nurl = "mqtt://127.0.0.1:{mqtt_port}"\nversion = "{broker.version}"')
    path = data / "gateway.toml"
    path.write_text("\n\n".join(lines) + "\n")
    return path


def _free_port(port: int) -> int:
    try:
        with socket.create_server(("127.0.0.1", port)) as sock:
            return int(sock.getsockname()[1])
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise GatewayError(f"port {port}: {reason}; choose another with --port") from None


def _await_port(children: Children, port: int) -> bool:
    """Wait until something listens; True if this process shall end instead."""
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        if children.wait(0.1):
            return True
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return False
    raise GatewayError(f"the broker does not listen on port {port}: see its log")


def _await_ready(children: Children, port: int) -> bool:
    """Wait until the gateway can commit; True if this process shall end instead."""
    end = time.monotonic() + _START_S
    problem = ""
    while time.monotonic() < end:
        if children.wait(0.1):
            return True
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                return False
        except (urllib.error.URLError, OSError) as error:
            problem = str(error)
    raise GatewayError(f"the gateway is not ready after {_START_S:.0f} s ({problem}): see its log")


def _python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-u", "-m", module, *arguments]


def _program(name: str) -> str:
    """How to call a program of this environment: by its name if the shell finds it."""
    beside = Path(sys.executable).parent / name
    return str(beside) if shutil.which(name) is None and beside.exists() else name
