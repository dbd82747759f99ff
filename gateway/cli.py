"""The command line: the table of commands, and how errors reach people.

Exit codes: 0 done, 1 it did not work (`error: …` on stderr says what to do), 2 wrong usage,
130 interrupted.
"""

import sys
from collections.abc import Iterator, Sequence
from importlib import import_module

import click

from gateway import __version__
from gateway.errors import GatewayError

COMMANDS = (
    "run", "demo", "check", "device", "user", "token", "tail", "query", "export", "status",
    "alerts", "command", "replay", "backup", "restore", "verify", "salvage",
)  # fmt: skip


class Commands(click.Group):
    """Imports a command's module when it is asked for: starting is slow on a small machine."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = getattr(import_module(f"gateway.commands.{cmd_name}"), cmd_name)
        return found


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="gateway")
def cli() -> None:
    """Sensor gateway: takes readings from devices, keeps them, shows them, passes them on."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and leave with its exit code."""
    try:
        code = cli.main(arguments, prog_name="gateway", standalone_mode=False)
    except click.UsageError as error:
        sys.exit(_complain(_usage(error), code=2))
    except click.ClickException as error:
        sys.exit(_complain(error.format_message(), code=1))
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except GatewayError as error:
        sys.exit(_complain(str(error), code=1))
    except BaseExceptionGroup as group:
        sys.exit(_complain_of_all(group))
    sys.exit(code if isinstance(code, int) else 0)


def _complain(text: str, *, code: int) -> int:
    print(f"error: {' '.join(text.split())}", file=sys.stderr)  # noqa: T201
    return code


def _complain_of_all(group: BaseExceptionGroup[BaseException]) -> int:
    """Report errors that tasks raised together; anything else in the group is a bug."""
    causes = list(_leaves(group))
    if not all(isinstance(cause, GatewayError) for cause in causes):
        raise group
    for text in dict.fromkeys(map(str, causes)):
        _complain(text, code=1)
    return 1


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error


def _usage(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx is not None else "gateway"
    return f"{error.format_message()} (see `{path} --help`)"
