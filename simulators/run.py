"""Runs devices until they are done, the time is up or somebody says stop."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, TCPConnector

from simulators.device import Device
from simulators.progress import Progress, write_summary
from simulators.tally import Tally

DRAIN_S = 2.0
LOOK_S = 0.02
TICK_S = 0.5
STOP_S = 5.0
CONNECTS_PER_S = 400


@dataclass(frozen=True, slots=True)
class Options:
    """What all commands of `simulate` share."""

    quiet: bool = False
    duration_s: float | None = None
    summary: Path | None = None


def http_session() -> ClientSession:
    """One client for all devices: as many sockets as they like, nothing kept between them."""
    return ClientSession(connector=TCPConnector(limit=0), raise_for_status=False)


async def run_devices(
    devices: Sequence[Device],
    tally: Tally,
    *,
    options: Options,
    feeding: Callable[[], Any],
    starving: Callable[[], Any],
    finished: asyncio.Event | None = None,
    note: str = "",
) -> dict[str, Any]:
    """Run all devices; the summary.

    `feeding` is called when they start, `starving` when nothing more shall be measured.
    """
    stop = finished or asyncio.Event()
    async with AsyncExitStack() as stack:
        stack.callback(_obey_signals(stop))
        progress = stack.enter_context(Progress(devices, tally, quiet=options.quiet))
        if note:
            progress.note(note)
        watching = asyncio.create_task(_watch(progress), name="progress")
        feeding()
        runs = [asyncio.create_task(_start(d, i), name=d.name) for i, d in enumerate(devices)]
        try:
            await _until(stop, runs, options.duration_s)
            starving()
            await _drain(devices)
        finally:
            await _end(devices, runs)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    whole = progress.finish()
    if options.summary is not None:
        write_summary(options.summary, whole, devices)
    return whole


def _obey_signals(stop: asyncio.Event) -> Callable[[], None]:
    """Ctrl-C and SIGTERM set `stop`; what comes back undoes that."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    with suppress(NotImplementedError, RuntimeError, ValueError):
        for number in signals:
            loop.add_signal_handler(number, stop.set)

    def undo() -> None:
        for number in signals:
            loop.remove_signal_handler(number)

    return undo


async def _watch(progress: Progress) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        progress.update()


async def _start(device: Device, index: int) -> None:
    """Thousands of devices do not all knock in the same instant."""
    await asyncio.sleep(index / CONNECTS_PER_S)
    await device.run()


async def _until(
    stop: asyncio.Event, runs: Sequence[asyncio.Task[None]], duration_s: float | None
) -> None:
    """Wait for the end; a device that failed (its disk, say) ends the run with its error."""
    waiting = asyncio.create_task(stop.wait(), name="stop")
    tasks = {waiting, *runs}
    done, _ = await asyncio.wait(tasks, timeout=duration_s, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    for task in done - {waiting}:
        task.result()


async def _drain(devices: Sequence[Device]) -> None:
    """Give what was sent a moment to be acknowledged."""
    for _ in range(round(DRAIN_S / LOOK_S)):
        if not any(device.connected and len(device.spool) for device in devices):
            return
        await asyncio.sleep(LOOK_S)


async def _end(devices: Sequence[Device], runs: Sequence[asyncio.Task[None]]) -> None:
    for device in devices:
        device.stop()
    _, hanging = await asyncio.wait(runs, timeout=STOP_S) if runs else (set(), set())
    for task in hanging:
        task.cancel()
    await asyncio.gather(*runs, return_exceptions=True)
    for device in devices:
        device.spool.close()
