"""What a subscriber asks for: the query of `/events`, read strictly."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from gateway.core.facts import EventLogged
from gateway.errors import GatewayError

MAX_QUERY = 2048
MAX_VALUES = 64
KINDS = ("summary", "reading", "status", "alert")
LOGGED = frozenset({"summary", "status", "alert"})
"""The kinds that have a place in the event log; also what a subscriber gets by default."""

TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]*")
"""No control characters, no halves of surrogate pairs."""

_FILTERS = ("device", "metric", "kind", "window")
_SINGLE = ("format", "last_event_id", "since", "snapshot", "strict")
_WINDOW = re.compile(r"[1-9][0-9]{0,8}[smhd]", re.ASCII)
_TIME = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?", re.ASCII)


class BadQuery(GatewayError):
    """A parameter is unknown or its value malformed; `parameter` names it."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(f"{parameter}: {message}")
        self.parameter = parameter
        self.message = message


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events a subscriber gets. An empty set lets everything pass."""

    devices: frozenset[str] = frozenset()
    metrics: frozenset[str] = frozenset()
    windows: frozenset[str] = frozenset()
    kinds: frozenset[str] = LOGGED

    def matches(self, event: EventLogged) -> bool:
        """Say whether the event passes. Events without metric or window pass filters on them."""
        return event.kind in self.kinds and self.shows(event.device, event.metric, event.window)

    def shows(self, device: str, metric: str | None = None, window: str | None = None) -> bool:
        """Say whether something of this device, metric and window passes, whatever its kind."""
        return (
            (not self.devices or device in self.devices)
            and (not self.metrics or metric is None or metric in self.metrics)
            and (not self.windows or window is None or window in self.windows)
        )

    @property
    def everything(self) -> bool:
        """True if every event of the log passes."""
        return not (self.devices or self.metrics or self.windows) and self.kinds >= LOGGED


@dataclass(frozen=True, slots=True)
class Subscription:
    """A whole `/events` query. `since` is Unix milliseconds."""

    filter: Filter = Filter()
    text: bool = False
    last_event_id: str | None = None
    since: float | None = None
    snapshot: bool = True
    strict: bool = False


def read_query(
    query: str, *, known: Collection[str], repeated: Collection[str] = ()
) -> dict[str, list[str]]:
    """Split a raw query string; every parameter must be known, and single unless `repeated`.

    Raises BadQuery.
    """
    if len(query) > MAX_QUERY:
        raise BadQuery("query", f"is longer than {MAX_QUERY} bytes")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=128)
    except ValueError as error:  # more fields than that, or bytes that are not UTF-8
        raise BadQuery("query", f"cannot be read: {error}") from None
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        if name not in known:
            raise BadQuery(name[:64], f"is not known here; known are {', '.join(sorted(known))}")
        if name in found and name not in repeated:
            raise BadQuery(name, "is given more than once")
        found.setdefault(name, []).append(value)
    if sum(len(found.get(name, ())) for name in repeated) > MAX_VALUES:
        raise BadQuery("query", f"holds more than {MAX_VALUES} filter values")
    return found


def parse_subscription(query: str) -> Subscription:
    """Read the raw query string of `/events`. Raises BadQuery.

    `last_event_id` is taken as it is: one that cannot be read is answered within the stream.
    """
    found = read_query(query, known=(*_FILTERS, *_SINGLE), repeated=_FILTERS)
    return Subscription(
        filter=_filter(found),
        text=choice(found, "format", ("json", "text")) == "text",
        last_event_id=found.get("last_event_id", [""])[0] or None,
        since=moment(found, "since"),
        snapshot=choice(found, "snapshot", ("1", "0")) == "1",
        strict=choice(found, "strict", ("0", "1")) == "1",
    )


def _filter(found: Mapping[str, Sequence[str]]) -> Filter:
    kinds = found.get("kind", ())
    for kind in kinds:
        if kind not in KINDS:
            raise BadQuery("kind", f"must be one of {', '.join(KINDS)}")
    windows = found.get("window", ())
    for window in windows:
        check_window(window)
    return Filter(
        devices=frozenset(name(found, "device")),
        metrics=frozenset(name(found, "metric")),
        windows=frozenset(windows),
        kinds=frozenset(kinds) or LOGGED,
    )


def check_window(text: str) -> str:
    """Return a window's name, such as `10s`, if it is one. Raises BadQuery."""
    if not _WINDOW.fullmatch(text):
        raise BadQuery("window", "must be a whole number of s, m, h or d, such as 10s")
    return text


def name(found: Mapping[str, Sequence[str]], parameter: str) -> Sequence[str]:
    """All values of a parameter that holds names. Raises BadQuery."""
    values = found.get(parameter, ())
    for value in values:
        if not 0 < len(value) <= 256 or not TEXT.fullmatch(value):
            raise BadQuery(
                parameter, "must be 1 to 256 characters, none of them a control character"
            )
    return values


def choice(found: Mapping[str, Sequence[str]], parameter: str, of: Sequence[str]) -> str:
    """The value of a parameter that is one of a few; the first is the default. Raises BadQuery."""
    value = found.get(parameter, of)[0]
    if value not in of:
        raise BadQuery(parameter, f"must be {' or '.join(of)}")
    return value


def moment(found: Mapping[str, Sequence[str]], parameter: str) -> float | None:
    """A time in Unix milliseconds, fractions allowed. Raises BadQuery."""
    value = found.get(parameter)
    if value is None:
        return None
    if not _TIME.fullmatch(value[0]):
        raise BadQuery(parameter, "must be a time in Unix milliseconds")
    return float(value[0])
