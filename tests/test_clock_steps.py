"""The machine's clock is wrong, in all the ways in which it can be: nothing is harmed by it."""

import asyncio
from pathlib import Path

import pytest

from gateway.core.facts import OutboxDone, OutboxPut
from gateway.core.readings import NS_PER_MS, NS_PER_S
from gateway.core.timekeeping import DAY, EARLIEST, HOUR
from tests.site import Machine, Probe, Site

TRUE = EARLIEST + 800 * DAY + 17 * NS_PER_S
YEAR = 365 * DAY
CLOSE = 5 * NS_PER_MS


async def measure(site: Site, *probes: Probe, seconds: int = 12, begin: float = 0.0) -> None:
    """Each device sends a reading a second."""
    for i in range(seconds):
        for k, probe in enumerate(probes):
            probe.send(begin + i + k / 8)
        await asyncio.gather(*(probe.acknowledged() for probe in probes))
        site.machine.pass_time(1)
    await site.turns(1)


async def connected(site: Site, name: str, *, unix: bool = False, ahead: int = 0) -> Probe:
    probe = Probe(site, name, unix=unix, ahead=ahead)
    await probe.hello()
    return probe


async def assert_at_true_times(site: Site, *probes: Probe) -> None:
    """Every reading is stored once, at the time at which it was measured."""
    stored = await site.readings()
    for probe in probes:
        rows = sorted(stored[probe.name])
        assert [v for _, v in rows] == [v for _, v in probe.sent]
        for (t, _), (true, _) in zip(rows, probe.sent, strict=True):
            assert abs(t - probe.ahead - true) <= CLOSE


async def run_long(site: Site) -> None:
    """Two hours have passed since the start: the clock is settled."""
    for _ in range(8):
        site.machine.pass_time(900)
        site.parts.clock()
    await site.turns()


async def pass_hour(site: Site) -> None:
    """An hour and a bit, the clock being looked at all the time."""
    for _ in range(61):
        site.machine.pass_time(60)
        site.parts.clock()
    await site.turns()


@pytest.fixture
def machine() -> Machine:
    return Machine(TRUE)


async def test_boot_in_1970_until_the_time_is_known(tmp_path: Path, machine: Machine) -> None:
    machine.wrong = 60 * NS_PER_S - machine.true
    async with Site(tmp_path, machine) as site:
        clockless, timed = await connected(site, "m"), await connected(site, "u", unix=True)
        await measure(site, clockless, timed)
        assert site.parts.registry.devices["m"].unplaced == {clockless.boot}
        assert (clockless.rejected, timed.rejected) == ([], [])
        assert site.meta("clock_ms") is None
        machine.wrong = 0
        await measure(site, clockless, timed, begin=100.0)
        assert site.parts.registry.devices["m"].unplaced == set()
        await site.settled()
        await assert_at_true_times(site, clockless, timed)
        await site.check()
        assert len(site.parts.revisions) == 0
        assert site.parts.windows.held == 0
        trusted = site.meta("clock_ms")
        assert trusted is not None
        assert abs(int(trusted) * NS_PER_MS - machine.true) < 601 * NS_PER_S


async def test_ten_years_ahead_and_back_while_running(tmp_path: Path, machine: Machine) -> None:
    async with Site(tmp_path, machine) as site:
        await run_long(site)
        clockless, timed = await connected(site, "m"), await connected(site, "u", unix=True)
        await acknowledge_upstream(site, hours_ago=20)
        await measure(site, clockless, timed)
        machine.wrong = 10 * YEAR
        await measure(site, clockless, timed, begin=100.0)
        clockless.sync()
        await site.parts.upkeep._round()
        machine.wrong = 0
        await measure(site, clockless, timed, begin=200.0)
        await site.settled()
        await assert_at_true_times(site, clockless, timed)
        await site.check()
        await site.parts.upkeep._round()
        assert site.ask("SELECT id FROM outbox") == [(1,), (2,)]
        assert site.parts.windows.watermark < machine.true
        machine.pass_time(4 * 3600)
        await site.parts.upkeep._round()
        assert site.ask("SELECT id FROM outbox") == [(2,)]


