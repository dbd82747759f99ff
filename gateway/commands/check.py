"""`gateway check`: would this configuration work on this machine?"""

import os
import shutil
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import click
from rich.console import Console
from rich.table import Table

from gateway.commands.options import config_option
from gateway.config import Config, load, locate
from gateway.config_rules import is_loopback
from gateway.control import ControlError, NotRunning, ask
from gateway.errors import ConfigError
from gateway.store.connect import reset_bug_warning

_LEAST_FREE = 64 * 2**20
_SPARE_FREE = 512 * 2**20
_YEAR_2025 = 1_735_689_600
_BROKER_TIMEOUT_S = 5.0
_MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "wrong": "[red]wrong[/]"}


class Finding(NamedTuple):
    """One line of the table; `verdict` is ok, warning or wrong."""

    what: str
    verdict: str
    text: str


@click.command()
@config_option
def check(config: Path | None) -> None:
    """Check the configuration, the disk, the clock, the port and the broker."""
    findings = list(examine(config))
    table = Table("check", "", "found", highlight=False)
    for finding in findings:
        table.add_row(finding.what, _MARKS[finding.verdict], finding.text)
    Console(soft_wrap=False).print(table)
    wrong = sum(finding.verdict == "wrong" for finding in findings)
    if wrong:
        raise click.ClickException(f"{wrong} of {len(findings)} checks found something wrong")


def examine(asked: Path | None) -> Iterator[Finding]:
    """All checks; when the configuration itself is wrong only those that need none."""
    path = locate(asked)
    name = str(path) if path else "built-in defaults (no file)"
    try:
        config = load(path)
    except ConfigError as error:
        yield Finding("configuration", "wrong", str(error))
    else:
        yield Finding("configuration", "ok", name)
        for look in _OF_CONFIG:
            yield look(config)
        yield from _secrets(config)
    yield _clock()
    yield _sqlite()


def _data_dir(config: Config) -> Finding:
    folder = config.gateway.data_dir
    if not folder.exists():
        parent = next(path for path in folder.parents if path.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            return Finding("data folder", "ok", f"{folder} will be made")
        return Finding("data folder", "wrong", f"{folder} cannot be made: {parent} is read-only")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return Finding("data folder", "wrong", f"{folder} is not writable for this user")
    return Finding("data folder", "ok", f"{folder} is writable")


def _space(config: Config) -> Finding:
    folder = config.gateway.data_dir
    existing = folder if folder.exists() else next(p for p in folder.parents if p.exists())
    free = shutil.disk_usage(existing).free
    verdict = "wrong" if free < _LEAST_FREE else "warning" if free < _SPARE_FREE else "ok"
    return Finding("free space", verdict, f"{free / 2**20:,.0f} MB free for {folder}")


def _port(config: Config) -> Finding:
    host, port = config.listen.host, config.listen.port
    try:
        ask(config.gateway.data_dir, "status")
    except NotRunning:
        return _try_port(host, port)
    except ControlError as error:
        return Finding("port", "warning", str(error))
    return Finding("port", "ok", f"the gateway runs, {host} port {port}")


def _try_port(host: str, port: int) -> Finding:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return Finding("port", "wrong", f"cannot listen on {host} port {port}: {reason}")
    return Finding("port", "ok", f"{host} port {port} is free")


def _access(config: Config) -> Finding:
    if is_loopback(config.listen.host):
        return Finding("access", "ok", "only this machine can connect")
    if config.devices.auth == "open":
        text = "every device in the network may connect without a token, as configured"
        return Finding("access", "warning", text)
    if config.listen.tls_cert is None:
        text = "passwords and tokens of other machines travel in clear: use TLS here or in a proxy"
        return Finding("access", "warning", text)
    return Finding("access", "ok", "other machines can connect, with TLS")


def _broker(config: Config) -> Finding:
    if config.mqtt.url is None:
        return Finding("broker", "ok", "none configured")
    parts = urlsplit(config.mqtt.url)
    port = parts.port or (8883 if parts.scheme == "mqtts" else 1883)
    address = f"{parts.hostname} port {port}"
    try:
        socket.create_connection((parts.hostname or "", port), _BROKER_TIMEOUT_S).close()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return Finding("broker", "wrong", f"{address} cannot be reached: {reason}")
    return Finding("broker", "ok", f"{address} answers")


_OF_CONFIG: tuple[Callable[[Config], Finding], ...] = (_data_dir, _space, _port, _access, _broker)


def _secrets(config: Config) -> Iterator[Finding]:
    """Files that hold secrets, and whether others may read them."""
    files = {
        "mqtt.password_file": config.mqtt.password_file,
        "mqtt.key_file": config.mqtt.key_file,
        "listen.tls_key": config.listen.tls_key,
    }
    for key, path in files.items():
        if path is None:
            continue
        if path.stat().st_mode & 0o077:
            text = f"{path} can be read by other users: chmod 600 {path}"
            yield Finding(key, "warning", text)
        else:
            yield Finding(key, "ok", f"{path} is for its owner only")


def _clock() -> Finding:
    now = time.time()
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now < _YEAR_2025:
        return Finding("clock", "wrong", f"{shown} lies in the past: is time synchronised?")
    if Path("/run/systemd/timesync").exists() and not _synchronised():
        return Finding("clock", "warning", f"{shown}, not synchronised yet")
    return Finding("clock", "ok", shown)


def _synchronised() -> bool:
    return Path("/run/systemd/timesync/synchronized").exists()


def _sqlite() -> Finding:
    warning = reset_bug_warning()
    if warning is not None:
        return Finding("SQLite", "warning", warning)
    return Finding("SQLite", "ok", sqlite3.sqlite_version)
