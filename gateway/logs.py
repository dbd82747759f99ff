"""Structured logs on stderr: text that reads well in the journal, or a JSON object a line.

Fields come through logging's `extra`: `log.info("device online", extra={"device": "sn-1"})`
prints `device online device=sn-1`. Under systemd each line starts with its level, `<6>`, and has
no time, because the journal notes both itself.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, Literal, TextIO

Format = Literal["text", "json"]

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7


def start(style: Format = "text", *, stream: TextIO | None = None, level: str = "INFO") -> None:
    """Send every log record to `stream` (default stderr), in place of what was set before."""
    stream = sys.stderr if stream is None else stream
    out = logging.StreamHandler(stream)
    out.setFormatter(Json() if style == "json" else Text(journal=_is_journal(stream)))
    logging.basicConfig(handlers=[out], level=level, force=True)
    logging.captureWarnings(capture=True)


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """What the caller gave as `extra`."""
    return {key: value for key, value in vars(record).items() if key not in _OWN}


class Text(logging.Formatter):
    """One line: time and level (or the journal's `<6>`), logger, message, key=value fields."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        line = f"{record.name}: {_one_line(record.getMessage())}{_pairs(fields(record))}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        if self._journal:
            prefix = f"<{priority(record.levelno)}>"
            return "\n".join(prefix + part for part in line.split("\n"))
        return f"{_utc(record.created)} {record.levelname:<7} {line}"


class Json(logging.Formatter):
    """One JSON object: t (Unix ms), level, logger, message, the fields, and exception."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "t": int(record.created * 1000),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for key, value in fields(record).items():
            entry.setdefault(key, value)
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, separators=(",", ":"))


def priority(level: int) -> int:
    """The syslog priority of a logging level: 3 error, 4 warning, 6 info, 7 debug."""
    return next((number for least, number in _PRIORITIES if level >= least), _DEBUG)


def _pairs(extra: Mapping[str, Any]) -> str:
    return "".join(f" {key}={_quoted(value)}" for key, value in extra.items())


def _quoted(value: Any) -> str:
    text = str(value)
    plain = text.isprintable() and text and not any(c in text for c in " =\"'\\")
    return text if plain else json.dumps(text)


def _one_line(text: str) -> str:
    """Device-given text can start no line of its own and move no cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _utc(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"


def _is_journal(stream: TextIO) -> bool:
    """Whether `stream` is the very stream that systemd gave to this process."""
    named = os.environ.get("JOURNAL_STREAM", "")
    try:
        stat = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return named == f"{stat.st_dev}:{stat.st_ino}"
