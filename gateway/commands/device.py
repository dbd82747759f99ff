"""`gateway device …`: who may connect."""

import json
import secrets
import sqlite3
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from gateway.commands.options import as_owner, config_option, load_config
from gateway.commands.reach import change, existing_database, now_ms
from gateway.config import Config
from gateway.core import enrolment
from gateway.core.facts import DeviceAdded
from gateway.store import DeviceRow, Opened
from gateway.store.connect import open_reader, translated


@click.group()
def device() -> None:
    """Add, list, disable, enable, rotate or remove devices."""


@device.command()
@click.argument("id")
@click.option("--speaks-for-others", is_flag=True, help="May send readings of other devices.")
@config_option
def add(id: str, config: Path | None, *, speaks_for_others: bool) -> None:  # noqa: A002
    """Let the device ID connect; its new token is printed once."""
    settings = load_config(config)
    token = secrets.token_urlsafe(32)
    hashed = enrolment.token_hash(token)

    def decide(opened: Opened) -> DeviceAdded:
        return enrolment.add(
            _find(opened, id),
            name=id,
            number=opened.highest["device"] + 1,
            hashed=hashed,
            speaks_for_others=speaks_for_others,
            now_ms=now_ms(),
        )

    change(
        settings,
        "device.add",
        decide,
        device=id,
        token_hash=hashed,
        speaks_for_others=speaks_for_others,
    )
    _give(token, f"The token of {id}, shown this once (only a hash of it is kept):")
    if settings.devices.auth == "open":
        _note('auth = "open": devices may connect without a token, too')


@device.command()
@click.argument("id")
@config_option
def rotate(id: str, config: Path | None) -> None:  # noqa: A002
    """Give the device ID a new token; the old one is worth nothing from now on."""
    token = secrets.token_urlsafe(32)
    hashed = enrolment.token_hash(token)
    change(
        load_config(config),
        "device.rotate",
        lambda opened: enrolment.rotate(_find(opened, id), name=id, hashed=hashed),
        device=id,
        token_hash=hashed,
    )
    _give(token, f"The new token of {id}, shown this once:")


@device.command()
@click.argument("id")
@config_option
def disable(id: str, config: Path | None) -> None:  # noqa: A002
    """Shut the device ID out; its token stays, its readings too."""
    change(
        load_config(config),
        "device.disable",
        lambda opened: enrolment.disable(_find(opened, id), name=id, disabled=True),
        device=id,
    )
    _note(f"{id} is disabled")


@device.command()
@click.argument("id")
@config_option
def enable(id: str, config: Path | None) -> None:  # noqa: A002
    """Let the device ID in again."""
    change(
        load_config(config),
        "device.enable",
        lambda opened: enrolment.disable(_find(opened, id), name=id, disabled=False),
        device=id,
    )
    _note(f"{id} is enabled")


@device.command()
@click.argument("id")
@config_option
def remove(id: str, config: Path | None) -> None:  # noqa: A002
    """Forget the device ID and its token; its readings stay."""
    change(
        load_config(config),
        "device.remove",
        lambda opened: enrolment.remove(_find(opened, id), name=id),
        device=id,
    )
    _note(f"{id} is removed; its readings stay")


@device.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@config_option
def list_(config: Path | None, *, as_json: bool) -> None:
    """List the devices that may connect or that have readings."""
    rows = known_devices(load_config(config))
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
    else:
        Console().print(device_table(rows))


def known_devices(config: Config) -> list[dict[str, Any]]:
    """Every device with its state and rights, by name; times in Unix ms, 0 for never.

    While the gateway runs `last_seen` may be half a minute old: so seldom are positions stored.
    """
    path = existing_database(config)
    with as_owner(config.gateway.data_dir), translated(path):
        conn = open_reader(path)
        try:
            conn.row_factory = sqlite3.Row
            rows = conn.execute(
                """SELECT name AS id, state, since, max(last_seen, coalesce(
                (SELECT max(touched) FROM stream WHERE device = device.id), 0)) AS last_seen,
                token_hash IS NOT NULL AS token, disabled, removed, created
                FROM device ORDER BY name"""
            ).fetchall()
        finally:
            conn.close()
    flags = ("token", "disabled", "removed")
    return [dict(row) | {flag: bool(row[flag]) for flag in flags} for row in rows]


def device_table(rows: list[dict[str, Any]]) -> Table:
    table = Table("device", "state", "last seen (UTC)", "token", "access")
    for row in rows:
        access = "removed" if row["removed"] else "disabled" if row["disabled"] else "allowed"
        token = "yes" if row["token"] else "no"
        table.add_row(row["id"], row["state"], _utc(row["last_seen"]), token, access)
    return table


def _find(opened: Opened, name: str) -> DeviceRow | None:
    return next((row for row in opened.devices if row.name == name), None)


def _utc(ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(ms / 1000)) if ms else "never"


def _give(token: str, words: str) -> None:
    _note(words)
    click.echo(token)


def _note(words: str) -> None:
    click.echo(words, err=True)
