"""Events as bytes for many subscribers at once."""

from collections.abc import Sequence

from gateway.core import sse
from gateway.core.backlog import Item
from gateway.core.filters import Filter

SLICE = 16 * 1024
"""So many bytes are written at a time: more would hold up the others."""


class Parcel:
    """The events of one publish that one kind of subscriber gets: framed once, shared by all."""

    def __init__(
        self, items: Sequence[Item], where: Filter, *, text: bool, chunked: bool, head: int
    ) -> None:
        self.head = head
        self.slices: list[tuple[list[Item], bytes]] = []
        self._text = text
        self._chunked = chunked
        self._cut([item for item in items if where.matches(item.event)])

    def _cut(self, items: Sequence[Item]) -> None:
        some: list[Item] = []
        size = 0
        for item in items:
            some.append(item)
            size += len(item.render(text=self._text))
            if size >= SLICE:
                self._add(some)
                some, size = [], 0
        if some:
            self._add(some)

    def _add(self, items: list[Item]) -> None:
        data = b"".join(item.render(text=self._text) for item in items)
        self.slices.append((items, sse.frame(data, chunked=self._chunked)))
