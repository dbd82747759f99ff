"""`gateway status`: devices, store and outbox at a glance."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from gateway.commands.device import device_table, known_devices
from gateway.commands.options import as_owner, config_option, load_config
from gateway.commands.reach import NoData, existing_database
from gateway.config import Config
from gateway.control import NotRunning, ask
from gateway.store.connect import open_reader, translated
from gateway.store.queries import outbox_stats


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@config_option
def status(config: Path | None, *, as_json: bool) -> None:
    """Show whether the gateway runs, its devices, its store and what waits for the broker."""
    found = summary(load_config(config))
    if as_json:
        click.echo(json.dumps(found))
        return
    console = Console()
    for section, values in found.items():
        if section != "devices":
            console.print(_section(section, values))
    console.print(device_table(found["devices"]))


def summary(config: Config) -> dict[str, Any]:
    """`gateway`, `store`, `outbox` … (name to value each), and `devices` (a list).

    The running gateway tells its own sections; what is on disk is read in any case.
    """
    try:
        live = _sections(ask(config.gateway.data_dir, "status"))
    except NotRunning:
        live = {"gateway": {"state": "not running", "data": str(config.gateway.data_dir)}}
    try:
        return {**live, **_merged(live, stored(config)), "devices": known_devices(config)}
    except NoData:
        return {**live, "devices": []}


def _sections(told: dict[str, Any]) -> dict[str, Any]:
    """What the running gateway tells: its single values are a section of their own."""
    single = {key: value for key, value in told.items() if not isinstance(value, dict)}
    parts = {key: value for key, value in told.items() if isinstance(value, dict)}
    return {"gateway": {"state": "running", **single}, **parts}


def _merged(live: dict[str, Any], disk: dict[str, Any]) -> dict[str, Any]:
    return {section: {**values, **live.get(section, {})} for section, values in disk.items()}


def stored(config: Config) -> dict[str, Any]:
    """What the database says: its size in bytes, counts, and the outbox."""
    path = existing_database(config)
    with as_owner(config.gateway.data_dir), translated(path):
        conn = open_reader(path)
        try:
            return {"store": _store(conn, path), "outbox": _outbox(conn)}
        finally:
            conn.close()


def _store(conn: sqlite3.Connection, path: Path) -> dict[str, Any]:
    series, lost, rejected = conn.execute(
        """SELECT (SELECT count(*) FROM series), (SELECT coalesce(sum(readings), 0) FROM loss),
        (SELECT count(*) FROM rejected)"""
    ).fetchone()
    beside = [path, path.with_name(path.name + "-wal")]
    size = sum(file.stat().st_size for file in beside if file.exists())
    return {
        "file": str(path),
        "bytes": size,
        "series": series,
        "lost_readings": lost,
        "rejected_messages": rejected,
    }


def _outbox(conn: sqlite3.Connection) -> dict[str, Any]:
    stats = outbox_stats(conn)._asdict()
    return {name: stats[name] for name in ("depth", "bytes", "oldest", "dead")}


def _section(name: str, values: dict[str, Any]) -> Table:
    table = Table(title=name, title_justify="left", show_header=False, highlight=False)
    for key, value in values.items():
        table.add_row(key, "-" if value is None else str(value))
    return table
