"""Messages alike: recognised by their bytes, decoded together.

A device sends the same message over and over, with other numbers in it. Once one was read the
usual way, its `Shape` knows which bytes stay the same and where the numbers stand. Messages that
fit a shape need no parser of their own: they wait as a `Burst`, and `decode` turns all bursts of a
shape into arrays at once. Whatever does not fit, or holds a value that must be looked at more
closely, goes the usual way (`core.columns`, `core.senml`), with the same result.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

from gateway.core.data_shapes import DataShape, data_spans
from gateway.core.frames import row_at
from gateway.core.messages import Data, Senml
from gateway.core.pack_shapes import pack_shape
from gateway.core.shapes import Burst, Shape

MOST_KNOWN = 1024
MOST_SHAPES = 32
MOST_IN_VAIN = 255
ENOUGH = 32_768
"""So many readings are decoded at once."""
TOGETHER = 4
"""Frames from which on arrays are faster."""

_KNOWN: dict[bytes, Shape] = {}
"""Devices of one make share a shape, so that their messages can be decoded together."""


def shape_of(raw: bytes, message: Data | Senml) -> Shape | None:
    """The shape of a message that was read; None if such messages must be read one by one."""
    if isinstance(message, Senml):
        return _known(pack_shape(raw, message))
    spans = data_spans(raw, message)
    return None if spans is None else _known(DataShape(raw, message, spans))


def _known(shape: Shape | None) -> Shape | None:
    if shape is None:
        return None
    if len(_KNOWN) >= MOST_KNOWN:
        _KNOWN.clear()
    return _KNOWN.setdefault(shape.pattern, shape)


class Found(NamedTuple):
    """n messages of one shape, joined, numbered from `first` on. step: the size of a frame."""

    shape: Shape
    first: int
    n: int
    messages: bytes
    step: int


class Shapes:
    """The shapes that one connection has used lately."""

    def __init__(self) -> None:
        self._by_size: dict[int, Shape] = {}
        self._plain = 0
        self._in_vain = 0

    def one(self, raw: bytes, step: int = 0) -> Found | None:
        """A message that fits a shape."""
        shape = self._by_size.get(len(raw))
        number = 0 if shape is None else shape.number(raw)
        return Found(shape, number, 1, raw, step) if shape is not None and number else None

    def find(self, data: bytes, at: int) -> Found | None:
        """The messages in the frames that begin at `at`, as far as they fit one shape and are
        numbered one by one.
        """
        row = row_at(data, at)
        shape = None if row is None else self._by_size.get(row.size)
        if row is None or shape is None:
            return None
        if not row.goes_on(data, TOGETHER):
            return self.one(row.first(data), row.step)
        block = row.open(data)
        first, count = shape.run(block)
        return Found(shape, first, count, block[:count].tobytes(), row.step) if count else None

    def learn(self, raw: bytes, message: Data | Senml) -> None:
        """A message was read the usual way; learn its shape if that was not done too often.

        Where messages have no shape it is tried ever more rarely.
        """
        self._plain += 1
        if self._plain <= len(self._by_size) + self._in_vain:
            return
        self._plain = 0
        if len(self._by_size) >= MOST_SHAPES:
            self._by_size.clear()
        shape = shape_of(raw, message)
        if shape is None:
            self._in_vain = min(2 * self._in_vain + 1, MOST_IN_VAIN)
        else:
            self._in_vain = 0
            self._by_size[shape.size] = shape


def decode(bursts: Iterable[Burst], *, latest: int) -> None:
    """Set `decoded` of each burst, unless one of its messages has to be looked at by itself.

    latest: the greatest permitted time (ns UTC) of readings whose time is known.
    """
    alike: dict[tuple[Shape, Hashable], list[Burst]] = {}
    for burst in bursts:
        alike.setdefault((burst.shape, burst.shape.key(burst)), []).append(burst)
    for (shape, _), several in alike.items():
        for some in _portions(several):
            shape.decode(some, latest=latest)


def _portions(bursts: Sequence[Burst]) -> Iterator[Sequence[Burst]]:
    """Some at a time: arrays of all readings would be large, and live as long as any of them."""
    begin = size = 0
    most = ENOUGH // bursts[0].shape.readings
    for end, burst in enumerate(bursts, 1):
        size += burst.count
        if size > most:
            yield bursts[begin:end]
            begin, size = end, 0
    if begin < len(bursts):
        yield bursts[begin:]
