"""Series, and the newest reading of each.

A device reads many series at the same time, and again and again: those are a panel, which holds
their newest readings together. Most messages then change one panel instead of every series.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.core.readings import INT64_MAX, Clock, SeriesKey

if TYPE_CHECKING:
    from gateway.core.registry import Device


@dataclass(slots=True, eq=False)
class Series:
    """One metric of a device. head: how the JSON of its summaries begins, once there was one."""

    id: int
    device: "Device"
    key: SeriesKey
    unit: str
    head: str = ""
    panel: "Panel | None" = None
    """Holds its newest reading; None before the first."""
    place: int = 0

    @property
    def t(self) -> int | None:
        """Of the newest reading (ns UTC); None if that is unknown."""
        return None if self.panel is None else self.panel.t

    @property
    def value(self) -> Any:
        return None if self.panel is None else self.panel.values[self.place]

    @property
    def clock(self) -> Clock:
        return Clock.UNKNOWN if self.panel is None else self.panel.clock

    @property
    def fresh(self) -> bool:
        """Whether its newest reading was not sent upstream yet."""
        return self.panel is not None and self.panel.fresh

    @property
    def unsettled(self) -> bool:
        """Whether its newest reading is not stored beside the series yet."""
        return self.panel is not None and self.panel.unsettled

    def gives_way(self, t: int | None, latest: int) -> bool:
        """Whether a reading at `t` would be the newest one."""
        return self.panel is None or self.panel.gives_way(t, latest)


class Panel:
    """Series, at least one, that are read at the same times.

    numbers: their row ids. t (None if unknown), values, clock: the newest reading of those that it
    holds; whole: of all. fresh: that was not sent upstream yet; unsettled: nor stored beside the
    series. checked: how many changes of units their device had when these were compared.
    """

    __slots__ = (
        "checked",
        "clock",
        "fresh",
        "numbers",
        "series",
        "t",
        "unsettled",
        "values",
        "whole",
    )

    def __init__(self, series: Sequence[Series]) -> None:
        self.series = tuple(series)
        self.numbers = tuple([one.id for one in self.series])
        self.t: int | None = None
        self.values: Sequence[Any] = ()
        self.clock = Clock.UNKNOWN
        self.fresh = self.unsettled = False
        self.checked = -1
        self.whole = False

    def gives_way(self, t: int | None, latest: int) -> bool:
        """Whether a reading at `t` is newer, or as new; one after `latest` gives way to any."""
        return self.t is None or self.t > latest or (t is not None and t >= self.t)

    def learn(
        self, t: int | None, values: Sequence[Any], clock: Clock, *, latest: int = INT64_MAX
    ) -> None:
        """Take readings, one of each series, as the newest ones where no newer one is known.

        One after `latest` (ns) came while nobody knew the time: it gives way to any.
        """
        if self.whole:
            if self.gives_way(t, latest):
                self._set(t, values, clock)
        elif all(one.gives_way(t, latest) for one in self.series):
            self._gather()
            self._set(t, values, clock)
        else:
            for one, value in zip(self.series, values, strict=True):
                if one.gives_way(t, latest):
                    Panel((one,)).learn(t, (value,), clock, latest=latest)

    def _set(self, t: int | None, values: Sequence[Any], clock: Clock) -> None:
        self.t, self.values, self.clock = t, values, clock
        self.fresh = self.unsettled = True

    def _gather(self) -> None:
        """Take all series over from the panels that hold them."""
        for place, one in enumerate(self.series):
            if one.panel is not None:
                one.panel.whole = False
            one.panel, one.place = self, place
        self.whole = True
