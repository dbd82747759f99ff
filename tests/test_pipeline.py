"""The order of things, with all parts but the sockets."""

from pathlib import Path

import pytest

from gateway import pipeline, waiting
from gateway.core.closing import Closed
from gateway.core.readings import NS_PER_S
from gateway.core.windows import Windows
from tests.site import Machine, Probe, Site

MIDDLE = 1_790_000_005 * NS_PER_S
"""Five seconds into a window of ten."""


async def test_a_reading_is_not_late_because_it_waited_for_its_commit(tmp_path: Path) -> None:
    """Its window ends, and could have been closed, before the group that takes it is built."""
    machine = Machine(MIDDLE)
    async with Site(tmp_path, machine) as site:
        probe = Probe(site, "d", unix=True, ahead=0)
        await probe.hello()
        probe.send(1.0)
        await probe.acknowledged()
        probe.send(2.0)
        machine.pass_time(60)  # nothing is awaited since the reading was sent: it waits
        await probe.acknowledged()
        await site.turns()
        machine.pass_time(60)
        await site.turns()
        assert site.ask("SELECT n, rev FROM summary WHERE window = '10s'") == [(2, 1)]


async def test_a_commit_takes_a_bounded_part_of_much_that_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MOST_BYTES", 100)
    async with Site(tmp_path, Machine(MIDDLE)) as site:
        probes = [Probe(site, name, unix=True) for name in ("a", "b")]
        for probe in probes:
            await probe.hello()
        for n in range(10):  # nothing is awaited: all of it waits
            for probe in probes:
                probe.send(float(n))
        for probe in probes:
            await probe.acknowledged()
        assert site.ask("SELECT sum(readings) FROM journal") == [(20,)]
        ((rows, most),) = site.ask("SELECT count(*), max(readings) FROM journal")
        assert rows > most
        for n in range(10):
            probes[0].send(float(n))
    assert site.ask("SELECT sum(readings) FROM journal") == [(30,)]  # the end takes all that waits


async def test_windows_that_were_told_in_part_are_told_to_the_end_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "MOST_CLOSED", 1)
    machine = Machine(MIDDLE)
    async with Site(tmp_path, machine) as site:
        probes = [Probe(site, name, unix=True) for name in ("a", "b", "c")]
        for probe in probes:
            await probe.hello()
            probe.send(1.0)
            await probe.acknowledged()
        _tell_once(site.parts.windows)
        machine.pass_time(70)
        await site.until(lambda: site.ask("SELECT count(*) FROM summary") == [(1,)])
        settled = int(site.meta("watermark_ns") or 0)
        assert settled < machine.true - 60 * NS_PER_S
    assert site.ask("SELECT count(*) FROM summary") == [(1,)]
    async with Site(tmp_path, machine) as site:
        assert site.parts.windows.watermark == settled
        for probe in probes:
            await probe.hello(site)
            probe.send(2.0)
            await probe.acknowledged()
        await site.settled()
        await site.check()
        assert int(site.meta("watermark_ns") or 0) > settled
        told = site.ask(
            "SELECT device, window, json_extract(payload, '$.t0'), json_extract(payload, '$.rev')"
            " FROM events WHERE kind = 'summary'"
        )
        assert len(told) == len(set(told))
        assert site.ask("SELECT DISTINCT rev FROM summary") == [(1,)]


def _tell_once(windows: Windows) -> None:
    """Stop telling after the first summary, as a crash would."""
    close = windows.close

    def once(now: int, most: int | None = None) -> Closed:
        closed = close(now, most)
        if closed.summaries:
            windows.close = lambda *_: Closed([], [])  # type: ignore[method-assign]
        return closed

    windows.close = once  # type: ignore[method-assign]
