"""All stored readings, series by series and each by time, as text or Parquet.

Each stored reading comes once. An export is one read-only snapshot: the gateway may run
meanwhile, or be stopped. Memory does not grow with what is exported.
"""

import csv
import importlib
import io
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.core.between import Between
from gateway.core.chunks import Run
from gateway.core.readings import INT64_MAX, Clock, Kind, SeriesKey
from gateway.core.runs import by_time, parted, within
from gateway.errors import StoreError
from gateway.store.catalogue import Catalogue
from gateway.store.chunks import open_chunk, overlapping, timeless
from gateway.store.connect import open_reader, translated
from gateway.store.reading import choose_series, journalled

ROW_GROUP = 50_000
JOURNAL_AT_ONCE = 2_000_000
Named = dict[SeriesKey, int]
_COLUMNS = ("dev", "m", "u", "t", "v", "raw", "boot")


class Piece(NamedTuple):
    """Some readings of one series. t: int64 ns UTC, or the raw ns of `boot` if `known` is false."""

    device: str
    metric: str
    unit: str
    kind: Kind
    known: bool
    boot: str
    t: NDArray[Any]
    v: NDArray[Any]


class Choice(NamedTuple):
    """Which readings to export: since <= t < until (ns); a bound leaves out unknown times."""

    device: str | None = None
    metric: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None

    @property
    def bounded(self) -> bool:
        return self.since_ns is not None or self.until_ns is not None

    @property
    def since(self) -> int:
        return -INT64_MAX if self.since_ns is None else self.since_ns

    @property
    def until(self) -> int:
        return INT64_MAX if self.until_ns is None else self.until_ns

    @property
    def between(self) -> Between:
        return Between(self.since, self.until)


def pieces(path: Path, choice: Choice = Choice()) -> Iterator[Piece]:  # noqa: B008 - immutable
    """The stored readings that match, each series by time; unknown times last. Raises StoreError.

    The order does not depend on where a reading is stored.
    """
    with translated(path), closing(open_reader(path)) as conn:
        conn.execute("BEGIN")
        chosen = choose_series(conn, device=choice.device, metric=choice.metric)
        for some in _shares(conn, chosen):
            loose = _loose(conn, some, choice)
            for key, number in some.items():
                for run in _series(conn, number, loose.pop(number), choice):
                    yield _piece(key, run)


