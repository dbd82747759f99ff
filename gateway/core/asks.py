"""What a message from the broker asks for: a command, a configuration, or nothing sensible."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.core.broker import Delivery
from gateway.core.readings import NS_PER_MS
from gateway.core.topics import CommandTopic, ConfigTopic, Topics

LONGEST_TTL_MS = 366 * 86_400_000
LARGEST_FLAGS = 2**32 - 1
LARGEST = 2**64
DEEPEST = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A command. `ttl_ms` counts from `received` (ns, monotonic); None: it never expires.

    origin: where the answer goes (`response_topic`, `correlation` as hex), for the results.
    dedupe: the same for every repetition of the same command.
    """

    device: str
    op: str | int
    args: Any
    flags: int
    ttl_ms: int | None
    received: int
    origin: dict[str, str]
    dedupe: str

    def left(self, now: int) -> int | None:
        """Milliseconds that are left at `now` (ns, monotonic); 0 or less: too late."""
        if self.ttl_ms is None:
            return None
        return self.ttl_ms - (now - self.received) // NS_PER_MS


@dataclass(frozen=True, slots=True)
class Configure:
    """A device's new configuration document."""

    device: str
    document: Any


@dataclass(frozen=True, slots=True)
class Nonsense:
    """Nothing that can be done. `op` is None if there is nobody to answer."""

    device: str
    op: str | int | None
    origin: dict[str, str]
    text: str


class _Wrong(Exception):
    """Why a message makes no sense."""


def read(delivery: Delivery, topics: Topics) -> Ask | Configure | Nonsense:
    """Understand a delivery. Never raises, whatever the message holds."""
    where = topics.parse(delivery.topic)
    origin = _origin(delivery)
    match where:
        case CommandTopic(device, op):
            try:
                return _ask(delivery, where, origin)
            except _Wrong as wrong:
                return Nonsense(device, op, origin, str(wrong))
        case ConfigTopic(device):
            try:
                return Configure(device, _json(delivery.payload))
            except _Wrong as wrong:
                return Nonsense(device, None, origin, str(wrong))
    return Nonsense("", None, origin, "the topic asks for nothing")


def _ask(delivery: Delivery, where: CommandTopic, origin: dict[str, str]) -> Ask:
    if delivery.retain:
        raise _Wrong("a command must not be retained: it would run again at every start")
    return Ask(
        device=where.device,
        op=where.op,
        args=_json(delivery.payload) if delivery.payload else None,
        flags=_count(delivery.user, "flags", most=LARGEST_FLAGS) or 0,
        ttl_ms=_ttl(delivery),
        received=delivery.received,
        origin=origin,
        dedupe=dedupe_key(delivery),
    )


def dedupe_key(delivery: Delivery) -> str:
    """The correlation data, else a hash of all that makes the command what it is.

    The rest of the message expiry is left out: it shrinks with every repetition.
    """
    if delivery.correlation:
        return delivery.correlation.hex()
    digest = hashlib.sha256()
    user = sorted(delivery.user.items())
    for part in (delivery.topic, repr(user), delivery.response_topic or ""):
        digest.update(len(part.encode()).to_bytes(8, "big") + part.encode())
    digest.update(delivery.payload)
    return f"sha256:{digest.hexdigest()}"


def _origin(delivery: Delivery) -> dict[str, str]:
    origin = {}
    if delivery.response_topic:
        origin["response_topic"] = delivery.response_topic
    if delivery.correlation:
        origin["correlation"] = delivery.correlation.hex()
    return origin


def _ttl(delivery: Delivery) -> int | None:
    """The smaller one of the command's own time to live and the message's expiry."""
    own = _count(delivery.user, "ttl_ms", most=LONGEST_TTL_MS)
    limits = [] if own is None else [own]
    if delivery.expiry_s is not None:
        limits.append(delivery.expiry_s * 1000)
    return min(limits, default=None)


def _count(user: Mapping[str, str], name: str, *, most: int) -> int | None:
    text = user.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 15 or int(text) > most:
        raise _Wrong(f"the user property {name} must be a number from 0 to {most}")
    return int(text)


def _json(payload: bytes) -> Any:
    """Read JSON that CBOR can carry to a device without tags."""
    try:
        value = json.loads(payload)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise _Wrong(f"the payload is not JSON: {error}") from None
    _check(value)
    return value


def _check(value: Any) -> None:
    """Refuse what is nested too deep, and integers beyond 64 bits."""
    level, depth = [value], 0
    while level:
        if depth > DEEPEST:
            raise _Wrong(f"the payload is nested deeper than {DEEPEST} levels")
        depth += 1
        if any(type(item) is int and not -LARGEST <= item < LARGEST for item in level):
            raise _Wrong("the payload holds an integer of more than 64 bits")
        level = [inner for item in level for inner in _inside(item)]


def _inside(item: Any) -> Iterable[Any]:
    if isinstance(item, dict):
        return item.values()
    return item if isinstance(item, list) else ()