@pytest.mark.parametrize("years", [-1, 10])
async def test_a_clock_that_insists_on_another_year(
    tmp_path: Path, machine: Machine, years: int
) -> None:
    """What was measured before stays where it was; what comes after is right by the new clock."""
    async with Site(tmp_path, machine) as site:
        await run_long(site)
        clockless = await connected(site, "m")
        await acknowledge_upstream(site, hours_ago=20)
        await measure(site, clockless)
        await site.settled()
        machine.wrong = years * YEAR
        await pass_hour(site)
        assert site.parts.clock().sure
        await clockless.hello()
        await measure(site, clockless, begin=100.0)
        await site.settled()
        await site.check()
        rows = (await site.readings())["m"]
        for i, ((t, v), (true, sent)) in enumerate(zip(rows, clockless.sent, strict=True)):
            assert v == sent
            assert abs(t - true - (i >= 12) * years * YEAR) <= CLOSE
        machine.pass_time(22 * 3600)
        await site.parts.upkeep._round()
        assert site.ask("SELECT id FROM outbox") == [(1,), (2,)]


async def test_a_restart_in_the_past_that_is_repaired(tmp_path: Path, machine: Machine) -> None:
    async with Site(tmp_path, machine) as site:
        await run_long(site)
        kept, replaced = await connected(site, "kept"), await connected(site, "new")
        await measure(site, kept, replaced)
        await site.settled()
    machine.reboot(off=2 * HOUR, wrong=-machine.true)
    async with Site(tmp_path, machine) as site:
        replaced.boot, replaced.booted = bytes(8), machine.true
        assert [await probe.hello(site) for probe in (kept, replaced)] == [12, 12]
        await measure(site, kept, replaced, begin=100.0)
        assert not site.parts.clock().sure
        assert site.parts.clock().unix > TRUE
        assert site.parts.registry.devices["kept"].unplaced == set()
        assert site.parts.registry.devices["new"].unplaced == {bytes(8)}
    machine.reboot(off=60 * NS_PER_S, wrong=-machine.true)
    async with Site(tmp_path, machine) as site:
        assert [await probe.hello(site) for probe in (kept, replaced)] == [24, 24]
        await measure(site, kept, replaced, begin=200.0)
        machine.wrong = 0
        await measure(site, kept, replaced, begin=300.0)
        await site.settled()
        await assert_at_true_times(site, kept, replaced)
        await site.check()
        assert site.parts.windows.held == 0


async def test_a_device_in_the_future(tmp_path: Path, machine: Machine) -> None:
    """Turned away by a gateway that knows the time; harmless to all others if it does not."""
    machine.wrong = -machine.true
    async with Site(tmp_path, machine) as site:
        fast = await connected(site, "fast", unix=True, ahead=3 * YEAR)
        timed = await connected(site, "u", unix=True)
        await measure(site, fast, timed)
        assert fast.rejected == []
        machine.wrong = 0
        fast.ahead += HOUR
        await measure(site, fast, timed, begin=100.0)
        assert fast.rejected == list(range(13, 25))
        await site.settled()
        await assert_at_true_times(site, timed)
        await site.check()
        assert len((await site.readings())["fast"]) == 12
        assert len(site.parts.revisions) > 0
        assert site.parts.windows.held == 0
        fast.ahead = 0
        await measure(site, fast, begin=200.0)
        newest = {one.device.name: one.value for one in site.parts.registry.newest()}
        assert newest["fast"] == 211.0


async def test_the_watermark_ran_ahead(tmp_path: Path, machine: Machine) -> None:
    """After a start in the future every window is closed already; yet each is summarised once."""
    machine.wrong = 100 * DAY
    async with Site(tmp_path, machine) as site:
        timed = await connected(site, "u", unix=True)
        await measure(site, timed)
        machine.wrong = 0
        await pass_hour(site)
        assert site.parts.clock().sure
        await measure(site, timed, begin=100.0)
        await site.until(lambda: not site.parts.revisions._ripe())
        await measure(site, timed, begin=200.0)
        await site.settled()
        await site.check()
        assert site.parts.windows.watermark > machine.true + 99 * DAY
        assert {rev for (rev,) in site.ask("SELECT rev FROM summary WHERE window = '1m'")} == {1}


async def acknowledge_upstream(site: Site, *, hours_ago: int) -> None:
    """Outbox rows that the broker acknowledged; they may be deleted 24 h later."""
    t = site.parts.clock().ms - hours_ago * 3_600_000
    for number in (1, 2):  # the newest row of a table always stays
        put = OutboxPut(number, t, "a", b"", False, None, 0, False, None, False, "{}")
        await site.store.commit([put])
        await site.store.commit([OutboxDone(done=t + number, id=number)])
