"""How commands reach the gateway: through its socket if it runs, else through the store."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from gateway.commands.options import as_owner
from gateway.config import Config
from gateway.control import NotRunning, ask
from gateway.core.facts import Fact
from gateway.errors import GatewayError, StoreBusy
from gateway.store import Opened
from gateway.store.sqlite import SqliteStore

Answer = TypeVar("Answer")


class NoData(GatewayError):
    """Nothing was stored yet."""


def database(config: Config) -> Path:
    return config.gateway.data_dir / "gateway.db"


def existing_database(config: Config) -> Path:
    """The database; raises NoData if there is none."""
    path = database(config)
    if not path.exists():
        raise NoData(f"there is no database at {path}: has `gateway run` used this configuration?")
    return path


def change(
    config: Config, do: str, decide: Callable[[Opened], Fact | list[Fact]], **asked: Any
) -> Any:
    """Have the running gateway do `do`, or commit what `decide` says if none runs.

    The gateway's answer, or None if it does not run. Raises GatewayError if neither works.
    """
    try:
        return ask(config.gateway.data_dir, do, **asked)
    except NotRunning:
        config.gateway.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with as_owner(config.gateway.data_dir):
            asyncio.run(_commit(config, decide))
    return None


async def _commit(config: Config, decide: Callable[[Opened], Fact | list[Fact]]) -> None:
    store = SqliteStore(database(config), durability=config.store.durability)
    try:
        opened = await store.open()
    except StoreBusy as error:
        raise StoreBusy(
            f"{error}; it does not answer on its control socket: try again in a few seconds"
        ) from None
    try:
        decided = decide(opened)
        await store.commit(decided if isinstance(decided, list) else [decided])
    finally:
        await store.close()


def now_ms() -> int:
    return time.time_ns() // 10**6
