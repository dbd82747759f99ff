"""`gateway alerts`: which alerts are in force, and acknowledging one."""

import getpass
import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from gateway.commands.options import as_owner, config_option, load_config
from gateway.commands.reach import existing_database
from gateway.config import Config
from gateway.control import NotRunning, ask
from gateway.core.lines import moment
from gateway.core.summary import dump
from gateway.store.connect import open_reader, translated

_OPEN = "SELECT payload FROM alert WHERE state <> 'closed' ORDER BY since"


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@config_option
@click.pass_context
def alerts(context: click.Context, config: Path | None, *, as_json: bool) -> None:
    """Show the alerts in force; `gateway alerts ack N` acknowledges one."""
    context.obj = config
    if context.invoked_subcommand is not None:
        return
    found = _in_force(load_config(config))
    if as_json:
        for alert in found:
            click.echo(json.dumps(alert))
    elif found:
        Console().print(_table(found))
    else:
        click.echo("no alert is open", err=True)


@alerts.command()
@click.argument("n", type=click.IntRange(min=1))
@click.option("--by", default=getpass.getuser, show_default="your login", help="Who has seen it.")
@click.option("--note", default="", help="What others should know.")
@config_option
@click.pass_obj
def ack(outer: Path | None, n: int, config: Path | None, *, by: str, note: str) -> None:
    """Acknowledge the open alert N, as the gateway runs."""
    told = ask(load_config(config or outer).gateway.data_dir, "alerts.ack", n=n, by=by, note=note)
    click.echo(f"alert {n} ({told['name']}, {told['dev']}) is acknowledged", err=True)


def _in_force(config: Config) -> list[dict[str, Any]]:
    """Payloads, from the running gateway or else from the database."""
    try:
        found: list[dict[str, Any]] = ask(config.gateway.data_dir, "alerts")
    except NotRunning:
        found = _stored(config)
    return found


def _stored(config: Config) -> list[dict[str, Any]]:
    path = existing_database(config)
    with as_owner(config.gateway.data_dir), translated(path):
        conn = open_reader(path)
        try:
            return [json.loads(payload) for (payload,) in conn.execute(_OPEN)]
        finally:
            conn.close()


def _table(found: list[dict[str, Any]]) -> Table:
    table = Table("n", "device", "metric", "alert", "state", "since", "what")
    for alert in found:
        since = moment(alert.get("since", alert["t"]))
        what = dump(alert["detail"]) if alert.get("detail") is not None else ""
        words = " ".join(word for word in (alert.get("text", ""), what) if word)
        number, metric = str(alert.get("n", "-")), alert.get("m", "-")
        table.add_row(
            number, alert["dev"], metric, str(alert["name"]), alert.get("state", ""), since, words
        )
    return table
