"""MQTT topics of the gateway, and what is put into the outbox (docs/mqtt.md).

Device and metric names hold no `/`, `+` or `#`; the configured root may have several levels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.core.broker import Reply, Unsendable
from gateway.core.facts import OutboxPut
from gateway.core.packs import pack
from gateway.core.readings import Batch
from gateway.core.summary import dump
from gateway.errors import ConfigError

ONLINE = b"online"
OFFLINE = b"offline"
JSON_TYPE = "application/json"
SENML_TYPE = "application/senml+json"
BACKFILL = "/backfill"
BACKFILL_AFTER_MS = 60_000
LONGEST_ROOT = 1024
LONGEST_TOPIC = 65_535
LARGEST_OP = 2**64 - 1
STATE_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class CommandTopic:
    """A command for a device; an OP of digits only is a number."""

    device: str
    op: str | int


@dataclass(frozen=True, slots=True)
class ConfigTopic:
    """The configuration document of a device."""

    device: str


@dataclass(frozen=True, slots=True)
class Topics:
    """All topics under `ROOT/GATEWAY`. Raises ConfigError if these cannot be part of a topic."""

    root: str
    gateway: str

    def __post_init__(self) -> None:
        check_root(self.root)
        check_gateway(self.gateway)

    @property
    def base(self) -> str:
        return f"{self.root}/{self.gateway}"

    @property
    def gateway_status(self) -> str:
        return f"{self.base}/status"

    @property
    def command_filter(self) -> str:
        return f"{self.base}/+/command/+"

    @property
    def config_filter(self) -> str:
        return f"{self.base}/+/config"

    def status(self, device: str) -> str:
        return f"{self.base}/{device}/status"

    def summary(self, device: str, metric: str, *, window: str) -> str:
        return f"{self.base}/{device}/{metric}/summary/{window}"

    def state(self, device: str) -> str:
        return f"{self.base}/{device}/state"

    def readings(self, device: str) -> str:
        return f"{self.base}/{device}/readings"

    def alert(self, device: str) -> str:
        return f"{self.base}/{device}/alert"

    def result(self, device: str) -> str:
        return f"{self.base}/{device}/result"

    def parse(self, topic: str) -> CommandTopic | ConfigTopic | None:
        """What a topic below `ROOT/GATEWAY/` asks for; None if it asks for nothing."""
        prefix = f"{self.base}/"
        if not topic.startswith(prefix):
            return None
        match topic.removeprefix(prefix).split("/"):
            case [device, "command", op] if device and op:
                return CommandTopic(device, _op(op))
            case [device, "config"] if device:
                return ConfigTopic(device)
        return None

    def answer(self, device: str, wanted: str | None) -> str:
        """Where a result goes: to the topic that was asked for, if it is a usable one.

        A response topic that is itself a command would make the gateway command in a circle.
        """
        if wanted and not _unusable(wanted) and self.parse(wanted) is None:
            return wanted
        return self.result(device)


def check_root(root: str) -> None:
    """Raise ConfigError unless `root` is one or more plain topic levels."""
    problem = _unusable(root)
    if problem is None and len(root.encode()) > LONGEST_ROOT:
        problem = f"is longer than {LONGEST_ROOT} bytes"
    if problem is None and "" in root.split("/"):
        problem = "has an empty level (a / at an end, or two side by side)"
    if problem is not None:
        raise ConfigError("mqtt.root", f"{root!r} {problem}")


def check_gateway(gateway: str) -> None:
    """Raise ConfigError unless the gateway's id is one plain topic level."""
    problem = _unusable(gateway)
    if problem is None and "/" in gateway:
        problem = "contains a /"
    if problem is not None:
        raise ConfigError("gateway.id", f"{gateway!r} {problem}")


def _unusable(topic: str) -> str | None:
    """Why nothing can be published to a topic; None if it is usable."""
    if not topic:
        return "is empty"
    if any(sign in topic for sign in "+#"):
        return "contains a wildcard (+ or #)"
    if any(ord(sign) < 0x20 or 0xD800 <= ord(sign) < 0xE000 for sign in topic):
        return "contains a control character"
    if topic.startswith("$"):
        return "begins with $, which brokers keep for themselves"
    return None


