"""The `[[alerts]]` tables: their keys, what does not go together, and the rules that they make."""

import math
import re
from collections.abc import Sequence

from gateway.config_keys import AlertKeys, Duration
from gateway.core.alert_rules import RESERVED, Limits, Rule, Watch
from gateway.core.readings import NS_PER_S
from gateway.errors import ConfigError

SECTION = "alerts"
MARGIN = 0.1
"""Of a limit that is no measured value's: so far below it an alert closes."""
LONGEST = Duration.parse("366d")
_NEVER = Duration(0)

_WATCHES: dict[Watch, tuple[str, ...]] = {
    Watch.LEVEL: ("above", "below"),
    Watch.RATE: ("rises", "falls"),
    Watch.SILENCE: ("silent",),
    Watch.CLOCK: ("clock_error",),
    Watch.DISK: ("disk_used",),
    Watch.OUTBOX: ("outbox_age",),
}
_FITS: dict[str, tuple[Watch, ...]] = {
    "device": (Watch.LEVEL, Watch.RATE, Watch.SILENCE, Watch.CLOCK),
    "metric": (Watch.LEVEL, Watch.RATE, Watch.SILENCE),
    "hysteresis": (Watch.LEVEL, Watch.RATE),
    "for": (Watch.LEVEL, Watch.RATE, Watch.CLOCK, Watch.DISK, Watch.OUTBOX),
    "per": (Watch.RATE,),
}

NAMES = AlertKeys.__struct_encode_fields__
"""The keys as the file has them."""


def check(tables: Sequence[AlertKeys]) -> None:
    """Raise ConfigError for the first table that makes no rule."""
    seen: dict[str, int] = {}
    for number, keys in enumerate(tables):
        place = f"{SECTION}[{number}]"
        _check_name(f"{place}.name", keys.name)
        if keys.name in seen:
            raise ConfigError(f"{place}.name", f"{keys.name!r} is the name of another alert")
        seen[keys.name] = number
        _check_table(place, keys)


def _check_name(key: str, name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", name):
        raise ConfigError(key, f"{name!r} is not 1 to 64 letters, digits, '.', '_', ':' or '-'")
    if name in RESERVED:
        raise ConfigError(key, f"{name!r} is an alert of the gateway itself: choose another name")


def _check_table(place: str, keys: AlertKeys) -> None:
    watch = _watch(place, keys)
    given = [name for name in _FITS if _given(keys, name) is not None]
    for name in given:
        if watch not in _FITS[name]:
            raise ConfigError(f"{place}.{name}", f"does not go with {_WATCHES[watch][0]}")
    if watch in (Watch.LEVEL, Watch.RATE) and keys.metric is None:
        what = " and ".join(_WATCHES[watch])
        raise ConfigError(f"{place}.metric", f'is missing: {what} are about one ("*": about any)')
    if watch is Watch.RATE and not keys.per:
        raise ConfigError(f"{place}.per", 'is missing: rises and falls need a span such as "10m"')
    for name in NAMES:
        _check_value(f"{place}.{name}", name, _given(keys, name))
    _check_room(place, _limits(keys, watch))


def _watch(place: str, keys: AlertKeys) -> Watch:
    """What the table is about. Raises ConfigError if that is nothing, or too much."""
    every = [name for names in _WATCHES.values() for name in names]
    found = [
        watch
        for watch, names in _WATCHES.items()
        if any(_given(keys, name) is not None for name in names)
    ]
    if not found:
        raise ConfigError(place, f"watches nothing: set one of {', '.join(every)}")
    if len(found) > 1:
        one, other = (_WATCHES[watch] for watch in found[:2])
        text = f"does not go with {' and '.join(one)}: write two [[alerts]]"
        name = next(name for name in other if _given(keys, name) is not None)
        raise ConfigError(f"{place}.{name}", text)
    return found[0]


def _given(keys: AlertKeys, name: str) -> object:
    return getattr(keys, "hold" if name == "for" else name)


def _check_value(key: str, name: str, value: object) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(key, "is not a finite number")
    if isinstance(value, Duration) and value > LONGEST:
        raise ConfigError(key, "is longer than 366d")
    if isinstance(value, Duration) and value < NS_PER_S and name != "for":
        raise ConfigError(key, "is shorter than 1s")
    if name in ("device", "metric") and value is not None:
        _check_pattern(key, str(value))


def _check_pattern(key: str, pattern: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9._:*?\[\]!-]{1,128}", pattern):
        raise ConfigError(key, f"{pattern!r} is not a name, or a pattern of *, ? and [...]")


def _check_room(place: str, limits: Limits) -> None:
    if limits.above is None or limits.below is None:
        return
    if limits.above <= limits.below:
        raise ConfigError(f"{place}.above", "is not greater than below: every value is out")
    if limits.above - limits.hysteresis < limits.below + limits.hysteresis:
        raise ConfigError(f"{place}.hysteresis", "leaves no values at which the alert would close")


def rules(tables: Sequence[AlertKeys]) -> list[Rule]:
    """The rules of tables that were checked."""
    return [_rule(keys) for keys in tables]


def _rule(keys: AlertKeys) -> Rule:
    watch = _watch("", keys)
    return Rule(
        keys.name,
        watch,
        keys.device or "*",
        keys.metric,
        limits=_limits(keys, watch),
        after=keys.silent or _NEVER,
        per=keys.per or _NEVER,
        text=keys.text,
    )


def _limits(keys: AlertKeys, watch: Watch) -> Limits:
    hysteresis, hold = keys.hysteresis or 0.0, keys.hold or _NEVER
    match watch:
        case Watch.LEVEL:
            return Limits(keys.above, keys.below, hysteresis, hold)
        case Watch.RATE:
            below = None if keys.falls is None else -keys.falls
            return Limits(keys.rises, below, hysteresis, hold)
        case Watch.CLOCK:
            error = (keys.clock_error or _NEVER) / NS_PER_S
            return Limits(error, -error, MARGIN * error, hold)
        case Watch.DISK:
            used = keys.disk_used or 0.0
            return Limits(used, None, MARGIN * used, hold)
        case Watch.OUTBOX:
            age = (keys.outbox_age or _NEVER) / NS_PER_S
            return Limits(age, None, MARGIN * age, hold)
        case Watch.SILENCE:
            return Limits()
