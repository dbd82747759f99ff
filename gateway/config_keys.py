"""The keys of the configuration: their types, ranges and defaults.

Durations are nanoseconds here (`Duration`, written "5s" in the file).
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

_UNITS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}


class Duration(int):
    """Nanoseconds, made from a whole number and a unit: "250ms", "5s", "1m", "1h", "30d"."""

    @classmethod
    def parse(cls, text: Any) -> "Duration":
        """Raise ValueError if `text` is not such a duration."""
        match = re.fullmatch(r"([0-9]{1,9})(ms|s|m|h|d)", text if isinstance(text, str) else "")
        if match is None:
            raise ValueError('expected a whole number and a unit ms, s, m, h or d, such as "5s"')
        return cls(int(match[1]) * _UNITS[match[2]])


class Secret(str):
    """A text that shows itself in no log and no traceback."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(…)"


Days = Annotated[int, Meta(ge=0, le=36_500)]


class GatewayKeys(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str = "gw-1"
    data_dir: Path = Path("./data")


class ListenKeys(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080
    hosts: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None


class DevicesKeys(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    auth: Literal["token", "open"] = "token"
    allow_open_network: bool = False
    window: Annotated[int, Meta(ge=1, le=1024)] = 32
    max_message: Annotated[int, Meta(ge=1024, le=65_535)] = 16_384
    max_skew: Duration = field(default_factory=lambda: Duration.parse("1h"))


class StoreKeys(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    commit_interval_ms: Annotated[int, Meta(ge=1, le=10_000)] = 250
    durability: Literal["full", "relaxed"] = "full"
    readings_days: Days = 30
    summaries_days: Days = 730
    max_size_mb: Annotated[int, Meta(ge=0)] = 0


class SummariesKeys(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    windows: Annotated[tuple[str, ...], Meta(min_length=1, max_length=16)] = (
        "10s",
        "1m",
        "15m",
        "1h",
    )
    lateness: Duration = field(default_factory=lambda: Duration.parse("5s"))


class AccessKeys(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    session: Duration = field(default_factory=lambda: Duration.parse("12h"))
    trust_loopback: bool = False
    origins: tuple[str, ...] = ()


class EventsKeys(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    max_clients: Annotated[int, Meta(ge=1, le=10_000)] = 64
    max_clients_per_address: Annotated[int, Meta(ge=1, le=10_000)] = 12


class MqttKeys(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: str | None = None
    root: Annotated[str, Meta(min_length=1, max_length=128)] = "sensors"
    home_assistant: bool = False
    forward_readings: bool = False
    version: Literal["5", "3.1.1"] = "5"
    username: str | None = None
    password: Secret | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    outbox_max_mb: Annotated[int, Meta(ge=1, le=1_000_000)] = 256
    outbox_full: Literal["drop_oldest", "reject_new"] = "drop_oldest"
    replay_hours: Annotated[int, Meta(ge=0, le=8760)] = 24
    dead_letter_after: Annotated[int, Meta(ge=1, le=1000)] = 5
    backlog_share: Annotated[float, Meta(gt=0, lt=1)] = 0.5


class AlertKeys(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[[alerts]]` table. None: the key is not there."""

    name: str
    device: str | None = None
    metric: str | None = None
    above: float | None = None
    below: float | None = None
    rises: Annotated[float, Meta(gt=0)] | None = None
    falls: Annotated[float, Meta(gt=0)] | None = None
    per: Duration | None = None
    hysteresis: Annotated[float, Meta(ge=0)] | None = None
    hold: Duration | None = field(name="for", default=None)
    silent: Duration | None = None
    clock_error: Duration | None = None
    disk_used: Annotated[float, Meta(gt=0, lt=1)] | None = None
    outbox_age: Duration | None = None
    text: str = ""


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All keys, checked. `mqtt.password` never stands in the file: see `gateway.config.load`."""

    gateway: GatewayKeys = field(default_factory=GatewayKeys)
    listen: ListenKeys = field(default_factory=ListenKeys)
    devices: DevicesKeys = field(default_factory=DevicesKeys)
    store: StoreKeys = field(default_factory=StoreKeys)
    summaries: SummariesKeys = field(default_factory=SummariesKeys)
    access: AccessKeys = field(default_factory=AccessKeys)
    events: EventsKeys = field(default_factory=EventsKeys)
    mqtt: MqttKeys = field(default_factory=MqttKeys)
    alerts: Annotated[tuple[AlertKeys, ...], Meta(max_length=256)] = ()


SECTIONS: dict[str, type[Struct]] = {
    f.name: f.type for f in msgspec.structs.fields(Config) if f.name != "alerts"
}
"""All but the list of tables `alerts`."""
