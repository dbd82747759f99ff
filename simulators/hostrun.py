"""Runs this machine as a device."""

import asyncio
import os
from pathlib import Path
from typing import Any

from simulators.clocks import DeviceClock, true_now
from simulators.device import Device, Link
from simulators.diskspool import DiskSpool
from simulators.host import NO_SENSORS, Host, default_state, host_id
from simulators.memory import Memory
from simulators.run import Options, http_session, run_devices
from simulators.tally import Tally
from simulators.tokens import Tokens


class Metronome:
    """Measures at a steady pace, on the grid of the interval."""

    def __init__(self, host: Host, device: Device, *, interval_s: float) -> None:
        self._host = host
        self._device = device
        self._interval_s = interval_s
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._device.offer(self._host.started())
        self._due = asyncio.get_running_loop().time()
        self._tick()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._device.offer(self._host.measure())
        self._due = max(self._due + self._interval_s, loop.time())
        self._timer = loop.call_at(self._due, self._tick)


async def run_host(
    name: str | None,
    *,
    url: str,
    tokens: Tokens,
    state: Path | None = None,
    interval_s: float = 1.0,
    scale: float = 1.0,
    options: Options,
) -> dict[str, Any]:
    """Send what this machine measures until stopped; what is not acknowledged stays on disk."""
    name = name or host_id()
    folder = state or default_state()
    spool = DiskSpool(folder / f"{name}.spool", fsync=True)
    memory = Memory(folder / f"{name}.json")
    host, tally = Host(), Tally()
    async with http_session() as http:
        device = Device(
            name,
            host,
            spool,
            clock=DeviceClock(os.urandom(8), true_now()),
            http=http,
            link=Link(url, scale),
            tally=tally,
            memory=memory,
            token=tokens.of(name),
        )
        metronome = Metronome(host, device, interval_s=interval_s)
        return await run_devices(
            [device],
            tally,
            options=options,
            feeding=metronome.start,
            starving=metronome.stop,
            note="" if host.sensors else NO_SENSORS,
        )
