"""CBOR as `sensorlink.v1` uses it: strict decoding, plain encoding (docs/wire.md §1).

Bytes come from strangers. No tag is ever given a meaning here: where a tag is allowed it stays an
inert `cbor2.CBORTag`, everywhere else the message is malformed.
"""

import struct
from collections.abc import Callable, Mapping
from enum import Enum
from io import BytesIO
from typing import Any

import cbor2
from cbor2 import CBORDecodeError, CBORDecoder, CBORTag

from gateway.errors import WireError

MAX_BYTES = 65_535
MAX_DEPTH = 8
DECIMAL_TAG = 4

_DATA, _SENML = 16, 17
_COLUMN_KEYS = (4, 5)
_PACK_KEY = 2

# The decoder counts tags as depth and leaves out empty containers, so it only bounds recursion;
# `_check` counts exactly.
_DECODER_DEPTH = 64

# Every tag to which the decoder would give a meaning; a test compares this with the library.
_BUILT_IN_TAGS = (
    0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100,
    256, 258, 260, 261, 1004, 43000, 55799,
)  # fmt: skip

_SCALARS = frozenset({int, float, bool, str, bytes, type(None)})
_INDEFINITE_HEADS = (0x5F, 0x7F, 0x9F, 0xBF)


class _Tags(Enum):
    """Which tags may stand in a part of a message."""

    NONE = 0
    DECIMAL = 1
    ANY = 2


def _inert(number: int) -> Callable[[Any, bool], CBORTag]:
    return lambda value, _immutable: CBORTag(number, value)


_INERT = {number: _inert(number) for number in _BUILT_IN_TAGS}


def decode(data: bytes) -> dict[int, Any]:
    """Decode one message.

    Tags are left as `cbor2.CBORTag` in the columns and offsets of a DATA message (all tags, to be
    judged by `core.columns`) and in the pack of a SENML message (tag 4 only). Values are otherwise
    int, float, bool, str, bytes, None, list and dict.

    Raises WireError if the bytes are not exactly one strict CBOR map with integer keys.
    """
    if len(data) > MAX_BYTES:
        raise WireError(f"{len(data)} bytes are more than {MAX_BYTES}")
    try:
        message = _decode_item(data, indefinite=False)
    except CBORDecodeError as error:
        if not any(head in data for head in _INDEFINITE_HEADS):
            raise WireError(_text(error)) from error
        message = _decode_indefinite(data)
    _check_message(message)
    return message  # type: ignore[no-any-return]


def _decode_item(data: bytes, *, indefinite: bool) -> Any:
    stream = BytesIO(data)
    decoder = CBORDecoder(
        stream,
        max_depth=_DECODER_DEPTH,
        allow_indefinite=indefinite,
        allow_duplicate_keys=False,
        semantic_decoders=_INERT,
    )
    item = decoder.decode()
    if stream.tell() != len(data):
        raise WireError("bytes follow the message")
    return item


def _decode_indefinite(data: bytes) -> Any:
    """Decode a message that may hold indefinite lengths in a SENML pack, and nowhere else."""
    try:
        message = _decode_item(data, indefinite=True)
    except CBORDecodeError as error:
        raise WireError(_text(error)) from error
    if not (type(message) is dict and _is_type(message, _SENML) and data[0] != 0xBF):
        raise WireError("indefinite length outside of a SENML pack")
    _, pairs, position = head(data, 0)
    for _ in range(pairs):
        major, key, _ = head(data, position)
        position = skip(data, position, indefinite=False)
        position = skip(data, position, indefinite=(major, key) == (0, _PACK_KEY))
    return message


def _text(error: CBORDecodeError) -> str:
    return f"not CBOR of this protocol: {error}"


def _is_type(message: Mapping[Any, Any], number: int) -> bool:
    found = message.get(0)
    return type(found) is int and found == number


def head(data: bytes, position: int) -> tuple[int, int, int]:
    """Major type, argument (-1: indefinite) and where the head at `position` ends."""
    major, info = data[position] >> 5, data[position] & 31
    position += 1
    if info < 24:
        return major, info, position
    if info == 31:
        return major, -1, position
    end = position + (1 << (info - 24))
    return major, int.from_bytes(data[position:end], "big"), end


