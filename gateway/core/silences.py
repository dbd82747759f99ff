"""Who has not been heard of for too long, by the monotonic clock; O(1) whenever one is heard."""

import heapq
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Silences(Generic[Key]):
    """Those that are to be heard of every `after` ns."""

    def __init__(self, after: int) -> None:
        self._after = after
        self._heard: dict[Key, int] = {}
        self._silent: set[Key] = set()
        self._due: list[tuple[int, int, Key]] = []
        self._order = 0

    def __contains__(self, key: Key) -> bool:
        return key in self._heard

    def hear(self, key: Key, mono: int) -> bool:
        """`key` is heard of at `mono` (ns), or excused until then; say whether it was silent."""
        new = key not in self._heard
        self._heard[key] = max(mono, self._heard.get(key, mono))
        ended = key in self._silent
        if ended:
            self._silent.discard(key)
        if new or ended:
            self._wait(key, mono + self._after)
        return ended

    def silent(self, mono: int) -> Iterator[Key]:
        """Those that have just been silent for so long; each is told once, till it is heard."""
        while self._due and self._due[0][0] <= mono:
            _, _, key = heapq.heappop(self._due)
            deadline = self._heard[key] + self._after
            if deadline > mono:
                self._wait(key, deadline)
            else:
                self._silent.add(key)
                yield key

    def recall(self, key: Key, mono: int) -> None:
        """`key` was silent already when the gateway stopped."""
        self._heard[key] = mono
        self._silent.add(key)

    def _wait(self, key: Key, deadline: int) -> None:
        self._order += 1
        heapq.heappush(self._due, (deadline, self._order, key))
