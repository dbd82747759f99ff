"""`gateway query`: the readings of one series, or their min, mean and max per step."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from gateway.commands.options import DURATION, MOMENT, as_owner, config_option, load_config
from gateway.commands.reach import existing_database
from gateway.config import Config, Duration
from gateway.core.chunks import Run
from gateway.errors import GatewayError
from gateway.store.sqlite import SqliteStore

_MAX_ROWS = 1_000_000
Row = Sequence[Any]


class TooMuch(GatewayError):
    """More rows than a person reads."""


class Steps:
    """Folds readings into min, sum, max and n per step; memory grows with steps only."""

    def __init__(self, length_ns: int) -> None:
        self._length = length_ns
        self._bins: dict[int, tuple[float, float, float, int]] = {}

    def add(self, run: Run) -> None:
        t, v = run.t, run.v
        if v.dtype == object:
            raise GatewayError("this metric is text: leave out --step")
        starts, inverse = np.unique(t // self._length, return_inverse=True)
        for index, start in enumerate(starts.tolist()):
            self._merge(start, v[inverse == index].astype(np.float64))
        if len(self._bins) > _MAX_ROWS:
            raise TooMuch(f"more than {_MAX_ROWS:,} steps: choose a longer --step")

    def _merge(self, start: int, v: NDArray[np.float64]) -> None:
        least, total, most, n = self._bins.get(start, (np.inf, 0.0, -np.inf, 0))
        self._bins[start] = (
            min(least, float(v.min())),
            total + float(v.sum()),
            max(most, float(v.max())),
            n + len(v),
        )

    def rows(self) -> list[Row]:
        """(t ns, min, mean, max, n) by time."""
        return [
            (start * self._length, least, total / n, most, n)
            for start, (least, total, most, n) in sorted(self._bins.items())
        ]


class Raw:
    """Gathers readings as they are."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, Any]] = []

    def add(self, run: Run) -> None:
        self._rows.extend(zip(run.t.tolist(), run.v.tolist(), strict=True))
        if len(self._rows) > _MAX_ROWS:
            raise TooMuch(f"more than {_MAX_ROWS:,} readings: give a --step, or use export")

    def rows(self) -> list[Row]:
        """(t ns, value) by time; equal times stay in order of arrival."""
        return sorted(self._rows, key=lambda row: row[0])


@click.command()
@click.argument("device")
@click.argument("metric")
@click.option("--since", type=MOMENT, default="1h", show_default=True, help="1h ago, or ISO 8601.")
@click.option("--until", type=MOMENT, help="Before this moment (default: now).")
@click.option("--step", type=DURATION, help="Min, mean and max per step, such as 1m.")
@click.option(
    "--format", "style", type=click.Choice(["table", "jsonl", "csv"]), help="Default: table."
)
@config_option
def query(
    device: str,
    metric: str,
    config: Path | None,
    *,
    since: int,
    until: int | None,
    step: Duration | None,
    style: str | None,
) -> None:
    """Show the readings of METRIC of DEVICE from the disk, whether the gateway runs or not."""
    settings = load_config(config)
    if step is not None and step <= 0:
        raise click.BadParameter("a step is longer than 0", param_hint="--step")
    gathered = Steps(step) if step else Raw()
    span = (since, time.time_ns() if until is None else until)
    existing_database(settings)
    with as_owner(settings.gateway.data_dir):
        asyncio.run(_gather(settings, gathered, (device, metric), span))
    names = ("t", "min", "mean", "max", "n") if step else ("t", "value")
    _PRINT[style or "table"](names, gathered.rows())


async def _gather(
    config: Config, gathered: Steps | Raw, series: tuple[str, str], span: tuple[int, int]
) -> None:
    store = SqliteStore(existing_database(config))
    device, metric = series
    try:
        async for found in store.readings(
            since_ns=span[0], until_ns=span[1], device=device, metric=metric
        ):
            gathered.add(found.run)
    finally:
        await store.close()


def _as_table(names: Sequence[str], rows: Sequence[Row]) -> None:
    table = Table("time (UTC)", *names[1:], highlight=False)
    for t, *values in rows:
        table.add_row(_utc(t), *(_shown(value) for value in values))
    Console().print(table)


def _as_jsonl(names: Sequence[str], rows: Sequence[Row]) -> None:
    _write(json.dumps(dict(zip(names, row, strict=True))) for row in rows)


def _as_csv(names: Sequence[str], rows: Sequence[Row]) -> None:
    _write([",".join(names)])
    _write(",".join(json.dumps(value) for value in row) for row in rows)


_PRINT: dict[str, Callable[[Sequence[str], Sequence[Row]], None]] = {
    "table": _as_table,
    "jsonl": _as_jsonl,
    "csv": _as_csv,
}


def _write(lines: Iterator[str] | list[str]) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _utc(t: int) -> str:
    whole = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(t // 10**9))
    return f"{whole}.{t // 10**6 % 1000:03d}"
