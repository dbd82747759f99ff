"""The text form of what the event stream carries, one line for each row."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.core import summary

_START = datetime(1970, 1, 1, tzinfo=UTC)


def line(kind: str, payload: str) -> str:
    """Write the payload (JSON text) of a summary, reading, status or alert as a line of text."""
    values: dict[str, Any] = json.loads(payload)
    if kind == "summary":
        return summary.text(values)
    if kind == "status":
        return _status(values)
    if kind == "reading":
        return _reading(values)
    return _alert(values)


def moment(ms: float) -> str:
    """Write Unix milliseconds as ISO 8601 in UTC, without a fraction if there is none."""
    time = _START + timedelta(milliseconds=ms)
    return time.isoformat(timespec="microseconds" if ms % 1000 else "seconds")[:-6] + "Z"


def _status(values: dict[str, Any]) -> str:
    until = values.get("until")
    tail = "" if until is None else f" (until {moment(until)})"
    return f"{moment(values['t'])} {values['dev']} {values['state']}{tail}"


def _reading(values: dict[str, Any]) -> str:
    time = "-" if values["t"] is None else moment(values["t"])
    words = [time, values["dev"], values["m"], summary.dump(values["value"]), values["u"]]
    return " ".join(words).rstrip()


def _alert(values: dict[str, Any]) -> str:
    words = [moment(values["t"]), values["dev"], "alert"]
    words += [str(values[key]) for key in ("name", "state", "text") if values.get(key) is not None]
    if values.get("detail") is not None:
        words.append(summary.dump(values["detail"]))
    return " ".join(words)
