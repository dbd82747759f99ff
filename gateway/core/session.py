"""The session of `sensorlink.v1`: one table of legal moves, obeyed by both ends.

All transitions live in `LAW`. The table never knows which end we are: a move is named by who
sends what, so device and gateway follow identical rules. `Session` feeds every message, sent or
received, through the same `_pass`, and so both ends hold the same picture: what is committed,
how far the device may send, which number comes next.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from gateway.core import cbor
from gateway.core.messages import (
    BY_TYPE,
    FIRST_SEQUENCED,
    Ack,
    BadBody,
    Bye,
    Command,
    Config,
    Dack,
    Data,
    Error,
    Event,
    Gap,
    Hello,
    Message,
    Need,
    Result,
    Schema,
    Senml,
    Timesync,
    Welcome,
    is_seq,
    parse,
    to_map,
)
from gateway.errors import CloseCode, Reason, SessionError, WireError

MAJOR, MINOR = 1, 0
RESUMED, NEW, GAP, REFUSED = range(4)


class Role(Enum):
    """The two ends of a link."""

    DEVICE = "device"
    GATEWAY = "gateway"


class State(Enum):
    OPENING = "opening"
    """The device owes a HELLO."""
    CLAIMING = "claiming"
    """HELLO was said, the gateway owes a WELCOME."""
    LIVE = "live"
    """Readings and commands flow."""
    PARTED = "parted"
    """BYE or ERROR was said."""


class Refusal(Welcome):
    """Names, in the table only, a WELCOME with state 3: say HELLO again."""


_D, _G = Role.DEVICE, Role.GATEWAY
_UPLINK: tuple[type[Message], ...] = (Data, Senml, Event, Result, Gap)
_ENDS = {(_D, Bye): State.PARTED, (_D, Error): State.PARTED, (_G, Error): State.PARTED}

LAW: dict[State, dict[tuple[Role, type[Message]], State]] = {
    State.OPENING: {(_D, Hello): State.CLAIMING, **_ENDS},
    State.CLAIMING: {(_G, Welcome): State.LIVE, (_G, Refusal): State.OPENING, **_ENDS},
    State.LIVE: {
        **{(_D, cls): State.LIVE for cls in (*_UPLINK, Schema, Timesync, Dack)},
        **{(_G, cls): State.LIVE for cls in (Ack, Timesync, Need, Command, Config)},
        **_ENDS,
    },
    State.PARTED: {},
}


# At the wrong moment these break the session; other unsequenced messages are ignored then.
GRAVE: set[tuple[Role, type[Message]]] = {(_D, Hello), (_G, Welcome)}


@dataclass(frozen=True, slots=True)
class Duplicate(Message):
    """A sequenced message that was taken before: drop it, acknowledge again."""

    seq: int


@dataclass(frozen=True, slots=True)
class Refused(Message):
    """A sequenced message whose body is wrong: to be recorded and acknowledged."""

    seq: int
    reason: Reason
    text: str


class Session:
    """One end of a link.

    committed: highest seq that the gateway has committed, as far as this end knows.
    limit: highest seq that the device may send; never sinks while a connection lasts.
    next: the seq that the next sequenced uplink message must carry.
    """

    def __init__(self, role: Role) -> None:
        self.role = role
        self.peer = Role.GATEWAY if role is Role.DEVICE else Role.DEVICE
        self.state = State.OPENING
        self.committed = 0
        self.limit = 0
        self.next = 1

    def send(self, message: Message) -> bytes:
        """Encode `message` for the peer. Raises SessionError if it is not legal now."""
        if self._move(self.role, message) is None:
            name = type(message).__name__.upper()
            raise SessionError(CloseCode.MALFORMED, f"{name} may not be sent while {self.state}")
        self._pass(self.role, message)
        return cbor.encode(to_map(message))

    def acknowledge(self, committed: int, limit: int) -> bytes:
        """Encode an ACK without rejects: most of what a gateway sends are these."""
        self.committed = max(self.committed, committed)
        self.limit = max(self.limit, limit)
        return cbor.encode_numbers({0: Ack.TYPE, 2: committed, 3: limit})

    def receive(self, data: bytes) -> Message | None:
        """Take one message of the peer; None means that it is to be ignored.

        Raises WireError for bytes that are no message, SessionError for one that is not legal
        now; after either, the link must be closed with the error's close code.
        """
        source = cbor.decode(data)
        kind = source.get(0)
        if type(kind) is not int or kind < 0:
            raise WireError("key 0 must hold the message type, a number from 0")
        cls = BY_TYPE.get(kind)
        if self.state is State.PARTED:
            return None
        if self.role is Role.GATEWAY and kind >= FIRST_SEQUENCED:
            return self._uplink(cls, source)
        if cls is None:
            return None
        try:
            message = parse(cls, source)
        except BadBody as error:
            raise WireError(str(error)) from None
        return self._admit(message)

    def follow(self, first: int, count: int) -> int:
        """Let sound DATA or SENML messages pass, numbered from `first`: as many as may come now."""
        if self.state is not State.LIVE or first != self.next:
            return 0
        passed = max(0, min(count, self.limit - first + 1))
        self.next = first + passed
        return passed

    def _admit(self, message: Message) -> Message | None:
        """Let an unsequenced or downlink message pass if the law allows it."""
        if self._move(self.peer, message) is None:
            if (self.peer, type(message)) in GRAVE:
                name = type(message).__name__.upper()
                raise WireError(f"{name} is not legal while the session is {self.state.value}")
            return None
        if isinstance(message, Hello) and message.version[0] != MAJOR:
            raise SessionError(CloseCode.VERSION, f"this gateway speaks version {MAJOR}")
        self._pass(self.peer, message)
        return message

    def _uplink(self, cls: type[Message] | None, source: dict[int, Any]) -> Message:
        """Check a sequenced message of the device: its moment, its number, its body."""
        if self.state is not State.LIVE:
            raise WireError("a sequenced message came before WELCOME")
        seq: Any = source.get(1)
        if not is_seq(seq):
            raise WireError("key 1 of a sequenced message must be a number from 1 to 2^53-1")
        message = _read_uplink(cls, source, seq)
        if isinstance(message, Gap) and seq < self.next <= message.last:
            message = replace(message, seq=self.next)
        elif seq < self.next:
            return Duplicate(seq)
        elif seq > self.next:
            raise SessionError(CloseCode.SEQUENCE, f"expected seq {self.next}, got {seq}")
        elif seq > self.limit:
            raise SessionError(CloseCode.PAST_LIMIT, f"seq {seq} is past the limit {self.limit}")
        self._pass(self.peer, message)
        return message

    def _move(self, sender: Role, message: Message) -> State | None:
        cls = type(message)
        if isinstance(message, Welcome) and message.state == REFUSED:
            cls = Refusal
        return LAW[self.state].get((sender, cls))

    def _pass(self, sender: Role, message: Message) -> None:
        """Move both the state and the shared picture; the same at either end."""
        self.state = self._move(sender, message) or self.state
        match message:
            case Welcome():
                self.committed = message.committed
                self.limit = message.limit
                self.next = message.committed + 1
            case Ack():
                self.committed = max(self.committed, message.committed)
                self.limit = max(self.limit, message.limit or 0)
            case Gap():
                self.next = message.last + 1
            case Data() | Senml() | Event() | Result() | Refused():
                self.next = message.seq + 1
            case _:
                pass


def _read_uplink(cls: type[Message] | None, source: dict[int, Any], seq: int) -> Message:
    if cls is None or cls not in _UPLINK:
        return Refused(seq, Reason.UNKNOWN_TYPE, f"unknown sequenced type {source[0]}")
    try:
        return parse(cls, source)
    except BadBody as error:
        return Refused(seq, Reason.BAD_BODY, str(error))
