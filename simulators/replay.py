"""Pushes a recording, as fast as the gateway acknowledges it."""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from simulators import recording
from simulators.clocks import DeviceClock, true_now
from simulators.device import Device, Link
from simulators.packing import Packer, packed
from simulators.recording import Reading, RecordingError
from simulators.run import Options, http_session, run_devices
from simulators.spool import RamSpool
from simulators.tally import Tally
from simulators.tokens import Tokens

QUEUED = 64


class Replay:
    """Pushes a recording into the spools of its devices, as fast as it is acknowledged."""

    def __init__(
        self, path: Path, *, device: str | None = None, speed: float | None = None
    ) -> None:
        """Reads the whole file once: an error is found before anything is sent."""
        self._open: Callable[[], Iterator[Reading]] = lambda: recording.read(path, device=device)
        self._speed = speed
        self.readings = Counter(reading.device for reading in self._open())
        if not self.readings:
            raise RecordingError(f"{path} holds no readings")
        self.packers = {name: Packer() for name in self.readings}
        self.devices: dict[str, Device] = {}
        self.finished = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def join(
        self, *, http: ClientSession, link: Link, tally: Tally, tokens: Tokens
    ) -> list[Device]:
        """Make the devices of the recording."""
        for name, packer in self.packers.items():
            clock = DeviceClock(os.urandom(8), true_now())
            self.devices[name] = Device(
                name, packer, RamSpool(), clock=clock, http=http, link=link, tally=tally,
                token=tokens.of(name),
            )  # fmt: skip
        return list(self.devices.values())

    def start(self) -> None:
        self._task = asyncio.create_task(self._push(), name="replay")

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _push(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            begun, first = loop.time(), None
            for name, t, draft in packed(self._open(), self.packers):
                first = t if first is None else first
                if self._speed:
                    await asyncio.sleep(begun + (t - first) / 1e9 / self._speed - loop.time())
                device = self.devices[name]
                await _room(device, QUEUED)
                device.offer(draft)
            for device in self.devices.values():
                await _room(device, 1)
        finally:
            self.finished.set()


async def _room(device: Device, most: int) -> None:
    """Wait until fewer than `most` messages are queued."""
    while len(device.spool) >= most:
        device.freed.clear()
        await device.freed.wait()


async def run_replay(
    path: Path,
    *,
    url: str,
    tokens: Tokens,
    device: str | None = None,
    speed: float | None = None,
    scale: float = 1.0,
    options: Options,
) -> dict[str, Any]:
    """Replay a recording until all of it is acknowledged; the summary."""
    tally = Tally()
    replay = Replay(path, device=device, speed=speed)
    async with http_session() as http:
        devices = replay.join(http=http, link=Link(url, scale), tally=tally, tokens=tokens)
        return await run_devices(
            devices,
            tally,
            options=options,
            feeding=replay.start,
            starving=replay.stop,
            finished=replay.finished,
        )
