"""The configuration: one strict TOML file, every key documented in `config/gateway.toml`.

`load` raises `ConfigError`, naming the key, the problem and the line. Paths become absolute.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway import config_rules as rules
from gateway.config_keys import SECTIONS, Config, Duration, Secret
from gateway.config_names import refuse_unknown
from gateway.config_places import line_of, value_at
from gateway.errors import ConfigError

__all__ = ["SECTIONS", "SYSTEM_PATH", "Config", "Duration", "Secret", "load", "locate"]

SYSTEM_PATH = Path("/etc/sensor-gateway/gateway.toml")
_WORDS = (
    (r"`", ""),
    (r" \| null\b", ""),
    (r"\bExpected\b", "expected"),
    (r"\bstr of length >= 1\b", "a text that is not empty"),
    (r"\bstr\b", "a text in quotes"),
    (r"\bint\b", "a whole number"),
    (r"\bfloat\b", "a number"),
    (r"\bbool\b", "true or false"),
    (r"\barray of length >=", "a list of at least"),
    (r"\barray of length <=", "a list of at most"),
    (r"\barray\b", "a list"),
    (r" >= ", " of at least "),
    (r" <= ", " of at most "),
    (r" > ", " above "),
    (r" < ", " below "),
    (r", got .*", ""),
)


def locate(asked: Path | None) -> Path | None:
    """The file to use: the one asked for, ./gateway.toml, the system's, or None (defaults)."""
    if asked is not None:
        return asked
    for path in (Path("gateway.toml"), SYSTEM_PATH):
        if path.exists():
            return path
    return None


def load(path: Path | None, *, env: Mapping[str, str] | None = None) -> Config:
    """Read, override and check the configuration; `path` None means built-in defaults.

    Variables `SENSOR_GATEWAY__SECTION__KEY` override keys. The MQTT password comes from
    `password_file`, from `SENSOR_GATEWAY__MQTT__PASSWORD`, or from the systemd credential
    `mqtt_password`. Relative paths start at the folder of the file.
    """
    env = os.environ if env is None else env
    text = "" if path is None else _read(path)
    try:
        document = _parse(text)
        refuse_unknown(document)
        rules.override(document, env)
        folder = Path.cwd() if path is None else path.resolve().parent
        config = rules.resolve_paths(_convert(document), folder)
        config = rules.with_password(config, env)
        rules.check(config)
    except ConfigError as error:
        raise ConfigError(error.key, error.problem + _place(path, text, error.key, env)) from None
    return config


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError("", f"the configuration file {path} does not exist") from None
    except OSError as error:
        raise ConfigError("", f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError("", f"{path} is not UTF-8 text") from None


def _parse(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("", f"this is not TOML: {error}") from None


def _convert(document: dict[str, Any]) -> Config:
    try:
        return msgspec.convert(document, Config, dec_hook=_decode)
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at ")
        key = where.strip("`").removeprefix("$").removeprefix(".")
        problem = f"{_in_words(text, key)}; it is {value_at(document, key)!r}"
        raise ConfigError(key, problem) from None


def _in_words(text: str, key: str) -> str:
    if text.startswith("Invalid enum value"):
        section, _, name = key.partition(".")
        return "expected one of " + ", ".join(f'"{c}"' for c in rules.choices(section, name))
    for pattern, words in _WORDS:
        text = re.sub(pattern, words, text)
    return text


def _decode(kind: type, value: Any) -> Any:
    if kind is Duration:
        return Duration.parse(value)
    if isinstance(value, str) and value:
        return kind(value)
    raise ValueError("expected a text that is not empty")


def _place(path: Path | None, text: str, key: str, env: Mapping[str, str]) -> str:
    """Where it stands: " (gateway.toml, line 7)"; the line is left out if it is not found."""
    variable = rules.ENV_PREFIX + key.upper().replace(".", "__")
    if variable in env:
        return f" (variable {variable})"
    if path is None or key.startswith("variable "):
        return ""
    found = line_of(text, key)
    return f" ({path})" if found is None else f" ({path}, line {found})"
