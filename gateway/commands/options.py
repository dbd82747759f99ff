"""Options that commands share, and the types of their values."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from gateway.config import Config, Duration, load, locate

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

FILE = click.Path(dir_okay=False, path_type=Path)


class DurationType(click.ParamType[Duration]):
    """A duration such as 30s or 1h, as `Duration` (nanoseconds)."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Duration:
        try:
            return value if isinstance(value, Duration) else Duration.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = DurationType()


def config_option(command: Decorated) -> Decorated:
    """`--config FILE`, given to the command as `config: Path | None`."""
    add = click.option(
        "--config",
        type=FILE,
        metavar="FILE",
        help="Configuration (default: ./gateway.toml, else /etc/sensor-gateway/gateway.toml).",
    )
    return add(command)


def load_config(asked: Path | None) -> Config:
    """The configuration asked for, or the one that is found, or the defaults."""
    return load(locate(asked))


@contextmanager
def as_owner(data_dir: Path) -> Iterator[None]:
    """Root acts as the owner of `data_dir`, so that no file there becomes root's."""
    owner = data_dir.stat() if data_dir.exists() else None
    if os.geteuid() != 0 or owner is None or owner.st_uid == 0:
        yield
        return
    group = os.getegid()
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)


class MomentType(click.ParamType[int]):
    """A moment as ns UTC: so long ago (1h), or ISO 8601 (UTC unless it names a zone)."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return time.time_ns() - Duration.parse(value)
        except ValueError:
            pass
        try:
            return _from_iso(str(value))
        except ValueError:
            self.fail(f"{value!r} is neither like 1h nor like 2026-01-31T12:00:00", param, ctx)


MOMENT = MomentType()


def _from_iso(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    whole = int(moment.timestamp() // 1)
    return whole * 10**9 + moment.microsecond * 1000
