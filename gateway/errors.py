"""Every error that the gateway raises on purpose.

Library errors are translated in the shell that owns the library; anything that is not a
`GatewayError` is a bug and is allowed to end the process.
"""

from enum import IntEnum


class GatewayError(Exception):
    """The root of the tree."""


class ConfigError(GatewayError):
    """The configuration cannot be used; `key` says where (dotted, such as `listen.port`)."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}" if key else problem)
        self.key = key
        self.problem = problem


class CloseCode(IntEnum):
    """WebSocket close codes of `sensorlink.v1` (docs/wire.md)."""

    DONE = 1000
    RESTART = 4000
    TAKEN_OVER = 4001
    NO_HELLO = 4002
    SILENT = 4003
    SEQUENCE = 4005
    STORAGE = 4006
    MALFORMED = 4500
    UNAUTHENTICATED = 4501
    DISABLED = 4502
    VERSION = 4503
    TOO_BIG = 4504
    PAST_LIMIT = 4505


class ProtocolError(GatewayError):
    """The peer broke the protocol; the link is closed with `close_code`."""

    def __init__(self, close_code: CloseCode, text: str) -> None:
        super().__init__(text)
        self.close_code = close_code
        self.text = text


class WireError(ProtocolError):
    """Bytes that are not a message of the protocol (4500)."""

    def __init__(self, text: str) -> None:
        super().__init__(CloseCode.MALFORMED, text)


class SessionError(ProtocolError):
    """A message that is not legal at this moment of the session."""


class Reason(IntEnum):
    """Why a well-formed message was rejected (ACK key 4, docs/wire.md)."""

    UNKNOWN_TYPE = 1
    UNKNOWN_SCHEMA = 2
    BAD_BODY = 3
    BAD_SHAPE = 4
    BAD_TAG = 5
    BAD_VALUE = 6
    BAD_TIME = 7
    TOO_MANY = 8
    BAD_SENML = 9
    FOREIGN_DEVICE = 10


class Rejected(GatewayError):
    """A well-formed message whose body is wrong: recorded, acknowledged, never stored."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


class StoreError(GatewayError):
    """The store could not do what was asked."""


class StoreFull(StoreError):
    """No room on the disk. Nothing was committed; trying again later is safe."""


class StoreBusy(StoreError):
    """Another process holds the writer's lock."""


class StoreCorrupt(StoreError):
    """The database file is damaged."""


class StoreUnavailable(StoreError):
    """The database cannot be opened, read or written (permissions, I/O error)."""
