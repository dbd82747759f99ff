"""Reads the text form of a summary (docs/http.md) as a subscriber may."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.core.windows import SECONDS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_WORD = r'"(?:[^"\\]|\\.)*"|[^\s"(]\S*'
_LINE = re.compile(
    rf"(?P<ends>[-0-9T:]+)Z (?P<dev>{_WORD}) (?P<m>{_WORD}) (?P<value>{_WORD})(?: (?P<u>{_WORD}))?"
    r" \((?:min (?P<min>\S+), max (?P<max>\S+)|changes (?P<changes>[0-9]+)), n (?P<n>[0-9]+)"
    r", (?P<w>[1-9][0-9]*[smhd])(?:, rev (?P<rev>[0-9]+))?(?:, skipped (?P<skipped>[0-9]+))?\)"
)


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


def _unquoted(word: str) -> str:
    return str(json.loads(word)) if word.startswith('"') else word
