"""What was measured: notes of one run, and the medians, spreads and ratios of them."""

import statistics
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

Figures = dict[str, Any]


class Notes:
    """Figures by part, cell and subject; one set of figures for each round."""

    def __init__(self, found: dict[str, Any] | None = None) -> None:
        self.all: dict[str, dict[str, dict[str, list[Figures]]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(list))
        )
        for part, cells in (found or {}).items():
            for cell, subjects in cells.items():
                for subject, rounds in subjects.items():
                    self.all[part][cell][subject] = rounds

    def add(self, part: str, cell: str, subject: str, **figures: Any) -> None:
        self.all[part][cell][subject].append(figures)

    def series(self, part: str, cell: str, subject: str, key: str) -> list[float]:
        """One figure, round by round; empty if it was not measured."""
        rounds = self.all.get(part, {}).get(cell, {}).get(subject, [])
        return [each[key] for each in rounds if each.get(key) is not None]

    def median(self, part: str, cell: str, subject: str, key: str) -> float | None:
        found = self.series(part, cell, subject, key)
        return statistics.median(found) if found else None

    def spread(self, part: str, cell: str, subject: str, key: str) -> float:
        """Greatest less least, by the median."""
        found = self.series(part, cell, subject, key)
        middle = statistics.median(found) if found else 0
        return (max(found) - min(found)) / middle if middle else 0.0

    def ratio(self, part: str, cell: str, ours: str, theirs: str, key: str) -> float | None:
        """The median of the ratios of all rounds."""
        pairs = zip(
            self.series(part, cell, ours, key), self.series(part, cell, theirs, key), strict=False
        )
        found = [a / b for a, b in pairs if b]
        return statistics.median(found) if found else None

    def cells(self, part: str) -> Iterator[tuple[str, list[str]]]:
        """Every cell of a part, and the subjects measured in it."""
        for cell, subjects in self.all.get(part, {}).items():
            yield cell, list(subjects)
