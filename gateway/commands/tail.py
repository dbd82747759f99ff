"""`gateway tail`: what happens, as it happens, as text."""

import asyncio
import os
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import aiohttp
import click

from gateway.commands.options import config_option, load_config
from gateway.config import Config
from gateway.config_rules import is_loopback
from gateway.control import ControlError, ask

TOKEN_VARIABLE = "SENSOR_GATEWAY_TOKEN"  # noqa: S105 - a name
_SHOWN = {"summary", "reading", "status", "alert", "snapshot"}
_SILENCE_S = 45.0  # three heartbeats
_MAX_RETRY_S = 30.0
_MAX_LINE = 2**20


class Event(NamedTuple):
    """One event of the stream; `retry_s` is set if the server named a pause."""

    name: str
    id: str | None
    data: str
    retry_s: float | None


class Assembly:
    """Puts events together from the stream's lines (WHATWG rules, one line at a time)."""

    def __init__(self) -> None:
        self._fields: dict[str, list[str]] = {}

    def add(self, line: str) -> Event | None:
        """Take a line without its end; give the event that it completes, if it does."""
        if line:
            field, _, value = line.partition(":")
            self._fields.setdefault(field, []).append(value.removeprefix(" "))
            return None
        fields, self._fields = self._fields, {}
        retry = fields.get("retry", [""])[-1]
        event = Event(
            name=fields.get("event", ["message"])[-1],
            id=fields.get("id", [None])[-1],
            data="\n".join(fields.get("data", [])),
            retry_s=int(retry) / 1000 if retry.isdecimal() else None,
        )
        return event if event.data or event.retry_s is not None else None


@click.command()
@click.option("--device", multiple=True, help="Only this device (repeat for more).")
@click.option("--metric", multiple=True, help="Only this metric (repeat for more).")
@click.option("--window", multiple=True, help="Only summaries of this window, such as 10s.")
@click.option("--kind", multiple=True, type=click.Choice(["summary", "reading", "status", "alert"]))
@click.option("--url", help="The gateway's address (default: from the configuration).")
@config_option
def tail(
    config: Path | None,
    *,
    device: tuple[str, ...],
    metric: tuple[str, ...],
    window: tuple[str, ...],
    kind: tuple[str, ...],
    url: str | None,
) -> None:
    """Follow events as text, through restarts of the gateway, until Ctrl-C."""
    settings = load_config(config)
    query = [("format", "text")]
    filters = {"device": device, "metric": metric, "window": window, "kind": kind}
    query += [(name, value) for name, values in filters.items() for value in values]
    pass_ = partial(access_token, None if url else settings.gateway.data_dir)
    follow_it = follow(url or own_url(settings), query, trust=settings.listen.tls_cert, pass_=pass_)
    asyncio.run(follow_it)


def access_token(data_dir: Path | None) -> str | None:
    """The token of the environment, or what the gateway on this machine gives its owner."""
    if token := os.environ.get(TOKEN_VARIABLE):
        return token
    if data_dir is None:
        return None
    try:
        return str(ask(data_dir, "pass")["token"])
    except ControlError:  # it does not run, or is not ours: it may let us in all the same
        return None


def own_url(config: Config) -> str:
    """The address at which this machine reaches the gateway of `config`."""
    host = config.listen.host if is_loopback(config.listen.host) else "127.0.0.1"
    host = f"[{host}]" if ":" in host else host
    scheme = "https" if config.listen.tls_cert else "http"
    return f"{scheme}://{host}:{config.listen.port}"


@dataclass(slots=True)
class Place:
    """Where in the stream we are, and how long the server wants us to stay away after a break."""

    cursor: str | None = None
    pause_s: float = 1.0


async def follow(
    url: str,
    query: list[tuple[str, str]],
    *,
    trust: Path | None,
    pass_: Callable[[], str | None] = lambda: None,
) -> None:
    """Print events for ever; after a break go on behind the last one that was received."""
    place = Place()
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=_SILENCE_S)
    async with aiohttp.ClientSession(
        url, timeout=timeout, read_bufsize=_MAX_LINE, connector=_connector(trust)
    ) as session:
        while True:
            token = await asyncio.to_thread(pass_)
            problem = await _listen(session, query, place, token)
            wait_s = min(place.pause_s, _MAX_RETRY_S) * random.uniform(0.8, 1.2)  # noqa: S311
            click.echo(f"({problem}; connecting again in {wait_s:.0f} s)", err=True)
            await asyncio.sleep(wait_s)


async def _listen(
    session: aiohttp.ClientSession,
    query: list[tuple[str, str]],
    place: Place,
    token: str | None,
) -> str:
    """Print what one connection brings; give the reason why it ended."""
    headers = {"Last-Event-ID": place.cursor} if place.cursor else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        async with session.get("/events", params=query, headers=headers) as response:
            await _require_stream(response)
            assembly = Assembly()
            async for line in response.content:
                event = assembly.add(line.decode("utf-8", "replace").rstrip("\r\n"))
                if event is not None:
                    place.cursor = event.id or place.cursor
                    place.pause_s = event.retry_s or place.pause_s
                    _show(event)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return str(error) or "no answer"
    return "the stream ended"


def _connector(trust: Path | None) -> aiohttp.TCPConnector:
    """A gateway with TLS is known by its own certificate, whatever name that is for."""
    if trust is None:
        return aiohttp.TCPConnector()
    context = ssl.create_default_context(cafile=str(trust))
    context.check_hostname = False
    return aiohttp.TCPConnector(ssl=context)


async def _require_stream(response: aiohttp.ClientResponse) -> None:
    if response.status == 401:
        raise ControlError(
            f"{response.url.origin()} wants to know who asks: put an access token "
            f"(`gateway token add NAME`) into the variable {TOKEN_VARIABLE}"
        )
    if 400 <= response.status < 500:
        text = (await response.content.read(2000)).decode("utf-8", "replace")
        raise ControlError(f"{response.url} answered {response.status}: {text}")
    response.raise_for_status()


def _show(event: Event) -> None:
    if event.name in _SHOWN and event.data:
        click.echo(event.data)
    elif event.name == "gap":
        click.echo(f"(events are missing: {event.data})", err=True)
