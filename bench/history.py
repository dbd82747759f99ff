"""How long one hour of one series takes to read, as the database grows.

    python bench/history.py [--readings 1e6 1e7 1e8] [--series 100] [--fresh 20000]

Builds databases of 1 Hz series in chunks, with some fresh readings in the journal, and prints the
median and the greatest time of 200 reads through the store, and of the same reads from a table of
rows clustered by series and time (up to 10 million readings), in turn. Both sides give arrays:
times as int64, values as float64.
"""

import argparse
import asyncio
import random
import sqlite3
import statistics
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import cbor2
import numpy as np

from gateway.core import chunks, facts
from gateway.core.chunks import Run
from gateway.core.columns import Field, Layout, layout_to_json
from gateway.core.entry import Entry
from gateway.core.readings import Clock
from gateway.core.runs import portions
from gateway.store.journal import pack
from gateway.store.sqlite import SqliteStore

START = 1_700_000_000_000
HOUR_NS = 3_600 * 10**9
READS = 200
ROWS_AT_MOST = 10_000_000
LAYOUT = Layout(1, 3, (Field("temperature", "Cel", 77, 0.01),), b"mark")


def world(series: int) -> Iterator[facts.Fact]:
    for n in range(1, series + 1):
        yield facts.DeviceAdded(n, f"d{n}", None, False, START)
        yield facts.StreamOpened(n, n, f"{n:016x}", 0, START)
        yield facts.SchemaLearned(n, n, 1, LAYOUT.fingerprint, 3, layout_to_json(LAYOUT))
        yield facts.SeriesLearned(n, n, "temperature", "Cel", 0)


def column(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    t = START * 10**6 + np.arange(n) * 10**9 + rng.integers(-3, 4, n) * 10**6
    return t, (2150 + np.cumsum(rng.integers(-3, 4, n))) * 0.01


def fill(store: SqliteStore, series: int, each: int) -> None:
    """Chunks as the compactor makes them, one transaction a series."""
    rng = np.random.default_rng(1)
    conn = store._writer.conn
    assert conn is not None
    sql = """INSERT INTO chunk (series, t_min_ns, t_max_ns, readings, row, crc, body)
        VALUES (?, ?, ?, ?, 1, ?, ?)"""
    for number in range(1, series + 1):
        t, v = column(rng, each)
        rows = []
        for some in portions([Run("Cel", Clock.DEVICE, b"", t, v)]):
            body, at = chunks.encode(some), some[0].t
            rows.append((number, int(at[0]), int(at[-1]), len(at), zlib.crc32(body), body))
        conn.execute("BEGIN")
        conn.executemany(sql, rows)
        conn.execute("COMMIT")


def fresh(series: int, each: int, count: int) -> Iterator[facts.Fact]:
    """The newest readings, still as single messages in the journal."""
    for row in range(1, count // series + 1):
        t0 = START + (each + row) * 1000
        messages = [
            cbor2.dumps({0: 16, 1: row, 2: 1, 3: t0, 5: [2150], 7: 0}) for _ in range(series)
        ]
        entries = [
            Entry(n, row, row, message, 1, Clock.DEVICE, 0, n, b"")
            for n, message in enumerate(messages, 1)
        ]
        header, body, crc = pack(entries)
        at = t0 * 10**6
        yield facts.JournalRow(row, t0, at, at, series, header, crc, body)


def clustered(path: Path, series: int, each: int) -> sqlite3.Connection:
    """The same readings as plain rows."""
    rng = np.random.default_rng(1)
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("PRAGMA synchronous = OFF")
    conn.execute("CREATE TABLE r (s, t, v, PRIMARY KEY (s, t)) WITHOUT ROWID")
    for number in range(1, series + 1):
        t, v = column(rng, each)
        conn.execute("BEGIN")
        rows = zip([number] * each, t.tolist(), v.tolist(), strict=True)
        conn.executemany("INSERT OR IGNORE INTO r VALUES (?, ?, ?)", rows)
        conn.execute("COMMIT")
    return conn


async def hour(store: SqliteStore, series: int, since: int) -> int:
    found = store.readings(since_ns=since, until_ns=since + HOUR_NS, series=[series])
    return sum([len(run.t) async for _, run in found])


def plain_hour(conn: sqlite3.Connection, series: int, since: int) -> int:
    """The same as `hour`, from rows: times as int64, values as float64."""
    sql = "SELECT t, v FROM r WHERE s = ? AND t >= ? AND t < ?"
    t, v = zip(*conn.execute(sql, (series, since, since + HOUR_NS)).fetchall(), strict=True)
    return min(len(np.array(t, np.int64)), len(np.array(v)))


def timed(name: str, times: list[float]) -> dict[str, float]:
    return {name: 1000 * statistics.median(times), f"{name}_max": 1000 * max(times)}


async def measure(folder: Path, total: int, series: int, newest: int) -> dict[str, float]:
    """Median and greatest time of the reads, in ms, and bytes a stored reading."""
    each = total // series
    store = SqliteStore(folder / "gateway.db")
    await store.open()
    await store.commit(list(world(series)))
    await store.on_writer(lambda _: fill(store, series, each))
    await store.commit(list(fresh(series, each, newest)))
    rng = random.Random(1)
    places = [
        (rng.randint(1, series), (START + rng.randint(0, max(1, each - 3600)) * 1000) * 10**6)
        for _ in range(READS)
    ]
    rows = clustered(folder / "rows.db", series, each) if total <= ROWS_AT_MOST else None
    chunks_s, rows_s, newest_s = [], [], []
    for number, since in places:
        begun = time.perf_counter()
        count = await hour(store, number, since)
        chunks_s.append(time.perf_counter() - begun)
        if rows is not None:
            begun = time.perf_counter()
            same = plain_hour(rows, number, since)
            rows_s.append(time.perf_counter() - begun)
            if same != count:
                raise SystemExit(f"{count} readings in chunks, {same} in rows")
    end = (START + each * 1000) * 10**6 + newest // series * 10**9 + 10**9
    for number, _ in places[:20]:
        begun = time.perf_counter()
        await hour(store, number, end - HOUR_NS)
        newest_s.append(time.perf_counter() - begun)
    await store.close()
    found = {"bytes": store.path.stat().st_size / total}
    found |= timed("chunks", chunks_s) | timed("newest", newest_s)
    if rows is not None:
        rows.close()
        found |= timed("rows", rows_s)
        found["ratio"] = statistics.median(chunks_s) / statistics.median(rows_s)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--readings", type=float, nargs="+", default=[1e6, 1e7, 1e8])
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--fresh", type=int, default=20_000, help="readings still in the journal")
    args = parser.parse_args()
    print("one hour of one series, milliseconds")
    for total in args.readings:
        with tempfile.TemporaryDirectory() as name:
            found = asyncio.run(measure(Path(name), int(total), args.series, args.fresh))
        print(f"{total:,.0f}", {key: round(value, 2) for key, value in found.items()}, flush=True)


if __name__ == "__main__":
    main()
