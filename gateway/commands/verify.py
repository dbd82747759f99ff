"""`gateway verify`: is all that is stored whole and readable?"""

from pathlib import Path

import click

from gateway.commands.options import FILE, as_owner, config_option, load_config
from gateway.commands.reach import existing_database
from gateway.store import offline

_SHOWN = 20


@click.command()
@click.argument("file", type=FILE, required=False)
@config_option
def verify(file: Path | None, config: Path | None) -> None:
    """Check every page, every checksum and every stored message of FILE, or of the database.

    The gateway may run meanwhile. Exit code 1 if anything is wrong.
    """
    settings = load_config(config)
    path = existing_database(settings) if file is None else file
    with as_owner(settings.gateway.data_dir):
        found = offline.verify(path)
    for problem in found.problems[:_SHOWN]:
        click.echo(problem)
    click.echo(
        f"{found.journal_rows:,} journal rows with {found.messages:,} messages, {found.chunks:,} "
        f"chunks, {found.readings:,} readings"
    )
    if found.problems:
        raise click.ClickException(
            f"{len(found.problems)} problems in {path}: stop the gateway, then "
            f"`gateway salvage {path} NEW` and `gateway restore NEW`"
        )
    click.echo("all is well")