def skip(data: bytes, position: int, *, indefinite: bool = True) -> int:
    """Where the item at `position` ends; the bytes are known to be well-formed."""
    left = [1]  # items still to come per open container, -1: until a break
    while left:
        if left[-1] == 0:
            left.pop()
            continue
        major, argument, position = head(data, position)
        if major == 7 and argument == -1:
            left.pop()
            continue
        left[-1] -= left[-1] > 0
        if argument == -1 and not indefinite:
            raise WireError("indefinite length outside of a SENML pack")
        if major in (2, 3) and argument != -1:
            position += argument
        elif major in (2, 3, 4, 5):
            left.append(argument if argument == -1 or major != 5 else 2 * argument)
        elif major == 6:
            left.append(1)
    return position


def _check_message(message: Any) -> None:
    if type(message) is not dict:
        raise WireError("the message is not a map")
    data, senml = _is_type(message, _DATA), _is_type(message, _SENML)
    for key, value in message.items():
        if type(key) is not int:
            raise WireError("a key of the message is not an integer")
        if type(value) in _SCALARS:
            continue
        if data and key in _COLUMN_KEYS:
            tags = _Tags.ANY
        else:
            tags = _Tags.DECIMAL if senml and key == _PACK_KEY else _Tags.NONE
        _check(value, 2, tags)


def _check(value: Any, depth: int, tags: _Tags) -> None:
    """Check depth, tags and simple values of an item that would be at `depth` if a container."""
    kind = type(value)
    if kind in _SCALARS:
        return
    if kind is CBORTag:
        if tags is _Tags.NONE or (tags is _Tags.DECIMAL and value.tag != DECIMAL_TAG):
            raise WireError(f"tag {value.tag} does not belong here")
        _check(value.value, depth, tags)
    elif kind in (list, tuple):
        _check_depth(depth)
        if value:
            _check_all(value, depth, tags)
    elif kind in (dict, cbor2.frozendict):
        _check_depth(depth)
        if value:
            _check_keys(value, depth, tags)
            _check_all(value.values(), depth, tags)
    else:
        raise WireError("an undefined or unknown simple value")


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise WireError(f"nested deeper than {MAX_DEPTH}")


def _check_all(items: Any, depth: int, tags: _Tags) -> None:
    if not _SCALARS.issuperset(map(type, items)):
        for item in items:
            _check(item, depth + 1, tags)


def _check_keys(keys: Any, depth: int, tags: _Tags) -> None:
    for key in keys:
        if type(key) is CBORTag:
            _check(key, depth + 1, tags)
        elif type(key) not in _SCALARS:
            raise WireError("a map key is neither a number nor a string")


def _encode_float(encoder: cbor2.CBOREncoder, value: Any) -> None:
    encoder.write(struct.pack(">Bd", 0xFB, value))


# Left alone, the encoder writes NaN and infinities as float16, which small devices cannot read.
_ENCODERS: Mapping[type, Callable[[cbor2.CBOREncoder, Any], Any]] = {float: _encode_float}


def encode(message: Mapping[int, Any]) -> bytes:
    """Encode a message of plain values: None, bool, int, float, str, bytes, lists and maps.

    Floats are always eight bytes. The only tags are those given on purpose as `cbor2.CBORTag`.
    Raises ValueError for anything else and for integers beyond 64 bits.
    """
    _check_plain(message)
    return cbor2.dumps(message, encoders=_ENCODERS)


def encode_numbers(message: Mapping[int, int]) -> bytes:
    """As `encode`, for a message of nothing but numbers from 0 to 2**64 - 1, and in less time."""
    return cbor2.dumps(message)


def _check_plain(value: Any) -> None:
    if isinstance(value, int):
        if not -(2**64) <= value < 2**64:
            raise ValueError("an integer beyond 64 bits")
    elif isinstance(value, CBORTag):
        _check_plain(value.value)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_plain(item)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _check_plain(key)
            _check_plain(item)
    elif type(value) not in _SCALARS:
        raise ValueError(f"{type(value).__name__} is not a plain value")
