"""`gateway export`: all stored readings, as text or Parquet."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from gateway.commands.options import FILE, MOMENT, as_owner, config_option, load_config
from gateway.commands.reach import existing_database
from gateway.errors import GatewayError
from gateway.store.export import FORMATS, Choice, pieces


@click.command()
@click.option(
    "--format", "style", type=click.Choice(sorted(FORMATS)), default="jsonl", show_default=True
)
@click.option("--device", help="Only this device.")
@click.option("--metric", help="Only this metric.")
@click.option("--since", type=MOMENT, help="From this moment on: 1h (ago), or ISO 8601.")
@click.option("--until", type=MOMENT, help="Before this moment.")
@click.option("-o", "--output", type=FILE, metavar="FILE", help="Write there, not to stdout.")
@config_option
def export(
    config: Path | None,
    *,
    style: str,
    device: str | None,
    metric: str | None,
    since: int | None,
    until: int | None,
    output: Path | None,
) -> None:
    """Write each stored reading once; the gateway may run meanwhile.

    JSON Lines: {"dev","m","t","v"}, t in integer nanoseconds UTC.
    """
    settings = load_config(config)
    path = existing_database(settings)
    if output is None and style == "parquet" and sys.stdout.isatty():
        raise click.UsageError("Parquet is binary: give a file with -o")
    choice = Choice(device, metric, since, until)
    with _opened(output) as out:
        with as_owner(settings.gateway.data_dir):
            count = FORMATS[style](pieces(path, choice), out)
        out.flush()
    if output is not None:
        click.echo(f"{count:,} readings written to {output}", err=True)


@contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    """Stdout, or a file that gets its name only when it is complete."""
    if output is None:
        yield sys.stdout.buffer
        return
    part = output.with_name(output.name + ".part")
    try:
        with part.open("wb") as out:
            yield out
            os.fsync(out.fileno())
        part.replace(output)
    except OSError as error:
        raise GatewayError(f"cannot write {output}: {(error.strerror or '').lower()}") from error
    finally:
        if part.exists():
            part.unlink()
