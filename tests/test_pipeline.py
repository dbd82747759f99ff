"""The order of things, with all parts but the sockets."""

from pathlib import Path

from gateway.core.readings import NS_PER_S
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
