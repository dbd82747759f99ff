"""What the bridge and the MQTT client have in common: settings, messages, reasons, interfaces."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import urlsplit

from gateway.errors import ConfigError, GatewayError


class Reply(IntEnum):
    """The MQTT 5 reason codes that the gateway treats in their own way."""

    SUCCESS = 0x00
    NO_SUBSCRIBER = 0x10
    UNSPECIFIED = 0x80
    MALFORMED = 0x81
    PROTOCOL = 0x82
    IMPLEMENTATION = 0x83
    NOT_AUTHORIZED = 0x87
    TAKEN_OVER = 0x8E
    TOPIC_INVALID = 0x90
    PACKET_TOO_LARGE = 0x95
    QUOTA = 0x97
    PAYLOAD_INVALID = 0x99
    RETAIN_UNSUPPORTED = 0x9A


class BrokerError(GatewayError):
    """The broker cannot be reached or refuses us; `code` is its reason, if it gave one."""

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


class Unsendable(GatewayError):
    """A message that can never be sent as it is; `code` says why in MQTT's terms."""

    def __init__(self, code: Reply, text: str) -> None:
        super().__init__(text)
        self.code = code


class MqttConfig(Protocol):
    """What the bridge reads of the `[mqtt]` section (config/gateway.toml)."""

    @property
    def url(self) -> str | None: ...
    @property
    def version(self) -> Literal["5", "3.1.1"]: ...
    @property
    def outbox_max_mb(self) -> int: ...
    @property
    def outbox_full(self) -> Literal["drop_oldest", "reject_new"]: ...
    @property
    def dead_letter_after(self) -> int: ...
    @property
    def backlog_share(self) -> float: ...
    @property
    def username(self) -> str | None: ...
    @property
    def password(self) -> str | None: ...
    @property
    def ca_file(self) -> Path | None: ...
    @property
    def cert_file(self) -> Path | None: ...
    @property
    def key_file(self) -> Path | None: ...


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_url(url: str) -> Address:
    """Read `mqtt://HOST[:PORT]` or `mqtts://…` (TLS). Raises ConfigError."""
    ports = {"mqtt": 1883, "mqtts": 8883}
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError("mqtt.url", f"{url!r} is not a URL: {error}") from None
    if parts.scheme not in ports:
        raise ConfigError("mqtt.url", f"{url!r} must begin with mqtt:// or mqtts://")
    if parts.username is not None or parts.password is not None:
        raise ConfigError("mqtt.url", "use the keys username and password_file, not the URL")
    if not parts.hostname or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ConfigError("mqtt.url", f"{url!r} must look like mqtt://HOST:PORT")
    if port == 0:
        raise ConfigError("mqtt.url", f"{url!r}: port 0 cannot be used")
    return Address(parts.hostname, port or ports[parts.scheme], parts.scheme == "mqtts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message to publish. With MQTT 3.1.1 everything below `retain` stays behind.

    expiry_s: seconds after which the broker forgets the message.
    """

    topic: str
    payload: bytes
    retain: bool = False
    content_type: str | None = None
    correlation: bytes | None = None
    expiry_s: int | None = None
    user: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message that the broker delivered; it keeps it until `Link.acknowledge(mid)`.

    expiry_s: what was left of its expiry. received: nanoseconds of the monotonic clock, noted by
    whoever takes it from the link.
    """

    mid: int
    topic: str
    payload: bytes
    received: int = 0
    retain: bool = False
    response_topic: str | None = None
    correlation: bytes | None = None
    expiry_s: int | None = None
    user: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Closed:
    """How a connection ended. `code` is the broker's reason, None if it gave none; `lost` if the
    other side, or the way to it, simply went away."""

    code: int | None
    text: str
    lost: bool = False


class Events(Protocol):
    """What a link tells its owner; called on the event loop, and must not call the link back."""

    def acked(self, mid: int, code: int, text: str) -> None:
        """The broker answered message `mid`; below 0x80 it took it."""

    def arrived(self, delivery: Delivery) -> None: ...

    def closed(self, closed: Closed) -> None:
        """Called once; nothing comes after it."""


class Link(Protocol):
    """One connection to a broker."""

    @property
    def open(self) -> bool: ...

    @property
    def receive_maximum(self) -> int:
        """How many messages the broker lets us have unanswered."""

    @property
    def session_present(self) -> bool: ...

    def publish(self, message: Outgoing, *, qos: int = 1) -> int:
        """Send and return the packet's number. Raises Unsendable, BrokerError."""

    def acknowledge(self, mid: int) -> None: ...

    async def subscribe(self, filters: Mapping[str, bool]) -> None:
        """Subscribe at QoS 1; a true value keeps the retain flag of live messages.

        Raises BrokerError if the broker refuses.
        """

    async def disconnect(self) -> None:
        """Say goodbye and close; at most a second."""

    def abort(self) -> None:
        """Close without a goodbye: the broker publishes the last will."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connecting:
    """Everything that a connection needs. `will` is published if we vanish."""

    address: Address
    client_id: str
    version: Literal["5", "3.1.1"]
    will: Outgoing
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


class Connect(Protocol):
    """Opens links; `gateway.mqtt.connect` is the real one."""

    async def __call__(self, settings: Connecting, events: Events) -> Link:
        """Return once the broker has accepted us. Raises BrokerError."""
