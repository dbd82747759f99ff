"""The messages of `sensorlink.v1` as typed values; each class mirrors its CDDL in docs/wire.md.

`parse` turns a decoded CBOR map into a message, `to_map` does the reverse. Both roles use both.
A body that breaks its definition raises `BadBody`; what that means (malformed or rejected)
depends on whether the message is sequenced, and is the session's business.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar, dataclass_transform

MAX_SEQ = 2**53 - 1
FIRST_SEQUENCED = 16
MOST_MS = (2**63 - 1) // 10**6
NAME = re.compile(r"[A-Za-z0-9._:-]{1,64}")

Check = Callable[[Any], bool]
C = TypeVar("C")
M = TypeVar("M", bound="Message")


class BadBody(Exception):
    """A message whose keys do not have the types that its definition asks for."""


class _Absent:
    """Marks a key that must be there."""


def key(number: int, check: Check, default: Any = _Absent) -> Any:
    """Declare a message key: its number on the wire, a check, and a default if it is optional."""
    metadata = {"number": number, "check": check}
    if default is _Absent:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def is_uint(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**64


def is_ms(value: Any) -> bool:
    """Milliseconds of a device's clock: as nanoseconds they are within int64."""
    return type(value) is int and 0 <= value <= MOST_MS


def is_tally(value: Any) -> bool:
    """A count or position that is stored or continued: no device comes near 2^53."""
    return type(value) is int and 0 <= value <= MAX_SEQ


def is_seq(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MAX_SEQ


def is_number(value: Any) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def is_text(value: Any) -> bool:
    return type(value) is str


def is_name(value: Any) -> bool:
    return type(value) is str and NAME.fullmatch(value) is not None


def is_bytes(size: int) -> Check:
    return lambda value: type(value) is bytes and len(value) == size


def is_any(_value: Any) -> bool:
    return True


def is_op(value: Any) -> bool:
    return is_uint(value) or is_text(value)


def is_pair(first: Check, second: Check) -> Check:
    return lambda value: (
        type(value) is list and len(value) == 2 and first(value[0]) and second(value[1])
    )


def is_list(item: Check) -> Check:
    return lambda value: type(value) is list and len(value) > 0 and all(map(item, value))


def is_map(name: Check, item: Check) -> Check:
    return lambda value: type(value) is dict and all(name(k) and item(v) for k, v in value.items())


def is_sid(value: Any) -> bool:
    return type(value) is int and 1 <= value <= 65535


def is_clock(value: Any) -> bool:
    return (type(value) is int and value == 0) or (type(value) is bytes and len(value) == 8)


is_id8 = is_bytes(8)
is_version = is_pair(is_uint, is_uint)
is_position = is_pair(is_id8, is_tally)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(key,))
def message(cls: type[C]) -> type[C]:
    """Make a class a frozen, keyword-only message."""
    return dataclasses.dataclass(frozen=True, slots=True, kw_only=True)(cls)


class Message:
    """Base of all messages; `TYPE` is the value of key 0."""

    __slots__ = ()
    TYPE: ClassVar[int] = -1


@message
class Hello(Message):
    TYPE: ClassVar[int] = 1
    version: list[int] = key(2, is_version)
    device: str = key(3, is_name)
    epoch: bytes = key(4, is_id8)
    lo: int = key(5, lambda v: is_uint(v) and 1 <= v <= MAX_SEQ + 1)
    hi: int = key(6, lambda v: is_uint(v) and v <= MAX_SEQ)
    boot: bytes | None = key(7, is_id8, None)
    mono_ms: int | None = key(8, is_ms, None)
    max_message: int = key(9, is_uint, 1024)
    position: list[Any] | None = key(10, is_position, None)
    config_version: int | None = key(11, is_tally, None)
    schemas: dict[int, bytes] | None = key(12, is_map(is_sid, is_bytes(4)), None)
    capabilities: int = key(13, is_uint, 0)
    token: str | None = key(14, is_text, None)

    def __post_init__(self) -> None:
        if self.lo > self.hi + 1:
            raise BadBody(f"lo {self.lo} is beyond hi {self.hi} + 1")


@message
class Welcome(Message):
    TYPE: ClassVar[int] = 2
    version: list[int] = key(2, is_version)
    store_id: bytes = key(3, is_id8)
    state: int = key(4, lambda v: type(v) is int and 0 <= v <= 3)
    committed: int = key(5, is_uint)
    limit: int = key(6, is_uint)
    max_message: int = key(7, is_uint)
    unix_ms: int = key(8, is_uint)
    mono_ms: int | None = key(9, is_uint, None)
    ping_s: int = key(10, is_uint)
    wanted: list[int] | None = key(11, is_list(is_uint), None)
    queued: int | None = key(12, is_uint, None)
    ack_delay_ms: int | None = key(13, is_uint, None)


@message
class Ack(Message):
    TYPE: ClassVar[int] = 3
    committed: int = key(2, is_uint)
    limit: int | None = key(3, is_uint, None)
    rejects: list[list[int]] | None = key(4, is_list(is_pair(is_uint, is_uint)), None)


