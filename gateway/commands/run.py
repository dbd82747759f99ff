"""`gateway run`: the gateway in the foreground."""

import asyncio
import errno
import logging
import socket
from pathlib import Path

import click
import msgspec

from gateway import allocator, logs, systemd
from gateway.commands.options import config_option
from gateway.config import Config, load, locate
from gateway.config_rules import check
from gateway.errors import GatewayError

log = logging.getLogger(__name__)

_LISTEN_ERRORS = {errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL}


@click.command()
@config_option
@click.option("--log", "style", type=click.Choice(["text", "json"]), default="text")
@click.option("--verbose", is_flag=True, help="Log details too.")
def run(config: Path | None, style: logs.Format, verbose: bool) -> None:
    """Run the gateway in the foreground until SIGTERM or Ctrl-C."""
    allocator.prepare_heap()
    logs.start(style, level="DEBUG" if verbose else "INFO")
    path = locate(config)
    sockets = systemd.listen_sockets()
    settings = listening_on(load(path), sockets)
    log.info("configuration read", extra={"file": path or "none, built-in defaults"})
    from gateway import app  # noqa: PLC0415 - the other commands start faster without it

    try:
        asyncio.run(app.run(settings, sockets=sockets or None))
    except OSError as error:
        raise _explained(error, settings) from error


def listening_on(config: Config, sockets: list[socket.socket]) -> Config:
    """The configuration with the address that systemd really listens on, checked again."""
    if not sockets:
        return config
    host, port = sockets[0].getsockname()[:2]
    if (host, port) != (config.listen.host, config.listen.port):
        log.warning(
            "systemd listens, so [listen] host and port do not count",
            extra={"address": f"{host}:{port}"},
        )
    listen = msgspec.structs.replace(config.listen, host=host, port=port)
    config = msgspec.structs.replace(config, listen=listen)
    check(config)
    return config


def _explained(error: OSError, config: Config) -> Exception:
    if error.errno not in _LISTEN_ERRORS:
        return error
    address = f"{config.listen.host} port {config.listen.port}"
    reason = (error.strerror or "").lower()
    return GatewayError(
        f"cannot listen on {address} ({reason}): end the program that uses it, or change"
        " host or port below [listen]"
    )
