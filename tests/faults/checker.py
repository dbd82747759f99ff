"""The four invariants of docs/storage.md, checked without any code of the gateway.

It reads the database file (a copy of it, so that the gateway's own files stay as they are), what
devices sent and were told, and what subscribers received. `python -m tests.faults.checker FILE`
checks what can be checked of a file alone.
"""

import json
import math
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults import decoding
from tests.faults.blocks import unfold
from tests.faults.ledger import BAD, EVENT, GAP, Ledger, Listener, Reading, Stream

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
Key = tuple[int, str, int]
"""Series, window, t0 (ms)."""


class Stored(NamedTuple):
    """A reading on disk: t ns UTC, None if it is unknown."""

    t: int | None
    v: Any


@dataclass(slots=True)
class Verdict:
    """Figures, and every breach in words. A figure of what must not be is 0 in a good run."""

    acknowledged: int = 0
    readings: int = 0
    summaries: int = 0
    revisions: int = 0
    events: int = 0
    received: int = 0
    lost: int = 0
    duplicated: int = 0
    invented: int = 0
    wrong_summaries: int = 0
    wrong_events: int = 0
    wrong_order: int = 0
    damaged: int = 0
    found: list[str] = field(default_factory=list)

    def breach(self, figure: str, text: str, n: int = 1) -> None:
        setattr(self, figure, getattr(self, figure) + n)
        if len(self.found) < 50:
            self.found.append(f"{figure}: {text}")

    @property
    def good(self) -> bool:
        return not self.found


