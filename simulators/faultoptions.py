"""The options of `simulate fleet` that ask for faults."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import click

from simulators.faults import Faults

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_CHANCES = {
    "--drop": "abort the socket",
    "--half-open": "go silent but keep the socket",
    "--duplicate": "send a message again",
    "--reboot": "restart without a word",
    "--takeover": "connect a second time",
    "--malformed": "send a message that must be rejected",
    "--broken": "send bytes that are no message",
}
_FLAGS = {
    "--lose-counter": "a reboot loses spool and counter",
    "--overflow": "tiny spools and times offline, so that readings are lost",
    "--no-clock": "no device knows the time of day",
}


def time(text: str | float) -> float:
    """A length of time such as 90, 500ms, 15m, -2h, in seconds."""
    if isinstance(text, float):
        return text
    sign = -1.0 if text.startswith("-") else 1.0
    found = _SPAN.fullmatch(text.lstrip("+-"))
    if found is None:
        raise click.BadParameter(f"{text!r} is no length of time such as 90s, 15m or 2h")
    return sign * float(found[1]) * _SECONDS[found[2]]


def fault_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add all options that ask for faults."""
    spans = {
        "--skew": "error of the devices' Unix clocks",
        "--backlog": "begin with so much time of queued readings",
    }
    chance = click.FloatRange(0, 1)
    for name, text in reversed(_CHANCES.items()):
        command = click.option(name, type=chance, default=0.0, metavar="P", help=text)(command)
    for name, text in _FLAGS.items():
        command = click.option(name, is_flag=True, help=text)(command)
    for name, text in spans.items():
        command = click.option(name, type=time, default=0.0, help=text)(command)
    drift = click.option("--drift", type=float, default=0.0, help="of their Unix clocks, in ppm")
    return drift(command)


def faults_of(given: Mapping[str, Any]) -> Faults:
    """The faults that the options ask for."""
    plain = [name.removeprefix("--").replace("-", "_") for name in (*_CHANCES, *_FLAGS)]
    return Faults(
        **{name: given[name] for name in plain},
        skew_s=given["skew"],
        drift_ppm=given["drift"],
        backlog_s=given["backlog"],
    )
