"""The names of sections and keys: an unknown one is refused, and its neighbour named."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from gateway import config_alerts as alerts
from gateway.config_keys import SECTIONS
from gateway.errors import ConfigError

TABLES = alerts.SECTION


def refuse_unknown(document: Mapping[str, Any]) -> None:
    """Raise ConfigError for a section or key that does not exist, naming its neighbour."""
    for section, keys in document.items():
        if section == TABLES:
            _refuse_unknown_tables(keys)
            continue
        if section not in SECTIONS:
            raise ConfigError(section, "no such section" + _nearest_section(section))
        if not isinstance(keys, dict):
            raise ConfigError(section, f"is a section: write [{section}] and its keys below it")
        for name in keys:
            check_key(section, name)
    if "password" in document.get("mqtt", {}):
        raise ConfigError(
            "mqtt.password", "a password does not belong in this file: use password_file"
        )


def _refuse_unknown_tables(tables: Any) -> None:
    if not isinstance(tables, list) or not all(isinstance(keys, dict) for keys in tables):
        raise ConfigError(TABLES, f"is a list: write [[{TABLES}]] and its keys below it")
    for number, keys in enumerate(tables):
        for name in keys:
            if name not in alerts.NAMES:
                near = difflib.get_close_matches(name, alerts.NAMES, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]}?" if near else f"it has {_list(alerts.NAMES)}"
                problem = f"[[{TABLES}]] has no such key; {hint}"
                raise ConfigError(f"{TABLES}[{number}].{name}", problem)


def check_key(section: str, name: str) -> None:
    """Raise ConfigError if the section, which exists, has no such key."""
    if name in SECTIONS[section].__struct_fields__:
        return
    problem = f"[{section}] has no such key" + _nearest_key(section, name)
    raise ConfigError(f"{section}.{name}", problem)


def _nearest_section(section: str) -> str:
    near = difflib.get_close_matches(section, (*SECTIONS, TABLES), n=1, cutoff=0.5)
    homes = [home for home, keys in SECTIONS.items() if section in keys.__struct_fields__]
    if homes:
        return f"; the key {section} belongs below [{homes[0]}]"
    if near == [TABLES]:
        return f"; did you mean [[{TABLES}]]?"
    return f"; did you mean [{near[0]}]?" if near else f"; there are {_list(SECTIONS)}"


def _nearest_key(section: str, name: str) -> str:
    own = [key for key in SECTIONS[section].__struct_fields__ if key != "password"]
    near = difflib.get_close_matches(name, own, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]}?"
    for home, keys in SECTIONS.items():
        if name in keys.__struct_fields__:
            return f"; it belongs to [{home}]"
    return f"; it has {_list(own)}"


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
