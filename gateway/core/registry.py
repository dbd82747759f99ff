"""What the gateway knows of its devices, held in memory; a fold over the store.

The registry gives out all row numbers, so that a commit only writes what was decided here.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from gateway.core.clock import BootClock
from gateway.core.columns import Layout
from gateway.core.downlink import Downlink
from gateway.core.facts import Loss
from gateway.core.readings import SeriesKey
from gateway.core.series import Panel, Series

LOSSES_SHOWN = 20
STREAMS_KEPT = 8


@dataclass(slots=True)
class Stream:
    """The sequence space that one epoch of a device names; `committed` is on disk."""

    id: int
    device: "Device"
    epoch: bytes
    committed: int
    touched: int
    boot: bytes = b""
    layouts: dict[int, Layout] = field(default_factory=dict)
    schema_ids: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Device:
    """A device by name: its rights, its presence, its streams and clocks.

    unplaced: boots of which readings are stored whose time is unknown yet;
    placed: boots whose unknown readings were given a time, which must never change again.
    panels: which series the metrics of messages alike are. units: how often one of its series
    changed its unit.
    """

    id: int
    name: str
    token_hash: str | None = None
    disabled: bool = False
    speaks_for_others: bool = False
    state: str = "offline"
    since: int = 0
    until: int | None = None
    last_seen: int = 0
    config_version: int | None = None
    config: Any = None
    applied_version: int | None = None
    window: int = 0
    lost_readings: int = 0
    rejected: int = 0
    clock_error_ns: int | None = None
    removed: bool = False
    stream: Stream | None = None
    downlink: Downlink = field(default_factory=Downlink)
    streams: dict[bytes, Stream] = field(default_factory=dict)
    boots: dict[bytes, BootClock] = field(default_factory=dict)
    unplaced: set[bytes] = field(default_factory=set)
    placed: set[bytes] = field(default_factory=set)
    losses: deque[Loss] = field(default_factory=lambda: deque(maxlen=LOSSES_SHOWN))
    series: list[Series] = field(default_factory=list)
    panels: dict[object, Panel] = field(default_factory=dict)
    units: int = 0


class Registry:
    """Devices, streams and series by the names that messages use."""

    def __init__(self) -> None:
        self.devices: dict[str, Device] = {}
        self.by_id: dict[int, Device] = {}
        self.by_token: dict[str, Device] = {}
        self.streams: dict[int, Stream] = {}
        self.series: dict[SeriesKey, Series] = {}
        self.series_by_id: dict[int, Series] = {}
        self._counters: dict[str, Iterator[int]] = {}

    def begin_numbers(self, highest: dict[str, int]) -> None:
        """Go on numbering the rows of each table after the highest number ever used."""
        self._counters = {table: count(number + 1) for table, number in highest.items()}

    def number(self, table: str) -> int:
        """The next free row number of a table; never given out twice."""
        return next(self._counters[table])

    def add_device(self, device: Device) -> Device:
        self.devices[device.name] = device
        self.by_id[device.id] = device
        if device.token_hash and not device.removed:
            self.by_token[device.token_hash] = device
        return device

    def take_device(self, number: int, name: str) -> Device:
        """The device of that name, added under `number` if it is new."""
        return self.devices.get(name) or self.add_device(Device(number, name))

    def change_token(self, device: Device, token_hash: str | None) -> None:
        if device.token_hash:
            self.by_token.pop(device.token_hash, None)
        device.token_hash = token_hash
        if token_hash:
            self.by_token[token_hash] = device

    def add_stream(self, stream: Stream) -> Stream:
        self.streams[stream.id] = stream
        stream.device.streams[stream.epoch] = stream
        return stream

    def forget_stream(self, stream: Stream) -> None:
        self.streams.pop(stream.id, None)
        stream.device.streams.pop(stream.epoch, None)

    def add_series(self, series: Series) -> Series:
        self.series[series.key] = series
        series.device.series.append(series)
        self.series_by_id[series.id] = series
        return series

    def surplus_streams(self, newest: Stream) -> list[Stream]:
        """The least recently used streams of its device beyond the eight that are kept.

        `newest` stays, even if the clock was set back since the others were used.
        """
        others = [stream for stream in newest.device.streams.values() if stream is not newest]
        others.sort(key=lambda stream: stream.touched)
        return others[: max(0, len(others) + 1 - STREAMS_KEPT)]

    def fresh(self) -> list[Device]:
        """Every device of which something is to be sent upstream."""
        return list(
            {series.device.id: series.device for series in self.newest() if series.fresh}.values()
        )

    def newest(self) -> Iterator[Series]:
        """Every series that has a reading."""
        return (series for series in self.series_by_id.values() if series.panel is not None)
