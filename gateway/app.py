"""The gateway's life: how it comes up again, runs, and goes."""

import asyncio
import gc
import logging
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any

from gateway import restore
from gateway.aftercare import until_damaged
from gateway.config import Config
from gateway.core.clock import Now
from gateway.disk import Ballast
from gateway.errors import StoreCorrupt, StoreFull, StoreUnavailable
from gateway.gauges import measure
from gateway.parts import Parts
from gateway.pipeline import Pipeline
from gateway.serving import serve
from gateway.store import Opened
from gateway.store.connect import reset_bug_warning
from gateway.store.sqlite import SqliteStore
from gateway.systemd import Notifier

log = logging.getLogger(__name__)

DATABASE = "gateway.db"
WATCH_S = 5.0
GC_THRESHOLDS = (20_000, 20, 50)


def machine_clock() -> Now:
    """The machine's clocks; the monotonic one goes on while the machine sleeps."""
    return Now(time.time_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME))


async def run(
    config: Config,
    *,
    sockets: Sequence[socket.socket] | None = None,
    machine: Callable[[], Now] = machine_clock,
) -> None:
    """Run the gateway until SIGTERM or SIGINT; `machine` reads the machine's clocks.

    Raises StoreError if the store cannot be opened, OSError if the address cannot be bound.
    """
    notifier = Notifier()
    stop = _stop_signals()
    config.gateway.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    parts = await _restored(config, machine)
    _remark(config)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(parts.store.close)
        stack.callback(parts.rescue.close)
        stack.callback(parts.authority.passwords.close)
        measure(parts)
        await parts.disk.look()
        address = await serve(parts, sockets=sockets, stack=stack)
        async with asyncio.TaskGroup() as tasks:
            lives = _lives(parts, notifier)
            running = [tasks.create_task(life, name=name) for name, life in lives.items()]
            tasks.create_task(parts.pipeline.run(), name="pipeline")
            bridge = parts.forwarding.bridge
            bridging = None if bridge is None else tasks.create_task(bridge.run(), name="bridge")
            _spare_the_collector()
            notifier.ready(f"listening on {address}")
            log.info("listening", extra={"url": address})
            await stop.wait()
            notifier.stopping()
            log.info("stopping")
            await _farewell(parts)
            if bridging is not None:
                await bridging
            parts.forwarding.acks.hurry = True
            parts.pipeline.stop()
            for task in running:
                task.cancel()
        await parts.pipeline.finish()
    log.info("stopped; everything acknowledged is on disk")


# -- coming up ------------------------------------------------------------------------------


async def _restored(config: Config, machine: Callable[[], Now]) -> Parts:
    """All parts, as they were; a second try if the database proves damaged."""
    ballast = Ballast(config.gateway.data_dir / "ballast")
    parts = await _built(config, machine, ballast)
    try:
        await _folded(parts)
    except StoreCorrupt as error:
        log.error("%s: the database is set aside", error)
        parts = await _built(config, machine, ballast)
        await _folded(parts)
    return parts


async def _built(config: Config, machine: Callable[[], Now], ballast: Ballast) -> Parts:
    database = config.gateway.data_dir / DATABASE
    store = SqliteStore(database, durability=config.store.durability)
    opened = await _open(store, ballast)
    return Parts(config, store=store, opened=opened, ballast=ballast, machine=machine)


async def _open(store: SqliteStore, ballast: Ballast) -> Opened:
    """Open the store; on a full disk in the room of the ballast."""
    try:
        return await store.open()
    except (StoreFull, StoreUnavailable):
        if not ballast.free():
            raise
    return await store.open()


async def _folded(parts: Parts) -> None:
    try:
        await fold(parts)
    except BaseException:
        parts.rescue.close()
        await parts.store.close()
        raise


async def fold(parts: Parts) -> None:
    """Fold again what open windows need from the disk."""
    opened = parts.opened
    settled, newest = int(opened.meta.get("settled_row", 0)), opened.highest["journal"]
    begun = time.monotonic()
    await restore.fold(
        parts.store, parts.registry, parts.windows, settled=settled, judging=parts.alerts
    )
    if newest > settled:
        parts.pipeline.folded(newest)
    log.info(
        "folded the stored readings",
        extra={
            "from_row": settled + 1,
            "to_row": newest,
            "seconds": round(time.monotonic() - begun, 3),
            "clean": opened.clean,
        },
    )


def _remark(config: Config) -> None:
    """Say what people should know from the start."""
    if (warning := reset_bug_warning()) is not None:
        log.info(warning)
    if config.mqtt.home_assistant:
        log.warning("[mqtt] home_assistant has no effect yet: nothing is announced")


# -- running and going ----------------------------------------------------------------------


def _lives(parts: Parts, notifier: Notifier) -> dict[str, Coroutine[Any, Any, None]]:
    """What runs until the end, by name."""
    return {
        "aftercare": parts.aftercare.run(unclean=not parts.opened.clean),
        "damage": until_damaged(parts.store.damaged),
        "upkeep": parts.upkeep.run(),
        "compactor": parts.compactor.run(),
        "disk": parts.disk.run(),
        "watchdog": _watch(notifier, parts.pipeline),
    }


async def _watch(notifier: Notifier, pipeline: Pipeline) -> None:
    """Feed systemd's watchdog as long as the pipeline turns."""
    period = notifier.watchdog_interval or WATCH_S
    seen = -1
    while True:
        if pipeline.turns != seen:
            seen = pipeline.turns
            notifier.alive()
        await asyncio.sleep(period / 2 if notifier.watchdog_interval else WATCH_S)


async def _farewell(parts: Parts) -> None:
    """Tell devices and subscribers that the gateway goes, before anything is closed."""
    if parts.forwarding.bridge is not None:
        parts.forwarding.bridge.stop()
    parts.links.close()
    await parts.hub.close()


def _spare_the_collector() -> None:
    """Let garbage be looked for less often, and not among what stays until the end.

    A full collection stops everything for as long as it takes to look at all objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _stop_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
