"""Readings whose time was unknown are placed in time as soon as their boot's clock is known."""

import asyncio
import logging
from collections.abc import AsyncIterator
from functools import partial
from typing import Protocol

from gateway.core import facts as f
from gateway.core.clock import Now
from gateway.core.group import Folding, Group
from gateway.core.readings import NS_PER_S, Batch, Clock
from gateway.core.registry import Device
from gateway.errors import StoreError
from gateway.pipeline import Pipeline

log = logging.getLogger(__name__)

LOOK = 5 * NS_PER_S


class Store(Protocol):
    """What placing reads."""

    def unplaced(self, device: int, boot: bytes) -> AsyncIterator[Batch]:
        """The stored readings of that boot whose time is unknown."""


class Placing:
    """Gives stored readings their time, once and for all."""

    def __init__(self, *, store: Store, pipeline: Pipeline) -> None:
        self._store = store
        self._pipeline = pipeline
        self._tasks: set[asyncio.Task[None]] = set()
        self._looked = 0

    def tick(self, group: Group) -> None:
        """Place what waited for the gateway's own clock, or for a disk that could not be read."""
        if not group.now.sure or group.now.mono - self._looked < LOOK:
            return
        self._looked = group.now.mono
        for device in group.registry.devices.values():
            for boot in device.unplaced & device.boots.keys():
                self.begin(device, boot, now=group.now)

    def begin(self, device: Device, boot: bytes, *, now: Now) -> None:
        """From now on the boot's clock is known; what it sent before is placed beside the flow.

        `now` must be sure.
        """
        offset = device.boots[boot].offset(now)
        assert offset is not None
        device.unplaced.discard(boot)
        device.placed.add(boot)
        task = asyncio.create_task(self._place(device, boot, offset), name="placing")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _place(self, device: Device, boot: bytes, offset: int) -> None:
        await self._pipeline.submit(_barrier)
        try:
            found = [item async for item in self._store.unplaced(device.id, boot)]
        except StoreError as error:
            log.error("readings of unknown time stay unplaced for now: %s", error)
            device.unplaced.add(boot)
            return
        await self._pipeline.submit(partial(_settle, device, boot, offset, found))
        log.info(
            "placed readings in time",
            extra={"device": device.name, "readings": sum(map(len, found))},
        )


def _barrier(group: Group) -> None:
    """Ends when everything that was built before is durable."""


def _settle(device: Device, boot: bytes, offset: int, found: list[Batch], group: Group) -> None:
    """The boot's mapping, the windows that need a revision, and the open windows' share."""
    group.add(f.BootSeen(device.id, boot.hex(), offset, None, group.now.ms))
    for batch in found:
        for column in batch.columns:
            series = group.registry.series[column.key]
            placed = column._replace(t=column.t + offset)
            group.late((series.id,), placed.t)
            folding = Folding.of(series, placed, Clock.MAPPED)
            if (known := folding.readings()) is not None:
                group.after += [partial(group.windows.fold, [known]), folding.learn]
