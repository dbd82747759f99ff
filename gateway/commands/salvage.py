"""`gateway salvage`: a sound database from a damaged one, by hand."""

from pathlib import Path

import click

from gateway.commands.options import FILE, config_option, load_config
from gateway.core.windows import parse_window
from gateway.store import offline


@click.command()
@click.argument("file", type=FILE)
@click.argument("new", type=FILE)
@config_option
def salvage(file: Path, new: Path, config: Path | None) -> None:
    """Write what can be read of the damaged database FILE to the database NEW.

    FILE is only read, and no gateway may use it. What is lost is declared in NEW, which
    `gateway restore` then puts in place.
    """
    lengths = [parse_window(text) for text in load_config(config).summaries.windows]
    state = offline.salvage(file, new, lengths)
    for kind, count in state.back.items():
        click.echo(f"{count:,} {kind} back")
    for kind, count in state.bad.items():
        click.echo(f"{count:,} {kind} lost")
