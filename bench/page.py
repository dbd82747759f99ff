"""Tables and plots of a run, put into a page between its marks."""

import json
import os
import platform
import sqlite3
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from bench import goals
from bench.notes import Notes
from bench.plots import draw

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
COLUMNS: dict[str, Sequence[tuple[str, str, float]]] = {
    "ingest": (
        ("readings/s", "readings_per_second", 1),
        ("p50 ms", "p50_us", 1e-3),
        ("p99 ms", "p99_us", 1e-3),
        ("longest ms", "max_us", 1e-3),
        ("MB", "rss_mb", 1),
    ),
    "sse": (
        ("deliveries/s", "per_second", 1),
        ("p50 ms", "p50_us", 1e-3),
        ("p99 ms", "p99_us", 1e-3),
        ("KiB a client", "client_kib", 1),
    ),
    "mqtt": (("messages/s", "per_second", 1), ("MB", "rss_mb", 1)),
    "slow": (("readings/s", "readings_per_second", 1), ("p99 ms", "p99_us", 1e-3)),
    "small": (
        ("start s", "start_s", 1),
        ("MB alone", "empty_mb", 1),
        ("MB, 500 devices", "idle_mb", 1),
        ("KiB a device", "device_kib", 1),
        ("% of a core", "cpu", 100),
        ("MB", "rss_mb", 1),
    ),
    "disk": (("bytes a reading", "bytes", 1),),
}
OURS = {"ingest": "gateway", "sse": "gateway", "slow": "gateway", "mqtt": "gateway, outbox"}
TITLES = {
    "ingest": "Taking readings in",
    "sse": "Event stream",
    "mqtt": "Upstream",
    "slow": "Slow disks",
    "small": "A small machine",
    "disk": "Disk",
}


def machine(rounds: int, seconds: float) -> dict[str, Any]:
    """Where and how a run was made."""
    cpu = next(
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    return {
        "cpu": f"{os.cpu_count()} × {cpu}",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "aiohttp": version("aiohttp"),
        "rounds": rounds,
        "seconds": seconds,
        "load": [round(each, 1) for each in os.getloadavg()],
    }


def goals_table(notes: Notes) -> str:
    return goals.table(notes)


def _row(notes: Notes, part: str, cell: str, subject: str) -> str:
    shown = [subject]
    for _, key, scale in COLUMNS[part]:
        value = notes.median(part, cell, subject, key)
        shown.append("" if value is None else _number(value * scale))
    first = COLUMNS[part][0][1]
    shown.append(f"{notes.spread(part, cell, subject, first):.0%}")
    ratio = notes.ratio(part, cell, OURS.get(part, ""), subject, first)
    shown.append("" if ratio is None else f"{ratio:.2f}")
    return f"| {' | '.join(shown)} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def tables(notes: Notes) -> str:
    """Markdown of all parts but scale, which is drawn."""
    lines = []
    for part, columns in COLUMNS.items():
        lines += ["", f"## {TITLES[part]}"]
        for cell, subjects in notes.cells(part):
            if cell == "limits":
                continue
            names = " | ".join(["", *(name for name, *_ in columns), "spread", "gateway ÷ it"])
            lines += ["", f"**{cell}**", "", f"|{names} |", "|---|" + "--:|" * (len(columns) + 2)]
            lines += [_row(notes, part, cell, subject) for subject in subjects]
    return "\n".join(lines)


def renew(page: Path, source: Path) -> None:
    """Put the figures of a run between the marks of a page, and draw its plots beside it."""
    run = json.loads(source.read_text())
    notes, where = Notes(run["notes"]), run["machine"]
    images = page.with_suffix("")
    parts = ", ".join(where[key] for key in ("cpu", "system"))
    parts += "".join(f", {name} {where[name.lower()]}" for name in ("Python", "SQLite", "aiohttp"))
    load = ", ".join(map(str, where["load"]))
    shown = [
        f"{parts}. {where['rounds']} rounds of {where['seconds']:g} s.",
        f"Load of the machine at the end (1, 5, 15 min): {load}.",
        "",
        "## Goals",
        "",
        goals_table(notes),
        tables(notes),
        "",
        "## Scale",
    ]
    for name, text in draw(notes, images).items():
        shown += ["", f"![{text}]({images.name}/{name})"]
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text("\n".join([before + BEGIN, "", *shown, "", END + after]))


@click.command()
@click.argument("page", type=click.Path(path_type=Path))
@click.argument("source", type=click.Path(path_type=Path))
def main(page: Path, source: Path) -> None:
    """Renew a page from the notes of an earlier run."""
    renew(page, source)


if __name__ == "__main__":
    main()