@contextmanager
def opened(database: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a copy of the database with its WAL (or journal), without its -shm."""
    with tempfile.TemporaryDirectory() as folder:
        for end in ("", "-wal", "-journal"):
            source = database.with_name(database.name + end)
            if source.exists():
                shutil.copyfile(source, Path(folder, database.name + end))
        conn = sqlite3.connect(Path(folder, database.name))
        try:
            yield conn
        finally:
            conn.close()


def check(database: Path, ledger: Ledger, *, at: float | None = None) -> Verdict:
    """Check everything. `at`: only what was acknowledged before that time must be there."""
    verdict = Verdict()
    with opened(database) as conn:
        Check(conn, ledger, at, verdict).run()
    return verdict


class Check:
    """One pass over one database."""

    def __init__(
        self, conn: sqlite3.Connection, ledger: Ledger, at: float | None, verdict: Verdict
    ) -> None:
        self.conn, self.ledger, self.at, self.verdict = conn, ledger, at, verdict
        self.stored: dict[int, list[Stored]] = defaultdict(list)
        self.headers: dict[int, list[tuple[int, int, int]]] = defaultdict(list)

    def run(self) -> None:
        for (said,) in self.ask("PRAGMA integrity_check"):
            if said != "ok":
                self.verdict.breach("damaged", str(said))
        if not self.ask("SELECT 1 FROM sqlite_master WHERE name = 'meta'"):
            self._nothing_there()
            return
        self._learn()
        self._read_journal()
        self._read_chunks()
        self._check_messages()
        self._check_order()
        self._check_summaries()
        self._check_events()
        self._check_outbox()
        for listener in self.ledger.listeners:
            self._check_listener(listener)

    def ask(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.conn.execute(sql, values).fetchall()

    def _nothing_there(self) -> None:
        told = sum(stream.acknowledged(self.at) for stream in self.ledger.streams)
        if told:
            self.verdict.breach("lost", "the database is empty", told)

    # -- reading what is there --------------------------------------------------------------

    def _learn(self) -> None:
        tables = {name for (name,) in self.ask("SELECT name FROM sqlite_master")}
        self.tables = tables
        if "event" in tables:
            unfold(self.conn)
        self.meta = dict(self.ask("SELECT key, value FROM meta"))
        self.devices = dict(self.ask("SELECT id, name FROM device"))
        self.streams = {
            number: (device, epoch, committed)
            for number, device, epoch, committed in self.ask(
                "SELECT id, device, epoch, committed FROM stream"
            )
        }
        self.schemas = {
            number: decoding.schema(resolution, fields)
            for number, resolution, fields in self.ask("SELECT id, resolution, fields FROM schema")
        }
        self.series = {
            (device, metric, kind): number
            for number, device, metric, kind in self.ask(
                "SELECT id, device, metric, kind FROM series"
            )
        }
        self.names = {number: key for key, number in self.series.items()}
        self.offsets = {
            (device, bytes.fromhex(boot)): offset
            for device, boot, offset in self.ask("SELECT device, boot, offset_ns FROM boot")
        }
        self.due = set(self.ask("SELECT series, window, t0 FROM revision_due"))
        self.dropped: Counter[tuple[str, str]] = Counter()
        self.dropped_until = 0
        if "dropped" in tables:
            for cause, what, n, until in self.ask("SELECT cause, what, n, t_max FROM dropped"):
                self.dropped[cause, what] += n
                if what == "readings":
                    self.dropped_until = max(self.dropped_until, until or 0)

    def _read_journal(self) -> None:
        sql = "SELECT id, header, body, crc, readings FROM journal ORDER BY id"
        for row, header, body, crc, readings in self.ask(sql):
            try:
                found = decoding.entries(header, body, crc)
            except decoding.Damaged as error:
                self.verdict.breach("damaged", f"journal row {row}: {error}")
                continue
            for entry in found:
                self.headers[entry.stream].append((row, entry.seq, entry.last))
                if entry.stream not in self.streams:
                    self.verdict.breach("wrong_order", f"journal row {row}: an unknown stream")
                    continue
                self._take_entry(row, entry)
            if readings != sum(entry.readings for entry in found):
                self.verdict.breach("damaged", f"journal row {row} counts its readings wrongly")

    def _take_entry(self, row: int, entry: decoding.Entry) -> None:
        device = self.streams[entry.stream][0]
        n = 0
        for run in decoding.runs(entry, self.schemas.get(entry.schema)):
            number = self.series.get((device, run.metric, run.kind))
            if number is None:
                self.verdict.breach("wrong_order", f"journal row {row}: no series {run.metric}")
                continue
            self._take_run(device, number, run)
            n += len(run.t)
        if n != entry.readings:
            self.verdict.breach("damaged", f"journal row {row}: {n} readings, not {entry.readings}")

    def _take_run(self, device: int, number: int, run: decoding.Run) -> None:
        more: int | None = 0
        if run.clock == decoding.UNKNOWN:
            more = self.offsets.get((device, run.boot))
        for t, v in zip(run.t, run.v, strict=True):
            self.stored[number].append(Stored(None if more is None else t + more, v))

    def _read_chunks(self) -> None:
        self.compacted = 0
        if "chunk" not in self.tables:
            return
        sql = "SELECT id, series, readings, row, crc, body FROM chunk ORDER BY id"
        for number, series, readings, row, crc, body in self.ask(sql):
            device, metric, kind = self.names[series]
            self.compacted = max(self.compacted, row)
            try:
                found = list(decoding.chunk(body, crc, metric=metric, kind=kind))
            except (decoding.Damaged, ValueError, OverflowError) as error:
                self.verdict.breach("damaged", f"chunk {number}: {error}")
                continue
            for run in found:
                self._take_run(device, series, run)
            if readings != sum(len(run.t) for run in found):
                self.verdict.breach("damaged", f"chunk {number} counts its readings wrongly")

    # -- 1: every acknowledged message, once ------------------------------------------------

    def _check_messages(self) -> None:
        by_device: dict[str, list[Stream]] = defaultdict(list)
        for stream in self.ledger.streams:
            by_device[stream.device].append(stream)
        missing = 0
        for device, streams in by_device.items():
            missing += self._check_readings(device, streams)
            for stream in streams:
                self._check_others(stream)
        given_up = self.dropped["age", "readings"] + self.dropped["size", "readings"]
        given_up += self.dropped["damage", "readings"]
        if missing > given_up:
            text = f"{missing} acknowledged readings are not there, {given_up} given up"
            self.verdict.breach("lost", text, missing - given_up)

    def _check_readings(self, device: str, streams: list[Stream]) -> int:
        """How many acknowledged readings are missing."""
        untimed = {
            reading.metric
            for stream in streams
            for sent in stream.sent.values()
            for reading in sent.readings
            if reading.t is None
        }
        there: Counter[Any] = Counter()
        for (number, metric, _), series in self.series.items():
            if self.devices.get(number) == device:
                there.update(
                    exactly(Reading(metric, None if metric in untimed else t, v))
                    for t, v in self.stored[series]
                )
        sent: Counter[Any] = Counter()
        acknowledged: Counter[Any] = Counter()
        for stream in streams:
            until = stream.acknowledged(self.at)
            self.verdict.acknowledged += until
            for seq, message in stream.sent.items():
                found = [exactly(reading) for reading in message.readings]
                sent.update(found)
                if seq <= until:
                    acknowledged.update(found)
        self.verdict.readings += there.total()
        for reading, n in (there - sent).items():
            figure = "duplicated" if reading in sent else "invented"
            self.verdict.breach(figure, f"{device} {reading}", n)
        gone = acknowledged - there
        for reading in list(gone)[:3]:
            if not self.dropped:
                self.verdict.found.append(f"lost: {device} {reading}")
        return gone.total()

    def _check_others(self, stream: Stream) -> None:
        """GAPs are losses, bad messages are rejected, EVENTs are alerts: each once."""
        until = stream.acknowledged(self.at)
        number = {name: number for number, name in self.devices.items()}.get(stream.device)
        if number is None:
            if until:
                self.verdict.breach("lost", f"{stream.device} is unknown", until)
            return
        losses = self._counted(
            "SELECT first, last FROM loss WHERE device = ? AND epoch = ?", number, stream.epoch
        )
        rejects = self._counted(
            "SELECT seq FROM rejected WHERE device = ? AND epoch = ?", number, stream.epoch
        )
        for seq, message in stream.sent.items():
            if message.kind == GAP:
                self._once(losses, (seq, message.last), needed=message.last <= until)
            elif message.kind == BAD:
                self._once(rejects, (seq,), needed=seq <= until)
        self._check_alerts(stream, until)
        known = {seq for seq, message in stream.sent.items() if message.kind == BAD}
        for (seq,) in rejects:
            if seq not in known:
                self.verdict.breach("invented", f"{stream.device} {seq} was rejected wrongly")

    def _check_alerts(self, stream: Stream, until: int) -> None:
        sql = """SELECT json_extract(payload, '$.detail') FROM told
            WHERE kind = 'alert' AND device = ?"""
        alerts = self._counted(sql, stream.device)
        complete = self._log_bounds()[0] <= 1
        for seq, message in stream.sent.items():
            if message.kind == EVENT:
                self._once(alerts, (message.number,), needed=complete and seq <= until)

    def _counted(self, sql: str, *values: Any) -> Counter[tuple[Any, ...]]:
        return Counter(self.ask(sql, *values))

    def _once(self, found: Counter[Any], key: tuple[Any, ...], *, needed: bool) -> None:
        if found[key] > 1:
            self.verdict.breach("duplicated", f"{key} stands {found[key]} times", found[key] - 1)
        if needed and not found[key]:
            self.verdict.breach("lost", f"{key} was acknowledged and has no row")

    # -- 1: positions -----------------------------------------------------------------------

    def _check_order(self) -> None:
        """Numbers rise without overlap; what is missing between two of them is a stored fact."""
        positions: dict[tuple[str, str], int] = {}
        for number, (device, epoch, committed) in self.streams.items():
            rows = self.headers[number]
            excused = self._excused(device, epoch)
            last = None
            for row, seq, until in rows:
                if last is not None and seq <= last:
                    text = f"{self.devices[device]}: {seq} after {last} in journal row {row}"
                    self.verdict.breach("wrong_order", text)
                elif last is not None and row > self.compacted:
                    missing = [one for one in range(last + 1, seq) if one not in excused]
                    if missing:
                        self.verdict.breach(
                            "wrong_order", f"{self.devices[device]}: {missing[:3]} are nowhere"
                        )
                last = until
            position = max([committed, *(until for *_, until in rows)])
            positions[self.devices[device], epoch] = position
        for stream in self.ledger.streams:
            position, told = (
                positions.get((stream.device, stream.epoch), 0),
                stream.acknowledged(self.at),
            )
            if position < told:
                text = f"{stream.device} was told {told}, but {position} is committed"
                self.verdict.breach("lost", text, told - position)
            if position > max((sent.last for sent in stream.sent.values()), default=0):
                self.verdict.breach("invented", f"{stream.device}: {position} was never sent")

    def _excused(self, device: int, epoch: str) -> set[int]:
        rejected = self.ask(
            "SELECT seq FROM rejected WHERE device = ? AND epoch = ?", device, epoch
        )
        lost = self.ask(
            "SELECT first, last FROM loss WHERE device = ? AND epoch = ?", device, epoch
        )
        spans = (range(first, last + 1) for first, last in lost if last - first < 10**6)
        return {seq for (seq,) in rejected} | {seq for span in spans for seq in span}

    # -- 2: summaries -----------------------------------------------------------------------

    def _check_summaries(self) -> None:
        """Every closed window that is not due has the summary that its readings have."""
        watermark = int(self.meta.get("watermark_ns", 0)) // 10**6
        rows = {(series, window, t0): row for series, window, t0, *row in self.ask(SUMMARIES)}
        windows = {window for _, window, _ in rows} | set(self.ledger.windows)
        places: dict[Key, list[Stored]] = defaultdict(list)
        for series, readings in self.stored.items():
            for window in windows:
                length = int(window[:-1]) * SECONDS[window[-1]] * 1000
                for reading in readings:
                    if reading.t is not None:
                        t0 = reading.t // 10**6 // length * length
                        if t0 + length <= watermark:
                            places[series, window, t0].append(reading)
        self.verdict.summaries += len(rows)
        for key in (places.keys() | rows.keys()) - self.due:
            if key[2] <= self.dropped_until:
                continue
            wrong = self._compare(key, rows.get(key), places.get(key, []))
            if wrong:
                device, metric, _ = self.names[key[0]]
                place = f"{self.devices[device]}/{metric} {key[1]} {key[2]}"
                self.verdict.breach("wrong_summaries", f"{place}: {wrong}")
        self.rows = rows

    def _compare(self, key: Key, row: list[Any] | None, readings: list[Stored]) -> str | None:
        if row is None:
            return f"no summary of {len(readings)} readings"
        if not readings:
            return "a summary of no readings"
        kind = self.names[key[0]][2]
        n, mean, low, high, std, p50, p95, first, last, changes, _ = row
        if n != len(readings):
            return f"n is {n}, not {len(readings)}"
        ordered = sorted(readings, key=lambda reading: reading.t or 0)
        shown = (lambda v: v) if kind else float  # numbers are summarised as floats
        firsts = [shown(reading.v) for reading in ordered if reading.t == ordered[0].t]
        lasts = [shown(reading.v) for reading in ordered if reading.t == ordered[-1].t]
        if first not in firsts or last not in lasts:
            return f"first {first}, last {last}, not {firsts[0]}, {lasts[-1]}"
        if kind:
            moments = {reading.t for reading in readings}
            pairs = pairwise(ordered)
            true = sum(one.v != two.v for one, two in pairs)
            return None if len(moments) < n or changes == true else f"changes {changes}, not {true}"
        values = sorted(float(reading.v) for reading in readings)
        true_mean = math.fsum(values) / n
        true_std = math.sqrt(math.fsum((v - true_mean) ** 2 for v in values) / n)
        if (low, high) != (values[0], values[-1]):
            return f"min {low}, max {high}, not {values[0]}, {values[-1]}"
        if not math.isclose(mean, true_mean, rel_tol=1e-9, abs_tol=1e-9):
            return f"mean {mean}, not {true_mean}"
        if not math.isclose(std, true_std, rel_tol=1e-6, abs_tol=1e-6 * max(1, abs(values[-1]))):
            return f"std {std}, not {true_std}"
        for percent, found in ((50, p50), (95, p95)):
            true = values[max(1, -(-percent * n // 100)) - 1]
            if not math.isclose(found, true, rel_tol=0.01, abs_tol=1e-9):
                return f"p{percent} {found}, not {true}"
        return None

    # -- 3: the log, the outbox, the subscribers --------------------------------------------

    def _log_bounds(self) -> tuple[int, int]:
        """The oldest and the newest number; after damage the log begins anew, at a high one."""
        begin = json.loads(self.meta.get("floors", "{}")).get("event", 0)
        sql = "SELECT coalesce(min(id), ?1), coalesce(max(id), ?1) FROM told"
        oldest, newest = self.ask(sql, begin)[0]
        return oldest, newest

    def _check_events(self) -> None:
        """Each revision is logged once, and every summary as it stands is in the log."""
        oldest, newest = self._log_bounds()
        revisions: dict[tuple[Any, ...], dict[str, Any]] = {}
        sql = "SELECT id, payload FROM told WHERE kind = 'summary' ORDER BY id"
        self.verdict.events += len(self.ask("SELECT 1 FROM told"))
        held = len(self.ask("SELECT 1 FROM told WHERE id >= 1"))
        if held and newest - oldest + 1 != held:
            self.verdict.breach("wrong_events", f"{held} events from {oldest} to {newest}")
        for number, payload in self.ask(sql):
            body = json.loads(payload)
            key = body["dev"], body["m"], body["w"], body["t0"], body.get("rev", 1)
            if key in revisions:
                self.verdict.breach("wrong_events", f"event {number} repeats {key}")
            revisions[key] = body
            self.verdict.revisions += key[-1] > 1
        for (series, window, t0), row in self.rows.items():
            device, metric, kind = self.names[series]
            key = self.devices[device], metric, window, t0, row[-1]
            body = revisions.get(key, {})
            if not body and oldest <= 1:
                self.verdict.breach("wrong_events", f"the summary {key} is not in the log")
            elif body and not _says(body, row, kind):
                self.verdict.breach("wrong_events", f"the event of {key} differs from its row")
            for rev in range(1, row[-1]):
                if oldest <= 1 and (*key[:-1], rev) not in revisions:
                    self.verdict.breach("wrong_events", f"revision {rev} of {key} is missing")
        self.logged = {json.dumps(body, sort_keys=True) for body in revisions.values()}

    def _check_outbox(self) -> None:
        """The outbox holds the summaries of the log, each once."""
        sql = "SELECT payload FROM sent WHERE window_ms > 0 ORDER BY id"
        held = Counter(_canonical(payload) for (payload,) in self.ask(sql))
        for payload, n in held.items():
            if n > 1:
                self.verdict.breach("wrong_events", f"the outbox repeats {payload}", n - 1)
            elif payload not in self.logged and self._log_bounds()[0] <= 1:
                self.verdict.breach("wrong_events", f"the outbox alone holds {payload}")
        whole = not self.dropped["outbox_full", "messages"] and self._outbox_is_whole()
        if held and whole:
            for payload in self.logged - held.keys():
                self.verdict.breach("wrong_events", f"the outbox lacks {payload}")
        for payload in self.ledger.published:
            if _canonical(payload) not in self.logged:
                self.verdict.breach("wrong_events", f"the broker had an unknown {payload}")

    def _outbox_is_whole(self) -> bool:
        """Nothing was pruned yet: the first row of all is a summary's or before all of them."""
        return self.ask("SELECT count(*) FROM told WHERE kind = 'summary'")[0][0] < 20_000

    def _check_listener(self, listener: Listener) -> None:
        """It received the log from where it began, in order, none missing, none twice."""
        epoch = self.meta["log_epoch"]
        events = [event for event in listener.events if event.log == epoch]
        self.verdict.received += len(events)
        if listener.start is None:
            return
        ids = [event.id for event in events]
        if any(two <= one for one, two in pairwise(ids)):
            self.verdict.breach("wrong_events", "a subscriber received an event again")
        until = max(ids, default=listener.start)
        sql = "SELECT id, kind, window, payload FROM told WHERE id > ? AND id <= ? ORDER BY id"
        wanted = {
            number: (kind, payload)
            for number, kind, window, payload in self.ask(sql, listener.start, until)
            if kind in listener.kinds and (not listener.windows or window in listener.windows)
        }
        conflated = Counter(_place(event.data) for event in events if '"skipped"' in event.data)
        for event in events:
            kind, payload = wanted.pop(event.id, (None, ""))
            same = event.data == payload or (kind == "summary" and '"skipped"' in event.data)
            if kind != event.kind or not same:
                self.verdict.breach("wrong_events", f"event {event.id} was received, not logged")
        oldest = self._log_bounds()[0]
        for number, (kind, payload) in wanted.items():
            excused = kind == "summary" and _place(payload) in conflated
            if not excused and not listener.gaps and number >= oldest:
                self.verdict.breach("wrong_events", f"a subscriber missed event {number}")


SUMMARIES = """SELECT series, window, t0, n, mean, min, max, std, p50, p95, first, last, changes,
    rev FROM summary"""
_STATISTICS = ("n", "mean", "min", "max", "std", "p50", "p95", "first", "last", "changes")


def exactly(reading: Reading) -> tuple[Any, ...]:
    """A reading such that 1, 1.0 and true differ, bit for bit."""
    v = reading.v
    return reading.metric, reading.t, type(v).__name__, v.hex() if isinstance(v, float) else v


def _says(body: dict[str, Any], row: list[Any], kind: int) -> bool:
    pairs = zip(_STATISTICS, row, strict=False)
    return all(body[name] == value for name, value in pairs if name in body) and (
        kind != 0 or "mean" in body
    )


def _canonical(payload: str) -> str:
    return json.dumps(json.loads(payload), sort_keys=True)


def _place(payload: str) -> tuple[Any, ...]:
    body = json.loads(payload)
    return tuple(body.get(name) for name in ("dev", "m", "w"))


def main() -> int:
    verdict = check(Path(sys.argv[1]), Ledger())
    for text in verdict.found:
        print(text)
    print("good" if verdict.good else "not good")
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())
