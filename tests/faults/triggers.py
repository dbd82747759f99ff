"""How the campaign makes a gateway reach each named step. A new group of steps needs a row here."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.crashpoints import STEPS, VARIABLE
from tests.faults.blocks import put
from tests.faults.campaign import CONFIG, Report, Scene
from tests.processes import PATIENCE_S

OLD_EVENTS = 35_000
REACHED_S = 45.0


@dataclass(frozen=True, slots=True)
class Trigger:
    """prepare: what must be on disk (called while the gateway is stopped, after a first run).

    config: more lines of configuration. ending: end the gateway with SIGTERM, which must reach
    the step. command: a command (arguments after `gateway`; DATA and CONFIG are replaced) that
    reaches it in a process of its own, `running`: beside the gateway. fresh: the first start of
    all reaches it. nth: at which times to crash.
    """

    nth: tuple[int, ...] = (1,)
    config: str = ""
    prepare: Callable[[Path], None] = lambda _: None
    ending: bool = False
    command: tuple[str, ...] = ()
    running: bool = True
    fresh: bool = False


def age_events(database: Path) -> None:
    """Put events of the day before yesterday into the log, under numbers that follow."""
    conn = sqlite3.connect(database)
    with conn:
        (newest,) = conn.execute("SELECT coalesce(max(id), 0) FROM event").fetchone()
        t = int(time.time() * 1000) - 2 * 86_400_000
        for n in range(newest + 1, newest + OLD_EVENTS, 100):
            rows = [[m, t, "alert", "old", None, None, '{"v":1}'] for m in range(n, n + 100)]
            put(conn, "event", rows)
    conn.close()


def age_journal(database: Path) -> None:
    """Let the journal be two hours old, so that compacting it is due."""
    conn = sqlite3.connect(database)
    with conn:
        conn.execute("UPDATE journal SET received = received - 7200000")
    conn.close()


TRIGGERS: dict[str, Trigger] = {
    "open": Trigger(),
    "migrate": Trigger(nth=(1, 2), fresh=True),
    "commit": Trigger(nth=(2, 40)),
    "prune": Trigger(nth=(1, 3), prepare=age_events),
    "compact": Trigger(prepare=age_journal),
    "retain": Trigger(config="max_size_mb = 1\n", prepare=age_events),
    "vacuum": Trigger(config="max_size_mb = 1\n", prepare=age_events),
    "close": Trigger(ending=True),
}


def group_of(step: str) -> str:
    return step.partition(".")[0]


def cases(group: str, *, long: bool = False) -> list[tuple[str, int]]:
    """Every step of the group with each time at which to crash (short form: the last of them).

    KeyError: the group has no trigger.
    """
    nth = TRIGGERS[group].nth if long else TRIGGERS[group].nth[-1:]
    return [(step, n) for step in STEPS if group_of(step) == group for n in nth]


async def crash_at_all(folder: Path, group: str, *, seed: int = 1, long: bool = False) -> Report:
    """Die at each step of the group in turn, on one store; check after each, and at the end."""
    if TRIGGERS[group].fresh:
        return await _crash_fresh(folder, group, seed, long=long)
    trigger, report = TRIGGERS[group], Report()
    scene = Scene(folder, seed, config=CONFIG + trigger.config)
    try:
        await _first_run(scene, trigger)
        async with scene.load():
            for step, nth in cases(group, long=long):
                await _die(scene, trigger, f"{step}:{nth}")
                report.verdict.found += (await scene.check()).found
                report.attacks["crash points"] += 1
            await asyncio.to_thread(scene.gateway.start)
            await asyncio.sleep(0.5)
        assert await asyncio.to_thread(scene.gateway.stop) == 0
    finally:
        scene.gateway.kill()
    report.add(await scene.check(), **scene.counted())
    return report


async def _crash_fresh(folder: Path, group: str, seed: int, *, long: bool) -> Report:
    """Each step in a folder of its own, since only the first start reaches it."""
    report = Report()
    for step, nth in cases(group, long=long):
        place = folder / str(len(list(folder.iterdir())))  # a socket's path must be short
        place.mkdir()
        scene = Scene(place, seed)
        try:
            await _die(scene, TRIGGERS[group], f"{step}:{nth}")
            await asyncio.to_thread(scene.gateway.start)
            async with scene.load(subscribers=False):
                await asyncio.sleep(0.5)
                scene.gateway.kill()
        finally:
            scene.gateway.kill()
        report.add(await scene.check(), **{"crash points": 1})
    return report


async def _first_run(scene: Scene, trigger: Trigger) -> None:
    """Something is on disk already, some of it committed by a run that was killed."""
    await asyncio.to_thread(scene.gateway.start)
    async with scene.load(subscribers=False):
        await asyncio.sleep(0.7)
        scene.gateway.kill()
    trigger.prepare(scene.database)


async def _die(scene: Scene, trigger: Trigger, at: str) -> None:
    env = {VARIABLE: at}
    gateway = scene.gateway
    if trigger.command:
        if trigger.running:
            await asyncio.to_thread(gateway.start)
            await asyncio.sleep(0.7)
        names = {"DATA": str(scene.database.parent), "CONFIG": str(gateway.config)}
        asked = [names.get(word, word) for word in trigger.command]
        run = [sys.executable, "-m", "gateway", *asked]
        code = await asyncio.to_thread(
            subprocess.call, run, env={**os.environ, **env}, timeout=PATIENCE_S
        )
        assert code == -signal.SIGKILL, f"{asked} did not reach {at}"
        gateway.kill()
        return
    gateway.launch(env=env)
    process = gateway.process
    assert process is not None
    if trigger.ending:
        await asyncio.to_thread(gateway.wait_until_ready)
        await asyncio.sleep(0.7)
        process.send_signal(signal.SIGTERM)
    code = await asyncio.to_thread(process.wait, REACHED_S)
    assert code == -signal.SIGKILL, f"ended with {code} instead of dying at {at}"
    gateway.process = None
