"""Reads a recording: a CSV file, long (`time,device,metric,value[,unit]`) or wide (`time,…`)."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple

from gateway.core.messages import NAME

LONG = ("time", "device", "metric", "value")
MILLISECONDS_FROM = Decimal(100_000_000_000)
"""Numbers from here on are Unix milliseconds: as seconds they would be in the year 5138."""
LAST_NS = Decimal(2**63 - 1)

Value = float | bool | str | None


class RecordingError(Exception):
    """A recording that cannot be read; the text names file and line."""


class Reading(NamedTuple):
    """One value of the recording; `t` in nanoseconds UTC, `value` None if it is missing."""

    t: int
    device: str
    metric: str
    value: Value
    unit: str


def read(path: Path, *, device: str | None = None) -> Iterator[Reading]:
    """All readings in file order.

    device: whose readings a wide file holds (default: the file's name). Raises RecordingError.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            header = [name.strip() for name in next(rows, [])]
            make = _long if tuple(header[:4]) == LONG else _wide
            name = _name(device or path.stem, path, 1)
            _check_header(header, path, wide=make is _wide)
            for row in rows:
                if row:
                    yield from make(row, header, name, _At(path, rows.line_num))
    except OSError as error:
        raise RecordingError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise RecordingError(f"{path} is no CSV file: {error}") from error


class _At(NamedTuple):
    """A line of the file, for error texts."""

    path: Path
    line: int

    def error(self, text: str) -> RecordingError:
        return RecordingError(f"{self.path}:{self.line}: {text}")


def _check_header(header: Sequence[str], path: Path, *, wide: bool) -> None:
    at = _At(path, 1)
    if not header or header[0] != "time":
        raise at.error(f"the header must be {','.join(LONG)}[,unit] or time,METRIC,…")
    if wide:
        if len(header) < 2 or len(set(header)) < len(header):
            raise at.error("a wide file needs columns with different metrics")
        for metric in header[1:]:
            _name(metric, path, 1)


def _name(text: str, path: Path, line: int) -> str:
    if NAME.fullmatch(text) is None:
        raise _At(path, line).error(f"{text!r} is no name: use 1 to 64 of A-Z a-z 0-9 . _ : -")
    return text


def _long(row: Sequence[str], header: Sequence[str], _: str, at: _At) -> Iterator[Reading]:
    if not 4 <= len(row) <= len(header):
        raise at.error(f"{len(row)} columns where the header has {len(header)}")
    time, device, metric, value = (text.strip() for text in row[:4])
    cells: Mapping[str, str] = dict(zip(header, row, strict=False))
    yield Reading(
        parse_time(time, at),
        _name(device, at.path, at.line),
        _name(metric, at.path, at.line),
        parse_value(value, at),
        cells.get("unit", "").strip(),
    )


def _wide(row: Sequence[str], header: Sequence[str], device: str, at: _At) -> Iterator[Reading]:
    if len(row) != len(header):
        raise at.error(f"{len(row)} columns where the header has {len(header)}")
    t = parse_time(row[0].strip(), at)
    for metric, text in zip(header[1:], row[1:], strict=True):
        yield Reading(t, device, metric, parse_value(text.strip(), at), "")


def parse_time(text: str, at: _At) -> int:
    """ISO 8601 (UTC unless it names a zone), Unix seconds or Unix milliseconds; as ns."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return _parse_iso(text, at)
    if not number.is_finite() or abs(number) > LAST_NS:
        raise at.error(f"time {text!r} cannot be")
    ns = number * (10**6 if abs(number) >= MILLISECONDS_FROM else 10**9)
    if not 0 <= ns <= LAST_NS:
        raise at.error(f"time {text!r} is not between 1970 and 2262")
    return int(ns)


def _parse_iso(text: str, at: _At) -> int:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise at.error(f"time {text!r} is neither ISO 8601 nor a number") from error
    aware = found if found.tzinfo else found.replace(tzinfo=UTC)
    since = aware - datetime(1970, 1, 1, tzinfo=UTC)
    ns = (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
    if ns < 0:
        raise at.error(f"time {text!r} is before 1970")
    return ns


def parse_value(text: str, at: _At) -> Value:
    """A number, true or false, a text; nothing at all is a missing reading."""
    if not text or text.lower() == "nan":
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        raise at.error(f"value {text!r} is not finite")
    return number
