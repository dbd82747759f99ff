"""The goals of performance, as ratios within one run, and what a run reached."""

from collections.abc import Callable
from typing import NamedTuple

from bench.notes import Notes

ONE, STEP = "1 a message, window 64", "1 a message, lock-step"
TEN, HUNDRED, THOUSAND = (
    "10 a message, window 64",
    "100 a message, window 16",
    "1000 a message, window 16",
)
NODE_RED, MOSQUITTO, BARE = "Node-RED, SQLite WAL", "Mosquitto, in memory", "bare aiohttp"
RATE = "readings_per_second"


class Goal(NamedTuple):
    """`reach` gives the figure, None if it was not measured. most: the figure is to stay below."""

    text: str
    bound: float
    reach: Callable[[Notes], float | None]
    most: bool = False
    unit: str = "×"

    def met(self, value: float) -> bool:
        return value <= self.bound if self.most else value >= self.bound


def _ratio(part: str, cell: str, theirs: str, key: str, ours: str = "gateway"):  # type: ignore[no-untyped-def]
    return lambda notes: notes.ratio(part, cell, ours, theirs, key)


def _median(part: str, cell: str, key: str, subject: str = "gateway"):  # type: ignore[no-untyped-def]
    return lambda notes: notes.median(part, cell, subject, key)


def _late(cell: str) -> Callable[[Notes], float | None]:
    """p99 of acknowledgements, by what is permitted: twice that of fdatasync, and 5 ms."""

    def reach(notes: Notes) -> float | None:
        p99 = notes.median("ingest", f"{cell}, half", "gateway", "p99_us")
        sync = notes.median("ingest", "limits", "disk", "sync_p99_us")
        return None if p99 is None or sync is None else p99 / (2 * sync + 5000)

    return reach


def _stall(notes: Notes) -> float | None:
    longest = notes.median("ingest", f"{ONE}, half", "gateway", "max_us")
    return None if longest is None else longest / 1000


def _largest(notes: Notes) -> float | None:
    cells = (STEP, ONE, TEN, HUNDRED, THOUSAND)
    found = [notes.median("ingest", cell, "gateway", "rss_mb") for cell in cells]
    return max((each for each in found if each is not None), default=None)


GOALS = (
    Goal(f"{ONE}: Mosquitto", 1.2, _ratio("ingest", ONE, MOSQUITTO, RATE)),
    Goal(f"{ONE}: bare aiohttp", 0.4, _ratio("ingest", ONE, BARE, RATE)),
    Goal(f"{STEP}: Node-RED", 10, _ratio("ingest", STEP, NODE_RED, RATE)),
    Goal(f"{HUNDRED}: Node-RED", 30, _ratio("ingest", HUNDRED, NODE_RED, RATE)),
    Goal(
        f"{THOUSAND}: SQLite's own blobs",
        0.5,
        _ratio("ingest", THOUSAND, "SQLite's blobs (limit)", RATE),
    ),
    Goal(
        "SENML packs of 10: Node-RED's JSON of 10",
        10,
        _ratio("ingest", TEN, NODE_RED, RATE, "gateway, SENML packs"),
    ),
    Goal(f"p99 ack at half, {ONE}, by 2 × fdatasync p99 + 5 ms", 1, _late(ONE), most=True),
    Goal(f"p99 ack at half, {HUNDRED}, by the same", 1, _late(HUNDRED), most=True),
    Goal(f"longest ack at half, {ONE}, windows closing", 50, _stall, most=True, unit=" ms"),
    *(
        Goal(
            f"SSE deliveries/s, {n} clients: nchan",
            1.3,
            _ratio("sse", f"{n} clients, saturated", "nginx + nchan", "per_second"),
        )
        for n in (100, 1000)
    ),
    Goal(
        "memory of an SSE client",
        12,
        _median("sse", "1000 clients, saturated", "client_kib"),
        most=True,
        unit=" KiB",
    ),
    Goal(
        "MQTT drain: bare paho",
        0.8,
        _ratio("mqtt", "summaries, 20 in flight", "bare paho", "per_second", "gateway, outbox"),
    ),
    Goal(
        "bytes a reading in chunks",
        4,
        _median("disk", "in chunks", "bytes", "all made-up devices"),
        most=True,
        unit=" B",
    ),
    Goal(
        "bytes written a reading, 100 a message",
        50,
        _median("disk", "written, 100 a message", "bytes"),
        most=True,
        unit=" B",
    ),
    Goal(
        "one hour of one series of 10 M: clustered rows, time",
        0.25,
        _median("scale", "stored", "ratio", "10000000"),
        most=True,
    ),
    Goal("memory at saturation", 90, _largest, most=True, unit=" MB"),
    Goal("memory with 500 idle devices", 150, _median("small", "idle", "idle_mb"), True, " MB"),
    Goal(
        "10,000 series: 100 series, readings/s",
        0.8,
        _ratio("scale", "series", "100", "rate", ours="10000"),
    ),
)


def table(notes: Notes) -> str:
    """Markdown."""
    lines = ["| goal | bound | reached | |", "|---|--:|--:|---|"]
    for goal in GOALS:
        value = goal.reach(notes)
        bound = f"{'≤' if goal.most else '≥'} {goal.bound:g}{goal.unit}"
        if value is None:
            lines.append(f"| {goal.text} | {bound} | not measured | |")
            continue
        met = "met" if goal.met(value) else "**missed**"
        lines.append(f"| {goal.text} | {bound} | {value:.3g}{goal.unit} | {met} |")
    return "\n".join(lines)
