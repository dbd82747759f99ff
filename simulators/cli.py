"""The command `simulate`."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from simulators.faultoptions import fault_options, faults_of
from simulators.fleet import FleetPlan, parse_mix, run_fleet
from simulators.hostrun import run_host
from simulators.kinds import KINDS
from simulators.recording import RecordingError
from simulators.replay import run_replay
from simulators.run import Options
from simulators.spool import SpoolError
from simulators.tokens import Tokens, TokensError

FAR = "multiply the pauses before a new connection (1: as the protocol asks)"


def shared(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every command has."""
    options = [
        click.option("--url", default="ws://127.0.0.1:8080/link", show_default=True),
        click.option("--token-file", type=click.Path(path_type=Path), help="one token, one line"),
        click.option("--tokens", type=click.Path(path_type=Path), help="JSON: id to token"),
        click.option("--duration", type=float, help="stop after so many seconds"),
        click.option("--seed", type=int, default=1, show_default=True),
        click.option("--quiet", is_flag=True, help="say nothing but errors"),
        click.option("--json-summary", type=click.Path(path_type=Path), help="write counts here"),
        click.option("--reconnect-scale", type=float, default=1.0, help=FAR),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _options(given: dict[str, Any]) -> Options:
    return Options(
        quiet=given["quiet"], duration_s=given["duration"], summary=given["json_summary"]
    )


def _tokens(given: dict[str, Any]) -> Tokens:
    return Tokens.load(one=given["token_file"], many=given["tokens"])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def simulate() -> None:
    """Devices for a gateway: this machine's own sensors, made-up fleets, recordings."""


@simulate.command()
@click.option("--id", "name", help="device id (default: host- and the hostname)")
@click.option("--state", type=click.Path(path_type=Path), help="folder of the spool")
@click.option("--interval", type=click.FloatRange(0.1), default=1.0, show_default=True)
@shared
def host(name: str | None, state: Path | None, interval: float, **given: Any) -> None:
    """Send what this machine measures about itself; nothing is made up."""
    asyncio.run(
        run_host(
            name,
            url=given["url"],
            tokens=_tokens(given),
            state=state,
            interval_s=interval,
            scale=given["reconnect_scale"],
            options=_options(given),
        )
    )


@simulate.command()
@click.option("--devices", type=click.IntRange(1), default=6, show_default=True)
@click.option("--mix", help=f"kinds and shares, as greenhouse=2,power=1 ({', '.join(KINDS)})")
@click.option("--rate", type=click.FloatRange(0.01), default=1.0, help="sample so much faster")
@click.option("--capacity", type=click.IntRange(1), default=10_000, help="messages in a spool")
@fault_options
@shared
def fleet(devices: int, mix: str | None, rate: float, capacity: int, **given: Any) -> None:
    """Run made-up devices. Faults are chances for each message, from 0 to 1."""
    plan = FleetPlan(
        devices=devices,
        mix=parse_mix(mix),
        rate=rate,
        seed=given["seed"],
        capacity=capacity,
        url=given["url"],
        scale=given["reconnect_scale"],
        faults=faults_of(given),
    )
    asyncio.run(run_fleet(plan, tokens=_tokens(given), options=_options(given)))


@simulate.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--device", help="whose readings a wide file holds (default: the file's name)")
@click.option("--speed", type=click.FloatRange(0, min_open=True), help="so many times as fast")
@shared
def replay(file: Path, device: str | None, speed: float | None, **given: Any) -> None:
    """Send a recording: a CSV FILE with time,device,metric,value[,unit] or time,METRIC,…

    Times are ISO 8601, Unix seconds or Unix milliseconds. Without --speed everything is sent as
    fast as the gateway acknowledges it.
    """
    asyncio.run(
        run_replay(
            file,
            url=given["url"],
            tokens=_tokens(given),
            device=device,
            speed=speed,
            scale=given["reconnect_scale"],
            options=_options(given),
        )
    )


def main() -> None:
    """The console script: errors as one line, never a traceback for what users can mend."""
    try:
        simulate(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (SpoolError, TokensError, RecordingError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