def check_topic(topic: str) -> None:
    """Raise Unsendable for topics that a broker would answer by closing the connection."""
    if not topic or any(sign in topic for sign in "+#\0"):
        raise Unsendable(Reply.TOPIC_INVALID, f"{topic!r} is not a topic to publish to")
    try:
        size = len(topic.encode())
    except UnicodeEncodeError:
        raise Unsendable(Reply.TOPIC_INVALID, f"{topic!r} is not Unicode text") from None
    if size > LONGEST_TOPIC:
        raise Unsendable(Reply.TOPIC_INVALID, f"a topic of {size} bytes is too long")


def _op(level: str) -> str | int:
    if level.isascii() and level.isdigit() and str(int(level[:20])) == level:
        return int(level) if int(level) <= LARGEST_OP else level
    return level


def topic_at(row: OutboxPut, now_ms: int) -> str:
    """The topic of a row that is sent now: live consumers never get history as if it were new."""
    return row.topic + BACKFILL if is_backfill(row, now_ms) else row.topic


def is_backfill(row: OutboxPut, now_ms: int) -> bool:
    """A summary that is a revision, or whose window ended too long ago to be news."""
    if row.window_ms <= 0:
        return False
    if row.backfill:
        return True
    return row.ends is not None and now_ms - row.ends > max(2 * row.window_ms, BACKFILL_AFTER_MS)


@dataclass(frozen=True, slots=True)
class Upstream:
    """What is put into the outbox: the number of the row and its time (Unix ms) come first.

    state_ms: how long a device's newest values are worth delivering.
    """

    topics: Topics
    state_ms: int = STATE_MS

    def summary(
        self, number: int, t: int, body: Mapping[str, Any], text: str | None = None
    ) -> OutboxPut:
        """A `summary` payload; revisions are backfill from the start.

        text: its JSON, if it is there already.
        """
        topic = self.topics.summary(body["dev"], body["m"], window=body["w"])
        return _put(
            number,
            t,
            topic=topic,
            body=body,
            text=text,
            ends=body["t1"],
            window_ms=body["t1"] - body["t0"],
            backfill=body.get("rev", 1) >= 2,
        )

    def status(self, number: int, t: int, body: Mapping[str, Any]) -> OutboxPut:
        """A `status` payload; retained, and only the newest of a device is of use."""
        put = _put(number, t, topic=self.topics.status(body["dev"]), body=body)
        return put._replace(retain=True, replaces=True)

    def alert(self, number: int, t: int, body: Mapping[str, Any]) -> OutboxPut:
        """An `alert` payload."""
        return _put(number, t, topic=self.topics.alert(body["dev"]), body=body)

    def state(self, number: int, t: int, device: str, values: Mapping[str, Any]) -> OutboxPut:
        """The newest value per metric, retained until it is too old to be called a state."""
        put = _put(number, t, topic=self.topics.state(device), body=dict(values))
        return put._replace(retain=True, replaces=True, expires=t + self.state_ms)

    def result(
        self, number: int, t: int, body: Mapping[str, Any], origin: Mapping[str, str] | None
    ) -> OutboxPut:
        """The result of a command, to where its `origin` wants it (see `gateway.core.asks`)."""
        origin = origin or {}
        topic = self.topics.answer(body["dev"], origin.get("response_topic"))
        put = _put(number, t, topic=topic, body=body)
        if "correlation" not in origin:
            return put
        return put._replace(properties=dump({"correlation": origin["correlation"]}))

    def readings(self, number: int, t: int, batch: Batch) -> OutboxPut:
        """The readings of one message as a SenML pack. The batch must not be empty."""
        device = batch.columns[0].key.device
        put = _put(number, t, topic=self.topics.readings(device), body=pack(batch))
        return put._replace(properties=dump({"content_type": SENML_TYPE}))


def result_body(
    *, n: int | None, device: str, op: str | int, state: str, result: object = None
) -> dict[str, Any]:
    """The JSON that answers a command; `n` is None if the command was never taken in."""
    return {"v": 1, "n": n, "dev": device, "op": op, "state": state, "result": result}


def _put(
    number: int,
    t: int,
    *,
    topic: str,
    body: object,
    text: str | None = None,
    ends: int | None = None,
    window_ms: int = 0,
    backfill: bool = False,
) -> OutboxPut:
    return OutboxPut(
        id=number,
        t=t,
        topic=topic,
        payload=(dump(body) if text is None else text).encode("ascii"),
        retain=False,
        ends=ends,
        window_ms=window_ms,
        backfill=backfill,
        expires=None,
        replaces=False,
        properties="{}",
    )
