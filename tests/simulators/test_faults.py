"""Every fault on demand, against the scripted gateway; nothing acknowledged is ever sent anew."""

import random
from typing import Any

import pytest

from gateway.core import cbor
from gateway.core.columns import read_data
from gateway.core.layouts import read_schema
from gateway.core.messages import Data, to_map
from gateway.core.readings import Clock, Timebase
from gateway.errors import Rejected
from simulators.faults import Faults, Pranks, poison
from simulators.kinds import KINDS
from simulators.spool import RamSpool
from tests.simulators.parts import reading, running, settled

N = 30


def pranks(**chances: Any) -> Pranks:
    return Pranks(Faults(**chances), random.Random(4), scale=0.0)


def values(end: Any) -> list[float]:
    return [m.columns[0] for m in end.taken(Data) if isinstance(m.columns[0], float)]


async def play(make: Any, end: Any, **chances: Any) -> Any:
    device = make(mischief=pranks(**chances))
    for value in range(N):
        device.offer(reading(float(value)))
    async with running(device):
        await settled(device)
    return device


@pytest.mark.parametrize("fault", ["drop", "half_open", "takeover", "reboot"])
async def test_whatever_ends_a_connection_each_message_is_committed_once(make, end, fault):
    device = await play(make, end, **{fault: 0.2})
    assert values(end) == [float(v) for v in range(N)]
    assert len(end.calls) > 2
    assert device.counts.reconnects == len(end.calls) - 1
    assert not end.errors


async def test_a_reboot_is_another_boot_in_the_same_epoch(make, end):
    await play(make, end, reboot=0.2)
    hellos = [call.hellos[0] for call in end.calls]
    assert len({hello.boot for hello in hellos}) == len(hellos)
    assert len({hello.epoch for hello in hellos}) == 1


async def test_duplicates_reach_the_gateway_and_change_nothing(make, end):
    await play(make, end, duplicate=0.5)
    assert len(end.duplicates) > 3
    assert values(end) == [float(v) for v in range(N)]


async def test_broken_bytes_end_the_connection_with_4500(make, end):
    device = await play(make, end, broken=0.2)
    assert {error.close_code for error in end.errors} == {4500}
    assert values(end) == [float(v) for v in range(N)]
    assert 1 <= device.counts.reconnects <= len(end.errors)


async def test_takeover_leaves_the_old_socket_open(make, end):
    device = make(mischief=pranks(takeover=1.0))
    device.offer(reading())
    async with running(device):
        await end.until(lambda: len(end.calls) == 2 and end.calls[1].states)
        assert not end.calls[0].ws.closed


@pytest.mark.parametrize("stale", [True, False])
async def test_a_lost_counter_never_hides_new_messages(make, end, stale):
    device = make()
    device.loses_counter = True
    device.rng.random = lambda: 0.0 if stale else 1.0
    for value in range(3):
        device.offer(reading(float(value)))
    async with running(device):
        await settled(device)
        epoch = device.spool.epoch
        device.crash()
        await end.until(lambda: len(end.calls) == 2 and end.calls[1].states[-1:] == [1])
        device.offer(reading(9.0))
        await settled(device)
    assert end.calls[1].states == ([3, 1] if stale else [1])
    assert device.spool.epoch != epoch
    assert values(end) == [0.0, 1.0, 2.0, 9.0]


async def test_a_stale_epoch_is_not_claimed_once_numbers_were_given_out(make, end):
    device = make()
    device.loses_counter = True
    device.rng.random = lambda: 0.0
    epoch = device.spool.epoch
    device.offer(reading(1.0))
    device.reboot()
    assert device.counts.forgotten == 1
    device.offer(reading(2.0))
    async with running(device):
        await settled(device)
    assert end.calls[0].hellos[0].epoch != epoch
    assert values(end) == [2.0]


@pytest.mark.parametrize("name", ["greenhouse", "power", "vibration"])
def test_poison_is_well_formed_and_would_be_rejected(name):
    rng = random.Random(2)

    class Holder:
        body = KINDS[name](1, start=0)

    layout = read_schema(Holder.body.schemas[1])
    for _ in range(40):
        message = poison(Holder, rng).message
        cbor.decode(cbor.encode(to_map(message)))
        with pytest.raises(Rejected):
            read_data(
                message, layout, device="d", timebase=Timebase(Clock.DEVICE),
                latest=2 * 10**18,
            )  # fmt: skip


async def test_malformed_messages_are_queued_like_others(make, end):
    device = make(mischief=pranks(malformed=0.3), spool=RamSpool(1000))
    for value in range(10):
        device.offer(reading(float(value)))
    async with running(device):
        await end.until(lambda: len(end.committed) >= 12)
    assert values(end)[:10] == [float(v) for v in range(10)]