@message
class Timesync(Message):
    TYPE: ClassVar[int] = 4
    t1: int = key(2, is_ms)
    t2: int | None = key(3, is_uint, None)
    t3: int | None = key(4, is_uint, None)


@message
class Need(Message):
    TYPE: ClassVar[int] = 5
    sids: list[int] = key(2, is_list(is_uint))


@message
class Error(Message):
    TYPE: ClassVar[int] = 6
    code: int = key(2, is_uint)
    text: str | None = key(3, is_text, None)
    retry_ms: int | None = key(4, is_uint, None)


@message
class Bye(Message):
    TYPE: ClassVar[int] = 7
    reason: int = key(2, is_uint)
    sleep_ms: int | None = key(3, is_uint, None)


@message
class Schema(Message):
    TYPE: ClassVar[int] = 8
    sid: int = key(2, is_sid)
    fields: list[dict[int, Any]] = key(3, is_list(lambda v: type(v) is dict))
    resolution: int = key(4, lambda v: type(v) is int and v in (3, 6, 9), 3)
    fingerprint: bytes = key(5, is_bytes(4))


@message
class Dack(Message):
    TYPE: ClassVar[int] = 9
    handled: int = key(2, is_tally)


@message
class Data(Message):
    """A batch of readings; its columns are checked against the schema by `core.columns`."""

    TYPE: ClassVar[int] = 16
    seq: int = key(1, is_seq)
    sid: int = key(2, is_uint)
    t0: int = key(3, is_uint)
    step: Any = key(4, is_any, None)
    columns: list[Any] = key(5, is_list(is_any))
    valid: dict[int, bytes] | None = key(6, is_map(is_uint, lambda v: type(v) is bytes), None)
    clock: Any = key(7, is_clock, None)


@message
class Senml(Message):
    TYPE: ClassVar[int] = 17
    seq: int = key(1, is_seq)
    pack: list[dict[Any, Any]] = key(2, is_list(lambda v: type(v) is dict and len(v) > 0))


@message
class Event(Message):
    TYPE: ClassVar[int] = 18
    seq: int = key(1, is_seq)
    name: int | str = key(2, is_op)
    detail: Any = key(3, is_any, None)


@message
class Result(Message):
    TYPE: ClassVar[int] = 19
    seq: int = key(1, is_seq)
    command: list[Any] = key(2, is_position)
    status: int = key(3, lambda v: type(v) is int and 0 <= v <= 5)
    value: Any = key(4, is_any, None)


@message
class Gap(Message):
    """Numbers `seq` … `last` are lost: the message occupies them all."""

    TYPE: ClassVar[int] = 20
    seq: int = key(1, is_seq)
    last: int = key(2, is_seq)
    reason: int = key(3, is_tally)
    readings: int | None = key(4, is_tally, None)

    def __post_init__(self) -> None:
        if self.last < self.seq:
            raise BadBody(f"last lost {self.last} is below first lost {self.seq}")


@message
class Command(Message):
    TYPE: ClassVar[int] = 21
    seq: int = key(1, is_seq)
    op: int | str = key(2, is_op)
    args: Any = key(3, is_any, None)
    ttl_ms: int | None = key(4, is_uint, None)
    flags: int | None = key(5, is_uint, None)


@message
class Config(Message):
    TYPE: ClassVar[int] = 22
    seq: int = key(1, is_seq)
    version: int = key(2, is_uint)
    document: Any = key(3, is_any)


_CLASSES: tuple[type[Message], ...] = (
    Hello, Welcome, Ack, Timesync, Need, Error, Bye, Schema, Dack,
    Data, Senml, Event, Result, Gap, Command, Config,
)  # fmt: skip
BY_TYPE: dict[int, type[Message]] = {cls.TYPE: cls for cls in _CLASSES}

_REQUIRED: Any = dataclasses.MISSING
_KEYS: dict[type[Message], tuple[tuple[str, int, Check, Any], ...]] = {
    cls: tuple(
        (field.name, field.metadata["number"], field.metadata["check"], field.default)
        for field in dataclasses.fields(cls)  # type: ignore[arg-type]
    )
    for cls in _CLASSES
}


def parse(cls: type[M], source: Mapping[int, Any]) -> M:
    """Build a message of class `cls` out of a decoded map.

    Unknown keys are ignored. Raises BadBody if a key is missing or has the wrong type.
    """
    values = {}
    for name, number, check, default in _KEYS[cls]:
        if number in source:
            value = source[number]
            if not check(value):
                raise BadBody(f"{cls.__name__.upper()} key {number} ({name}) has a wrong value")
            values[name] = value
        elif default is _REQUIRED:
            raise BadBody(f"{cls.__name__.upper()} has no key {number} ({name})")
    return cls(**values)


def to_map(message: Message) -> dict[int, Any]:
    """Build the map to encode: key 0 first, optional keys at their default left out."""
    found: dict[int, Any] = {0: message.TYPE}
    for name, number, _, default in _KEYS[type(message)]:
        value = getattr(message, name)
        if default is _REQUIRED or value != default:
            found[number] = value
    return found
