"""`gateway restore`: a backup takes the place of the database."""

from pathlib import Path

import click

from gateway.commands.options import FILE, as_owner, config_option, load_config
from gateway.commands.reach import database
from gateway.store import offline


@click.command()
@click.argument("file", type=FILE)
@config_option
def restore(file: Path, config: Path | None) -> None:
    """Put the backup FILE in the place of the database, while no gateway runs.

    The present database is set aside whole. Commands that were under way in the backup become
    `unknown`, the event log and the store get new names.
    """
    settings = load_config(config)
    settings.gateway.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with as_owner(settings.gateway.data_dir):
        aside = offline.restore(database(settings), file.absolute())
    click.echo(f"restored {file}", err=True)
    if aside is not None:
        click.echo(f"the database that was there is now {aside}", err=True)
