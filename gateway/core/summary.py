"""A summary as subscribers see it: its payload, its JSON, and its line of text."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.core.facts import SummaryMade
from gateway.core.readings import Kind
from gateway.core.windows import SECONDS

VERSION = 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_JSON = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))
_WORD = r'"(?:[^"\\]|\\.)*"|[^\s"(]\S*'
_LINE = re.compile(
    rf"(?P<ends>[-0-9T:]+)Z (?P<dev>{_WORD}) (?P<m>{_WORD}) (?P<value>{_WORD})(?: (?P<u>{_WORD}))?"
    r" \((?:min (?P<min>\S+), max (?P<max>\S+)|changes (?P<changes>[0-9]+)), n (?P<n>[0-9]+)"
    r", (?P<w>[1-9][0-9]*[smhd])(?:, rev (?P<rev>[0-9]+))?(?:, skipped (?P<skipped>[0-9]+))?\)"
)
_STATISTICS = ("mean", "min", "max", "std", "p50", "p95")


def dump(obj: Any) -> str:
    """Compact ASCII JSON with the shortest exact floats. Raises ValueError for NaN and Inf."""
    return _JSON.encode(obj)


def payload(
    summary: SummaryMade, *, device: str, metric: str, unit: str, kind: Kind
) -> dict[str, Any]:
    """The `summary` payload of the event stream (times in Unix ms), `rev` only from 2 on."""
    head = {"v": VERSION, "dev": device, "m": metric, "u": unit, "w": summary.window}
    shape: dict[str, Any] = {**head, "t0": summary.t0, "t1": summary.t1, "n": summary.n}
    read = {Kind.NUMBER: float, Kind.BOOLEAN: bool, Kind.TEXT: str}[kind]
    if kind == Kind.NUMBER:
        shape |= {name: getattr(summary, name) for name in _STATISTICS}
    shape |= {"first": read(summary.first), "last": read(summary.last)}
    if kind != Kind.NUMBER:
        shape["changes"] = summary.changes
    if summary.rev > 1:
        shape["rev"] = summary.rev
    return shape


def head(*, device: str, metric: str, unit: str) -> str:
    """How the JSON of all summaries of a series begins, for `encode`."""
    return f'{{"v":{VERSION},"dev":{dump(device)},"m":{dump(metric)},"u":{dump(unit)},"w":"'


def encode(summary: SummaryMade, head: str) -> str:
    """The JSON of a summary of numbers: what `dump` makes of its `payload`, at a fifth of the cost.

    There are thousands of them at the end of a window.
    """
    _, window, t0, t1, n, mean, least, most, std, p50, p95, first, last, _, rev = summary
    more = f',"rev":{rev}' if rev > 1 else ""
    return (
        f'{head}{window}","t0":{t0},"t1":{t1},"n":{n},"mean":{mean!r},"min":{least!r},"max":{most!r}'
        f',"std":{std!r},"p50":{p50!r},"p95":{p95!r},"first":{first!r},"last":{last!r}{more}}}'
    )


def text(payload: Mapping[str, Any]) -> str:
    """One line: the window's end, series, mean (or last value) and unit, then the rest.

    Text values are JSON strings, and so are names and units that would not read as one word.
    """
    value, labels = ("mean", ("min", "max")) if "mean" in payload else ("last", ("changes",))
    ends = (_EPOCH + payload["t1"] * _MS).replace(tzinfo=None).isoformat()
    words = [f"{ends}Z", _word(payload["dev"]), _word(payload["m"]), dump(payload[value])]
    if payload["u"]:
        words.append(_word(payload["u"]))
    details = [f"{label} {dump(payload[label])}" for label in (*labels, "n")]
    details.append(payload["w"])
    details += [f"{label} {payload[label]}" for label in ("rev", "skipped") if label in payload]
    return f"{' '.join(words)} ({', '.join(details)})"


def parse_text(line: str) -> dict[str, Any]:
    """The values that a line holds, under the payload's keys. Raises ValueError."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError(f"not the text form of a summary: {line!r}")
    t1 = (datetime.fromisoformat(match["ends"]).replace(tzinfo=UTC) - _EPOCH) // _MS
    window = match["w"]
    found: dict[str, Any] = {name: _unquoted(match[name] or "") for name in ("dev", "m", "u")}
    found |= {"w": window, "t0": t1 - int(window[:-1]) * SECONDS[window[-1]] * 1000, "t1": t1}
    for name in ("min", "max", "changes", "n", "rev", "skipped"):
        if match[name] is not None:
            found[name] = json.loads(match[name])
    found["last" if "changes" in found else "mean"] = json.loads(match["value"])
    return found


def _word(text: str) -> str:
    plain = text.isprintable() and " " not in text and text[:1] not in ("", '"', "(")
    return text if plain else dump(text)


def _unquoted(word: str) -> str:
    return str(json.loads(word)) if word.startswith('"') else word
