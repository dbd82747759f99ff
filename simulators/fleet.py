"""Many made-up devices in one process."""

import os
import random
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import click
from aiohttp import ClientSession

from simulators.clocks import DeviceClock, true_now
from simulators.device import Device, Link
from simulators.faults import TINY_SPOOL, Faults, Pranks
from simulators.feed import Feed
from simulators.kinds import KINDS, Kind
from simulators.kinds.base import NS
from simulators.run import Options, http_session, run_devices
from simulators.spool import RamSpool
from simulators.tally import Tally
from simulators.tokens import Tokens

DEFAULT_MIX = {
    "greenhouse": 3, "weather": 2, "power": 3, "vibration": 1, "door": 1, "soil": 1, "logger": 1,
}  # fmt: skip
BACKLOG_CAPACITY = 200_000


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """What fleet to build."""

    devices: int
    mix: Mapping[str, int] = field(default_factory=lambda: dict(DEFAULT_MIX))
    rate: float = 1.0
    seed: int = 1
    capacity: int = 10_000
    url: str = "ws://127.0.0.1:8080/link"
    scale: float = 1.0
    faults: Faults = field(default_factory=Faults)

    @property
    def spool_capacity(self) -> int:
        if self.faults.overflow:
            return TINY_SPOOL
        return max(self.capacity, BACKLOG_CAPACITY if self.faults.backlog_s else 0)


def parse_mix(text: str | None) -> dict[str, int]:
    """`greenhouse=2,power=1` as a mapping; a kind without a number counts once."""
    if text is None:
        return dict(DEFAULT_MIX)
    mix = {}
    for part in text.split(","):
        kind, _, share = part.strip().partition("=")
        if kind not in KINDS:
            raise click.UsageError(f"--mix: no kind {kind!r}; there are {', '.join(KINDS)}")
        if share and not (share.isdecimal() and int(share)):
            raise click.UsageError(f"--mix: {part.strip()!r} needs a whole number from 1")
        mix[kind] = int(share or 1)
    return mix


def names(plan: FleetPlan) -> list[str]:
    """Device ids such as `greenhouse-1`, `weather-1`, `greenhouse-2`, dealt out by the mix."""
    dealt: dict[str, int] = dict.fromkeys(plan.mix, 0)
    found = []
    for _ in range(plan.devices):
        kind = min(plan.mix, key=lambda k: (dealt[k] + 1) / plan.mix[k])
        dealt[kind] += 1
        found.append(f"{kind}-{dealt[kind]}")
    return found


def build(
    name: str, plan: FleetPlan, *, http: ClientSession, tally: Tally, token: str | None
) -> Feed:
    """One device with its measuring; the same name and seed make the same device."""
    seed = zlib.crc32(name.encode()) ^ (plan.seed * 0x9E3779B1 & 0xFFFFFFFF)
    rng = random.Random(seed)
    faults = plan.faults
    begin = true_now() - round(faults.backlog_s * NS)
    kind = KINDS[name.rpartition("-")[0]](seed, start=begin, rate=plan.rate)
    device = Device(
        name,
        kind,
        RamSpool(plan.spool_capacity),
        clock=_clock(kind, faults, begin=begin, rng=rng),
        http=http,
        link=Link(plan.url, plan.scale),
        tally=tally,
        token=token,
        mischief=Pranks(faults, rng, scale=plan.scale) if faults.any_prank else None,
        rng=rng,
    )
    device.loses_counter = faults.lose_counter
    return Feed(kind, device)


def _clock(kind: Kind, faults: Faults, *, begin: int, rng: random.Random) -> DeviceClock:
    """A device that has been up for a while when its readings begin."""
    uptime = rng.randrange(60, 30 * 86_400) * NS
    return DeviceClock(
        os.urandom(8),
        begin - uptime,
        since=begin,
        unix=not (kind.clockless or faults.no_clock),
        skew_ns=round(faults.skew_s * NS),
        drift=faults.drift_ppm * 1e-6,
    )


async def run_fleet(plan: FleetPlan, *, tokens: Tokens, options: Options) -> dict[str, Any]:
    """Run a fleet until stopped; the summary."""
    tally = Tally()
    async with http_session() as http:
        feeds = [
            build(name, plan, http=http, tally=tally, token=tokens.of(name)) for name in names(plan)
        ]

        def start() -> None:
            for feed in feeds:
                feed.start()

        def stop() -> None:
            for feed in feeds:
                feed.stop()

        return await run_devices(
            [feed.device for feed in feeds],
            tally,
            options=options,
            feeding=start,
            starving=stop,
        )
