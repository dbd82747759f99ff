"""Plots of a run, as SVG."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes

from bench.notes import Notes

mpl.use("svg")
mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 10}

from matplotlib import pyplot as plt  # noqa: E402


class Line(NamedTuple):
    """A figure of part `scale` over its sizes. right: on the scale at the right."""

    label: str
    key: str
    scale: float = 1.0
    right: bool = False


class Plot(NamedTuple):
    """One plot: the cell it shows, and the names of its axes (the right one may be missing)."""

    cell: str
    title: str
    x: str
    y: str
    lines: Sequence[Line]
    right: str = ""


PLOTS = (
    Plot(
        "series",
        "Readings/s by number of series, 100 readings a message",
        "series",
        "readings/s",
        (Line("readings/s", "rate"), Line("longest ack", "max_us", 1e-3, right=True)),
        "ms",
    ),
    Plot(
        "connections",
        "Readings/s by number of connections, 10 readings a message",
        "connections",
        "readings/s",
        (Line("readings/s", "rate"), Line("memory", "rss_mb", right=True)),
        "MB",
    ),
    Plot(
        "stored",
        "One hour of one series, by readings stored",
        "readings stored",
        "ms",
        (Line("chunks", "chunks"), Line("rows clustered by series and time", "rows")),
    ),
    Plot(
        "clients",
        "Event stream by number of clients",
        "clients",
        "deliveries/s",
        (
            Line("saturated", "saturated_per_second"),
            Line("p99 at 20 events/s", "calm_p99_us", 1e-3, right=True),
        ),
        "ms",
    ),
    Plot(
        "outbox",
        "Drain of the outbox by its depth",
        "rows waiting at the start",
        "messages/s",
        (Line("messages/s", "per_second"),),
    ),
)


def draw(notes: Notes, folder: Path) -> dict[str, str]:
    """Write a plot for each cell of part `scale`, and one of all servers; names and titles."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    if notes.all.get("ingest"):
        _save(lambda axes: _bars(axes, notes), folder / "ingest.svg")
        found["ingest.svg"] = "Readings/s of all servers"
    for plot in PLOTS:
        sizes = list(notes.all.get("scale", {}).get(plot.cell, {}))
        if sizes:
            _save(lambda axes, plot=plot: _lines(axes, notes, plot), folder / f"{plot.cell}.svg")
            found[f"{plot.cell}.svg"] = plot.title
    return found


def _save(fill: Callable[[Axes], None], file: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    fill(axes)
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def _lines(axes: Axes, notes: Notes, plot: Plot) -> None:
    sizes = sorted(map(int, notes.all["scale"][plot.cell]))
    other = axes.twinx() if plot.right else axes
    for number, line in enumerate(plot.lines):
        points = [
            (size, value * line.scale)
            for size in sizes
            if (value := notes.median("scale", plot.cell, str(size), line.key)) is not None
        ]
        where = other if line.right else axes
        style = "--s" if line.right else "-o"
        where.plot(*zip(*points, strict=True), style, color=f"C{number}", label=line.label)
        where.set_ylim(bottom=0)
    axes.set_xscale("log")
    axes.set(title=plot.title, xlabel=plot.x, ylabel=plot.y)
    if plot.right:
        other.set_ylabel(plot.right)
    drawn = [*axes.get_lines(), *(other.get_lines() if plot.right else ())]
    axes.legend(drawn, [each.get_label() for each in drawn])
    axes.grid(alpha=0.3)


def _bars(axes: Axes, notes: Notes) -> None:
    """Readings/s of every server in every cell."""
    names, rates, colours = [], [], []
    for number, (cell, subjects) in enumerate(notes.cells("ingest")):
        for subject in subjects:
            rate = notes.median("ingest", cell, subject, "readings_per_second")
            if rate:
                names.append(f"{subject} – {cell}")
                rates.append(rate)
                colours.append(f"C{number}")
    axes.figure.set_size_inches(9, 0.25 * len(names) + 1)
    axes.barh(names, rates, color=colours)
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set(title="Readings acknowledged in a second", xlabel="readings/s")
