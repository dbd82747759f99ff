"""`gateway replay`: send again what the broker acknowledged, and lost."""

from pathlib import Path

import click

from gateway.commands.options import config_option, load_config
from gateway.commands.reach import change, now_ms
from gateway.core.facts import OutboxReopened
from gateway.store import Opened

MS_PER_HOUR = 3_600_000


@click.command()
@click.option(
    "--hours",
    type=click.FloatRange(min=0, min_open=True, max=8760),
    required=True,
    help="How far back; at most mqtt.replay_hours are kept.",
)
@config_option
def replay(config: Path | None, *, hours: float) -> None:
    """Send what the broker acknowledged in the last HOURS again, under the same ids."""
    now = now_ms()
    since = now - round(hours * MS_PER_HOUR)

    def decide(_: Opened) -> OutboxReopened:
        return OutboxReopened(since, now)

    answer = change(load_config(config), "replay", decide, since=since)
    if answer is None:
        click.echo("the gateway does not run: it is sent when it does", err=True)
    else:
        click.echo(f"{answer['waiting']} messages wait for the broker", err=True)