def _shares(conn: sqlite3.Connection, chosen: Named) -> Iterator[Named]:
    """The series in as many shares as it takes to hold one's part of the journal in memory."""
    (held,) = conn.execute("SELECT coalesce(sum(readings), 0) FROM journal").fetchone()
    size = max(1, len(chosen) // (1 + held // JOURNAL_AT_ONCE))
    names = list(chosen.items())
    for start in range(0, len(names), size):
        yield dict(names[start : start + size])


def _loose(conn: sqlite3.Connection, some: Named, choice: Choice) -> dict[int, list[Run]]:
    """What is in no timed chunk, of some series, by series: in order of arrival."""
    catalogue = Catalogue(conn)
    found = {number: list(timeless(conn, number)) for number in some.values()}
    for key, run in journalled(conn, catalogue):
        if key in some:
            found[some[key]].append(run)
    return {number: list(_kept(runs, choice)) for number, runs in found.items()}


def _kept(runs: Iterable[Run], choice: Choice) -> Iterator[Run]:
    for run in runs:
        if run.clock is not Clock.UNKNOWN:
            yield from within(run, choice.between)
        elif not choice.bounded:
            yield run


def _series(
    conn: sqlite3.Connection, number: int, loose: Sequence[Run], choice: Choice
) -> Iterator[Run]:
    """The readings of one series by time; chunks that overlap are held together."""
    rest = by_time([run for run in loose if run.clock is not Clock.UNKNOWN])
    for end, numbers in overlapping(conn, number, since=choice.since, until=choice.until):
        early, rest = parted(rest, end)
        held = [run for chunk in numbers for run in open_chunk(conn, chunk)]
        inside = [some for run in held for some in within(run, choice.between)]
        yield from by_time([*inside, *early])
    yield from rest
    unknown = [run for run in loose if run.clock is Clock.UNKNOWN]
    for boot in sorted({run.boot for run in unknown}):
        yield from by_time([run for run in unknown if run.boot == boot])


def _piece(key: SeriesKey, run: Run) -> Piece:
    known = run.clock is not Clock.UNKNOWN
    boot = "" if known else run.boot.hex()
    return Piece(key.device, key.metric, run.unit, key.kind, known, boot, run.t, run.v)


def to_jsonl(source: Iterable[Piece], out: BinaryIO) -> int:
    """`{"dev","m","t","v"}` a line, t in integer ns; for an unknown time
    `{"dev","m","t":null,"raw","boot","v"}`. Returns the number of readings."""
    count = 0
    for piece in source:
        begin = f'{{"dev":{json.dumps(piece.device)},"m":{json.dumps(piece.metric)},"t":'
        before, after = begin, ""
        if not piece.known:
            before, after = f'{begin}null,"raw":', f',"boot":"{piece.boot}"'
        lines = [
            f'{before}{t}{after},"v":{json.dumps(v)}}}\n'
            for t, v in zip(piece.t.tolist(), piece.v.tolist(), strict=True)
        ]
        out.write("".join(lines).encode())
        count += len(lines)
    return count


def to_csv(source: Iterable[Piece], out: BinaryIO) -> int:
    """A header line, then dev, m, u, t (ns; empty if unknown), v, raw, boot; booleans as words.
    Returns the number of readings."""
    count = 0
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    try:
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(_COLUMNS)
        for piece in source:
            lines.writerows(_csv_rows(piece))
            count += len(piece.t)
        text.flush()
    finally:
        text.detach()
    return count


def _csv_rows(piece: Piece) -> Iterator[tuple[Any, ...]]:
    names = (piece.device, piece.metric, piece.unit)
    words = {True: "true", False: "false"} if piece.kind is Kind.BOOLEAN else {}
    for t, v in zip(piece.t.tolist(), piece.v.tolist(), strict=True):
        time, raw = (t, "") if piece.known else ("", t)
        yield (*names, time, words.get(v, v), raw, piece.boot)


def to_parquet(source: Iterable[Piece], out: BinaryIO) -> int:
    """Columns dev, m, u, t (timestamp ns UTC), v (double; booleans 0 and 1), text, raw, boot.
    Returns the number of readings. Raises StoreError if pyarrow is not installed."""
    try:
        arrow = importlib.import_module("pyarrow")
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise StoreError("Parquet needs pyarrow: pip install 'sensor-gateway[parquet]'") from error
    schema = _arrow_schema(arrow)
    count = 0
    with parquet.ParquetWriter(out, schema) as writer:
        for group in _groups(source):
            arrays = map(arrow.array, _parquet_columns(group), schema.types)
            table = arrow.Table.from_arrays(list(arrays), schema=schema)
            writer.write_table(table)
            count += table.num_rows
    return count


def _arrow_schema(arrow: Any) -> Any:
    word, number = arrow.string(), arrow.int64()
    types = (word, word, word, arrow.timestamp("ns", tz="UTC"), arrow.float64(), word, number, word)
    names = ("dev", "m", "u", "t", "v", "text", "raw", "boot")
    return arrow.schema(list(zip(names, types, strict=True)))


def _groups(source: Iterable[Piece]) -> Iterator[list[Piece]]:
    group: list[Piece] = []
    held = 0
    for piece in source:
        group.append(piece)
        held += len(piece.t)
        if held >= ROW_GROUP:
            yield group
            group, held = [], 0
    if group:
        yield group


def _parquet_columns(group: Sequence[Piece]) -> Iterator[list[Any] | NDArray[Any]]:
    """The columns of `to_parquet` over all pieces; None where there is no value."""
    lengths = [len(piece.t) for piece in group]
    for names in (
        [piece.device for piece in group],
        [piece.metric for piece in group],
        [piece.unit for piece in group],
    ):
        yield np.repeat(np.array(names, np.object_), lengths)
    yield _joined((piece.t if piece.known else None, len(piece.t)) for piece in group)
    yield _joined(
        (None if piece.kind is Kind.TEXT else piece.v.astype(np.float64), len(piece.t))
        for piece in group
    )
    yield _joined((piece.v if piece.kind is Kind.TEXT else None, len(piece.t)) for piece in group)
    yield _joined((None if piece.known else piece.t, len(piece.t)) for piece in group)
    yield np.repeat(np.array([piece.boot or None for piece in group], np.object_), lengths)


def _joined(parts: Iterable[tuple[NDArray[Any] | None, int]]) -> list[Any]:
    joined: list[Any] = []
    for values, n in parts:
        joined += [None] * n if values is None else values.tolist()
    return joined


FORMATS: Mapping[str, Callable[[Iterable[Piece], BinaryIO], int]] = {
    "jsonl": to_jsonl,
    "csv": to_csv,
    "parquet": to_parquet,
}
