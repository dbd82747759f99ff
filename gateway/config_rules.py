"""What the types of the configuration's keys cannot say: overrides, paths, combinations."""

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import msgspec

from gateway import config_alerts as alerts
from gateway.config_keys import SECTIONS, AccessKeys, Config, Duration, MqttKeys, Secret
from gateway.config_names import check_key, refuse_unknown
from gateway.errors import ConfigError

ENV_PREFIX = "SENSOR_GATEWAY__"
_LONGEST_WINDOW = Duration.parse("366d")
_LONGEST_LATENESS = Duration.parse("1d")
_SHORTEST_SESSION = Duration.parse("1s")
_LONGEST_SESSION = Duration.parse("90d")


def override(document: dict[str, Any], env: Mapping[str, str]) -> None:
    """Put `SENSOR_GATEWAY__SECTION__KEY` variables into the document."""
    for variable in sorted(env):
        if not variable.startswith(ENV_PREFIX):
            continue
        section, _, name = variable.removeprefix(ENV_PREFIX).lower().partition("__")
        try:
            refuse_unknown({section: {}})
            check_key(section, name)
        except ConfigError as error:
            raise ConfigError(f"variable {variable}", error.problem) from None
        if (section, name) != ("mqtt", "password"):
            document.setdefault(section, {})[name] = _from_text(section, name, env[variable])


def _from_text(section: str, name: str, text: str) -> Any:
    """A variable's value: as it is for keys that hold text, TOML for the others."""
    kind = _type(section, name)
    if not re.search(r"\b(int|float|bool|tuple)\b", str(kind)):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return [part.strip() for part in text.split(",")] if "tuple" in str(kind) else text


def _type(section: str, name: str) -> Any:
    return next(f.type for f in msgspec.structs.fields(SECTIONS[section]) if f.name == name)


def choices(section: str, name: str) -> tuple[str, ...]:
    """The values that a key with a fixed set of them may have."""
    return get_args(_type(section, name))


def resolve_paths(config: Config, folder: Path) -> Config:
    """All paths absolute; relative ones start at `folder`."""
    changed = {}
    for section in SECTIONS:
        keys = getattr(config, section)
        paths = {
            name: Path(os.path.normpath(folder / value.expanduser()))
            for name, value in msgspec.structs.asdict(keys).items()
            if isinstance(value, Path)
        }
        changed[section] = msgspec.structs.replace(keys, **paths)
    return msgspec.structs.replace(config, **changed)


def with_password(config: Config, env: Mapping[str, str]) -> Config:
    """Fill `mqtt.password` from the file, the variable or the systemd credential."""
    file = config.mqtt.password_file
    key = "mqtt.password_file"
    if file is None and env.get(f"{ENV_PREFIX}MQTT__PASSWORD"):
        return _password(config, env[f"{ENV_PREFIX}MQTT__PASSWORD"])
    if file is None and env.get("CREDENTIALS_DIRECTORY"):
        credential = Path(env["CREDENTIALS_DIRECTORY"]) / "mqtt_password"
        file = credential if credential.exists() else None
        key = "credential mqtt_password"
    if file is None or config.mqtt.url is None:
        return config
    _readable(key, file)
    text = file.read_text(encoding="utf-8", errors="strict").rstrip("\r\n")
    if not text:
        raise ConfigError(key, f"{file} is empty")
    return _password(config, text)


def _password(config: Config, text: str) -> Config:
    mqtt = msgspec.structs.replace(config.mqtt, password=Secret(text))
    return msgspec.structs.replace(config, mqtt=mqtt)


def is_loopback(host: str) -> bool:
    """Whether a listener on `host` is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def check(config: Config) -> None:
    """Raise ConfigError for values that do not go together."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", config.gateway.id):
        raise ConfigError("gateway.id", "is not 1 to 64 letters, digits, '.', '_' or '-'")
    _check_listen(config)
    _check_windows(config)
    _check_mqtt(config.mqtt)
    alerts.check(config.alerts)
    if config.gateway.data_dir.exists() and not config.gateway.data_dir.is_dir():
        raise ConfigError("gateway.data_dir", f"{config.gateway.data_dir} is not a folder")
    _pair("listen", config.listen.tls_cert, config.listen.tls_key, names=("tls_cert", "tls_key"))


def _check_listen(config: Config) -> None:
    if config.devices.auth == "open" and not (
        is_loopback(config.listen.host) or config.devices.allow_open_network
    ):
        raise ConfigError(
            "devices.auth",
            f'"open" lets every device in without a token, and {config.listen.host} is not'
            " loopback: use tokens, or say allow_open_network = true below [devices]",
        )
    for name in config.listen.hosts:
        if not re.fullmatch(r"[A-Za-z0-9.-]{1,253}|\[?[0-9a-fA-F:]{2,45}\]?", name):
            raise ConfigError("listen.hosts", f"{name!r} is not a host name (no scheme, no port)")
    _check_access(config.access)


def _check_access(access: AccessKeys) -> None:
    if not _SHORTEST_SESSION <= access.session <= _LONGEST_SESSION:
        raise ConfigError("access.session", "is not between 1s and 90d")
    for origin in access.origins:
        if not re.fullmatch(
            r"https?://([A-Za-z0-9.-]{1,253}|\[[0-9a-fA-F:]{2,45}\])(:\d+)?", origin
        ):
            raise ConfigError(
                "access.origins", f'{origin!r} is not an origin such as "https://host:3000"'
            )


def _check_windows(config: Config) -> None:
    seen: dict[int, str] = {}
    for text in config.summaries.windows:
        length = _window(text)
        if length in seen:
            raise ConfigError("summaries.windows", f"{seen[length]} and {text} are the same length")
        seen[length] = text
    if config.summaries.lateness > _LONGEST_LATENESS:
        raise ConfigError("summaries.lateness", "is longer than 1d")


def _window(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]*[smhd]", text):
        raise ConfigError("summaries.windows", f'{text!r} is not a length such as "10s" or "1h"')
    length = Duration.parse(text)
    if length > _LONGEST_WINDOW:
        raise ConfigError("summaries.windows", f"{text} is longer than 366d")
    return length


def _check_mqtt(mqtt: MqttKeys) -> None:
    if re.search(r"[+#\x00-\x1f\x7f]|^[/$]|/$|//", mqtt.root):
        raise ConfigError(
            "mqtt.root", f"{mqtt.root!r} is not a topic (no + or #, no slash at its ends)"
        )
    _pair("mqtt", mqtt.cert_file, mqtt.key_file, names=("cert_file", "key_file"))
    if mqtt.ca_file is not None:
        _readable("mqtt.ca_file", mqtt.ca_file)
    if mqtt.url is not None:
        _check_url(mqtt.url)


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError("mqtt.url", f"{url!r} is not a URL: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigError("mqtt.url", "holds a user name: use the keys username and password_file")
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or port == 0:
        raise ConfigError("mqtt.url", f'{url!r} is not like "mqtt://host:1883" or "mqtts://host"')
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConfigError("mqtt.url", "has a path: the root topic is the key root")


def _pair(section: str, cert: Path | None, key: Path | None, *, names: tuple[str, str]) -> None:
    if (cert is None) != (key is None):
        missing = names[0] if cert is None else names[1]
        raise ConfigError(f"{section}.{missing}", f"{names[0]} and {names[1]} go together")
    for name, path in zip(names, (cert, key), strict=True):
        if path is not None:
            _readable(f"{section}.{name}", path)


def _readable(key: str, path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise ConfigError(key, f"cannot read {path}: {error.strerror}") from None
