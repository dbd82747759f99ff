"""What disk and SQLite themselves can do, without any network: `python -m bench.limits FOLDER S`.

Prints one JSON object: fdatasync's times (us) after an append of 4 KiB, and readings/s of packed
blobs as rows (synchronous=FULL) and of plain appends, by readings a blob and blobs a transaction.
"""

import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

READING = 12
GROUPS = ((1, 100), (100, 50), (1000, 50))
"""Readings a blob, blobs a transaction."""


def per_second(seconds: float, step: Callable[[], int]) -> float:
    """How much `step` gets done in a second."""
    begun = now = time.perf_counter()
    done = 0
    while now - begun < seconds:
        done += step()
        now = time.perf_counter()
    return done / (now - begun)


def sync_times(file: Path, seconds: float) -> list[float]:
    times = []
    fd = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        begun = time.perf_counter()
        os.write(fd, bytes(4096))
        os.fdatasync(fd)
        times.append((time.perf_counter() - begun) * 1e6)
    os.close(fd)
    return sorted(times)


def appends(file: Path, seconds: float, *, readings: int, blobs: int) -> float:
    """Write and fdatasync, over and over."""
    content = os.urandom(READING * readings) * blobs
    fd = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def step() -> int:
        os.write(fd, content)
        os.fdatasync(fd)
        return readings * blobs

    found = per_second(seconds, step)
    os.close(fd)
    return found


def rows(file: Path, seconds: float, *, readings: int, blobs: int) -> float:
    """Insert blobs, in WAL mode and with synchronous=FULL."""
    conn = sqlite3.connect(file, isolation_level=None)
    conn.execute("PRAGMA journal_mode = WAL")
    conn.execute("PRAGMA synchronous = FULL")
    conn.execute("CREATE TABLE journal (id INTEGER PRIMARY KEY, body BLOB)")
    content = [(os.urandom(READING * readings),)] * blobs

    def step() -> int:
        conn.execute("BEGIN")
        conn.executemany("INSERT INTO journal (body) VALUES (?)", content)
        conn.execute("COMMIT")
        return readings * blobs

    found = per_second(seconds, step)
    conn.close()
    return found


def measure(folder: Path, seconds: float) -> dict[str, float]:
    times = sync_times(folder / "syncs", seconds / 2)
    found = {f"sync_p{share}_us": times[len(times) * share // 100] for share in (50, 99)}
    for readings, blobs in GROUPS:
        some = {"readings": readings, "blobs": blobs}
        found[f"rows_{readings}"] = rows(folder / f"rows-{readings}", seconds / 2, **some)
        found[f"appends_{readings}"] = appends(folder / f"appends-{readings}", seconds / 2, **some)
    return found


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), float(sys.argv[2]))))
