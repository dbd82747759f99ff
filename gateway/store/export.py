"""All stored readings, in the order in which they were committed, as text or Parquet.

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

from gateway.core.readings import Batch, Clock, Column, Kind
from gateway.errors import StoreError
from gateway.store.catalogue import Catalogue
from gateway.store.connect import open_reader, translated
from gateway.store.journal import decode
from gateway.store.reading import entries

ROW_GROUP = 50_000
_COLUMNS = ("dev", "m", "u", "t", "v", "raw", "boot")


class Piece(NamedTuple):
    """Readings of one series out of one message. t: int64 ns UTC, or the raw ns of `boot` if
    `known` is false."""

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


def pieces(path: Path, choice: Choice = Choice()) -> Iterator[Piece]:  # noqa: B008 - immutable
    """The stored readings that match, in journal order. Raises StoreError."""
    with translated(path), closing(open_reader(path)) as conn:
        conn.execute("BEGIN")
        for column, batch in _columns(conn):
            piece = _piece(column, batch, choice)
            if len(piece.t):
                yield piece


def _columns(conn: sqlite3.Connection) -> Iterator[tuple[Column, Batch]]:
    catalogue = Catalogue(conn)
    for row in conn.execute("SELECT id, header, body, crc FROM journal ORDER BY id"):
        for entry in entries(*row):
            batch = decode(entry, catalogue)
            for column in batch.columns:
                yield column, batch


def _piece(column: Column, batch: Batch, choice: Choice) -> Piece:
    device, metric, kind = column.key
    known = batch.clock is not Clock.UNKNOWN
    keep = _kept(column, choice, known=known)
    boot = "" if known else batch.boot.hex()
    return Piece(device, metric, column.unit, kind, known, boot, column.t[keep], column.v[keep])


def _kept(column: Column, choice: Choice, *, known: bool) -> Any:
    device, metric, _ = column.key
    if choice.device not in (None, device) or choice.metric not in (None, metric):
        return slice(0, 0)
    if choice.since_ns is None and choice.until_ns is None:
        return slice(None)
    if not known:
        return slice(0, 0)
    keep = column.t == column.t
    if choice.since_ns is not None:
        keep &= column.t >= choice.since_ns
    if choice.until_ns is not None:
        keep &= column.t < choice.until_ns
    return keep


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
