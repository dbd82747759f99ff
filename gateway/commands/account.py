"""What `gateway user …` and `gateway token …` share: changes, and what is on disk."""

import sqlite3
import time
from pathlib import Path
from typing import Any

import click

from gateway.commands.options import as_owner, load_config
from gateway.commands.reach import change, existing_database, now_ms
from gateway.config import Config
from gateway.core.accounts import CHANGES, Accounts
from gateway.core.clock import Now
from gateway.core.facts import Fact
from gateway.store import Opened
from gateway.store.connect import open_reader, translated


def apply(asked: Path | None, what: str, name: str, secret: str = "") -> None:
    """Make the change `what` of `accounts.CHANGES`."""
    config = load_config(asked)

    def decide(opened: Opened) -> list[Fact]:
        ms = now_ms()
        now = Now(ms * 10**6, 0)
        accounts = Accounts(length=config.access.session)
        accounts.restore(opened.users, opened.tokens, opened.sign_ins, now=now)
        return CHANGES[what](accounts, name, secret, ms)

    change(config, "account", decide, change=what, name=name, secret=secret)


def rows(config: Config, sql: str, *values: Any) -> list[dict[str, Any]]:
    """What a query finds on disk, by the names of its columns."""
    path = existing_database(config)
    with as_owner(config.gateway.data_dir), translated(path):
        conn = open_reader(path)
        try:
            conn.row_factory = sqlite3.Row
            return [dict(row) for row in conn.execute(sql, values)]
        finally:
            conn.close()


def warn_if_open(config: Config) -> None:
    """Say so if nobody has to sign in any more."""
    if not rows(config, "SELECT 1 FROM user LIMIT 1"):
        note("no user is left: everybody on this machine is let in without signing in")


def utc(ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(ms / 1000))


def note(words: str) -> None:
    click.echo(words, err=True)
