"""`gateway user …`: who may look at the page in a browser."""

import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from gateway.commands.account import apply, note, rows, utc, warn_if_open
from gateway.commands.options import config_option, load_config
from gateway.commands.reach import now_ms
from gateway.core.accounts import prepared
from gateway.passwords import hash_password


@click.group()
def user() -> None:
    """Add, list or remove users of the page, set passwords, sign users out."""


@user.command()
@click.argument("name")
@config_option
def add(name: str, config: Path | None) -> None:
    """Let NAME sign in. The password is asked for, or read from standard input."""
    load_config(config)
    apply(config, "user.add", name, _hashed_password())
    note(f"{name} may sign in")


@user.command()
@click.argument("name")
@config_option
def password(name: str, config: Path | None) -> None:
    """Set a new password for NAME, who is signed out everywhere."""
    load_config(config)
    apply(config, "user.password", name, _hashed_password())
    note(f"the password of {name} is changed; all sign-ins under the old one have ended")


@user.command()
@click.argument("name")
@config_option
def remove(name: str, config: Path | None) -> None:
    """Sign NAME out everywhere and forget the password."""
    apply(config, "user.remove", name)
    note(f"{name} is removed")
    warn_if_open(load_config(config))


@user.command(name="sign-out")
@click.argument("name")
@config_option
def sign_out(name: str, config: Path | None) -> None:
    """Sign NAME out in every browser; the password stays."""
    apply(config, "user.sign-out", name)
    note(f"{name} is signed out everywhere")


@user.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@config_option
def list_(config: Path | None, *, as_json: bool) -> None:
    """List the users, and in how many browsers each is signed in."""
    found = rows(
        load_config(config),
        """SELECT name, created, (SELECT count(*) FROM sign_in
            WHERE sign_in.user = user.name AND expires > ?) AS sign_ins FROM user ORDER BY name""",
        now_ms(),
    )
    if as_json:
        for row in found:
            click.echo(json.dumps(row))
        return
    table = Table("user", "since (UTC)", "signed in")
    for row in found:
        table.add_row(row["name"], utc(row["created"]), str(row["sign_ins"]))
    Console().print(table)


def _hashed_password() -> str:
    """Asked twice and not shown; from anything but a terminal, its first line."""
    if sys.stdin.isatty():
        text = click.prompt("Password", hide_input=True, confirmation_prompt="Once more", err=True)
    else:
        text = sys.stdin.readline().rstrip("\r\n")
    return hash_password(prepared(text))
