"""A command as a script posts it, read strictly."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from gateway.core.filters import BadQuery

MAX_DEPTH = 6
MAX_OP = 256
MAX_FLAGS = 2**32 - 1
MAX_TTL = 10 * 366 * 86_400_000
_KEYS = ("op", "args", "ttl_ms", "flags")


@dataclass(frozen=True, slots=True)
class OrderBody:
    """What to do, at which place in JSON's terms. `ttl_ms` None: it never expires."""

    op: str | int
    args: Any = None
    ttl_ms: int | None = None
    flags: int = 0


def parse_order(body: bytes) -> OrderBody:
    """Read the JSON body of a command. Raises BadQuery, which names the key."""
    found = read_object(body, known=_KEYS)
    if "op" not in found:
        raise BadQuery("op", "is missing")
    _check(found.get("args"), MAX_DEPTH)
    ttl_ms = found.get("ttl_ms")
    return OrderBody(
        op=_op(found["op"]),
        args=found.get("args"),
        ttl_ms=None if ttl_ms is None else _whole("ttl_ms", ttl_ms, of=range(1, MAX_TTL + 1)),
        flags=_whole("flags", found.get("flags", 0), of=range(MAX_FLAGS + 1)),
    )


def read_object(body: bytes, *, known: Sequence[str]) -> dict[str, Any]:
    """The JSON object in a body, with known keys only. Raises BadQuery, which names the key."""
    try:
        found = json.loads(body.decode(), object_pairs_hook=_once, parse_constant=_constant)
    except RecursionError:
        raise BadQuery("body", "is nested too deeply") from None
    except ValueError as error:
        raise BadQuery("body", f"is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise BadQuery("body", "must be a JSON object")
    for key in found:
        if key not in known:
            raise BadQuery(key[:64], f"is not known here; known are {', '.join(known)}")
    return found


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BadQuery("body", "holds a key twice")
    return found


def _constant(name: str) -> NoReturn:
    raise BadQuery("body", f"holds {name}, which is not JSON")


def _op(op: object) -> str | int:
    if isinstance(op, str) and 0 < len(op) <= MAX_OP:
        _check_text(op, "op")
        return op
    if isinstance(op, int | float):
        return _whole("op", op, of=range(2**64))
    raise BadQuery("op", f"must be a whole number from 0 or a text of 1 to {MAX_OP} characters")


def _whole(key: str, value: object, *, of: range) -> int:
    """JSON has one kind of numbers: 5.0 is as whole as 5."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value not in of:
        raise BadQuery(key, f"must be a whole number from {of.start} to {of.stop - 1}")
    return value


def _check(value: object, depth: int) -> None:
    """Whether a device can be sent this: CBOR's integers have 64 bits, its text is UTF-8."""
    if isinstance(value, dict | list):
        if not depth:
            raise BadQuery("args", f"is nested deeper than {MAX_DEPTH}")
        for key in value if isinstance(value, dict) else ():
            _check_text(key, "args")
        for item in value.values() if isinstance(value, dict) else value:
            _check(item, depth - 1)
    elif isinstance(value, str):
        _check_text(value, "args")
    elif isinstance(value, float) and not math.isfinite(value):
        raise BadQuery("args", "holds a number beyond the range of a double")
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise BadQuery("args", "holds an integer beyond 64 bits")


def _check_text(text: str, key: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadQuery(key, "holds half of a surrogate pair") from None
