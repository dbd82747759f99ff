"""`gateway command`: tell a device to do something."""

import json
import time
from pathlib import Path
from typing import Any

import click

from gateway.commands.options import DURATION, config_option, load_config
from gateway.commands.reach import change, now_ms
from gateway.config import Config, Duration
from gateway.control import ControlError, ask
from gateway.core.enrolment import EnrolmentError
from gateway.core.facts import CommandPut
from gateway.store import Opened

_MOVING = {"queued", "sent", "handled", "accepted"}
_POLL_S = 0.2
_AT_MOST_ONCE = 1


@click.command()
@click.argument("device")
@click.argument("op")
@click.argument("args", required=False, metavar="[JSON]")
@click.option("--ttl", type=DURATION, default="30s", show_default=True, help="Then it expires.")
@click.option("--once", is_flag=True, help="At most once: rather not at all than twice.")
@click.option("--wait", is_flag=True, help="Wait for the result and print it.")
@config_option
def command(
    device: str,
    op: str,
    args: str | None,
    config: Path | None,
    *,
    ttl: Duration,
    once: bool,
    wait: bool,
) -> None:
    """Queue the command OP, with arguments as JSON, for DEVICE."""
    settings = load_config(config)
    asked = {
        "device": device,
        "op": op,
        "args": _arguments(args),
        "ttl_ms": ttl // 10**6,
        "flags": _AT_MOST_ONCE if once else 0,
    }
    put: list[CommandPut] = []

    def decide(opened: Opened) -> CommandPut:
        put.append(_queued(opened, **asked))
        return put[0]

    answer = change(settings, "command", decide, **asked)
    n = put[0].n if put else answer["n"]
    click.echo(f"command {n} is queued for {device}", err=True)
    if put:
        click.echo("the gateway does not run: it is sent when it does", err=True)
    elif wait:
        _report(_final(settings, n, patience_s=ttl / 1e9 + 10))
    click.echo(n)


def _arguments(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"the arguments are not JSON: {error}") from None


def _queued(
    opened: Opened, *, device: str, op: str, args: Any, ttl_ms: int, flags: int
) -> CommandPut:
    found = next((row for row in opened.devices if row.name == device and not row.removed), None)
    if found is None:
        raise EnrolmentError(f"there is no device {device}: `gateway device list` shows all")
    now = now_ms()
    return CommandPut(
        n=opened.highest["command"] + 1,
        device=found.id,
        seq=None,
        op=json.dumps(op),
        args=None if args is None else json.dumps(args),
        flags=flags,
        expires=now + ttl_ms,
        state="queued",
        origin=None,
        dedupe=None,
        created=now,
    )


def _final(config: Config, n: int, *, patience_s: float) -> dict[str, Any]:
    """Wait until the command is done, failed, expired …; ControlError if it never is."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        found: dict[str, Any] = ask(config.gateway.data_dir, "command.get", n=n)
        if found["state"] not in _MOVING:
            return found
        time.sleep(_POLL_S)
    raise ControlError(f"command {n} is still {found['state']}")


def _report(found: dict[str, Any]) -> None:
    result = found.get("result")
    words = f"{found['state']}" + ("" if result is None else f": {json.dumps(result)}")
    if found["state"] != "done":
        raise ControlError(f"command {found['n']} {words}")
    click.echo(words, err=True)
