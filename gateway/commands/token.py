"""`gateway token …`: scripts that may use the API and the events."""

import json
import secrets
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from gateway.commands.account import apply, note, rows, utc
from gateway.commands.options import config_option, load_config
from gateway.core.enrolment import token_hash


@click.group()
def token() -> None:
    """Add, list or revoke access tokens of scripts."""


@token.command()
@click.argument("name")
@config_option
def add(name: str, config: Path | None) -> None:
    """Make the access token NAME, for `Authorization: Bearer`; it is printed once."""
    secret = secrets.token_urlsafe(32)
    apply(config, "token.add", name, token_hash(secret))
    note(f"The access token {name}, shown this once (only a hash of it is kept):")
    click.echo(secret)


@token.command()
@click.argument("name")
@config_option
def revoke(name: str, config: Path | None) -> None:
    """Make the access token NAME worth nothing from now on."""
    apply(config, "token.revoke", name)
    note(f"the access token {name} is revoked")


@token.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@config_option
def list_(config: Path | None, *, as_json: bool) -> None:
    """List the access tokens by name."""
    found = rows(load_config(config), "SELECT name, created FROM access_token ORDER BY name")
    if as_json:
        for row in found:
            click.echo(json.dumps(row))
        return
    table = Table("access token", "since (UTC)")
    for row in found:
        table.add_row(row["name"], utc(row["created"]))
    Console().print(table)
