"""`gateway backup`: a copy of the database, whether the gateway runs or not."""

from pathlib import Path

import click

from gateway.commands.options import FILE, as_owner, config_option, load_config
from gateway.commands.reach import existing_database
from gateway.control import NotRunning, ask
from gateway.store import backup as backups

PATIENCE_S = 6 * 3600.0


@click.command()
@click.argument("file", type=FILE)
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@config_option
def backup(file: Path, config: Path | None, *, force: bool) -> None:
    """Write the database as it is at one moment to FILE, checked and synced.

    The gateway that runs writes the file itself, so its user must be allowed to.
    """
    settings = load_config(config)
    path, to = existing_database(settings), file.absolute()
    try:
        asked = {"file": str(to), "force": force}
        size = ask(settings.gateway.data_dir, "backup", timeout=PATIENCE_S, **asked)["bytes"]
    except NotRunning:
        with as_owner(settings.gateway.data_dir):
            size = backups.backup(path, to, force=force)
    click.echo(f"{size:,} bytes written to {to}", err=True)
