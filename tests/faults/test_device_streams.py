"""Takeovers, clones, old numbers with new bytes, and counters that went back."""

import asyncio
import itertools
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import aiohttp
import cbor2
import pytest

from tests.faults.devices import (
    HEAVY,
    MARK,
    begin,
    frame,
    healthy,
    hello,
    introduced,
    losses,
    metric,
    names,
    opened,
    reading,
    until,
    values,
)
from tests.processes import GatewayProcess
from tests.wire_client import WireClient, new_epoch

name = names("stream")
BEYOND = 2**64 - 1


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    process = begin(tmp_path_factory.mktemp("streams"))
    yield process
    assert process.stop() == 0


@pytest.fixture
def device(gateway: GatewayProcess) -> WireClient:
    return WireClient(gateway.link, name())


# -- takeover -------------------------------------------------------------------------------


async def test_a_takeover_drains_what_is_under_way(
    gateway: GatewayProcess, device: WireClient
) -> None:
    epoch = new_epoch()
    async with device, WireClient(gateway.link, device.device) as newer:
        await device.hello(epoch)
        await device.schema()
        for seq in range(1, 21):
            await device.send(reading(seq))
        end = asyncio.create_task(device.end())
        welcome = await newer.hello(epoch, 1, 20, x12={1: MARK})
        if 11 in welcome:
            await newer.schema()
        for seq in range(welcome[5] + 1, 21):
            await newer.send(reading(seq))
        if welcome[5] < 20:
            await newer.acked(20)
        assert await end == 4001
    assert sorted(values(gateway, device.device)) == [float(n) for n in range(1, 21)]
    await healthy(gateway)


async def test_the_gateway_closes_the_socket_only_after_the_device(gateway: GatewayProcess) -> None:
    """Who is cut off before it has read the close frame never learns the code (RFC 6455, 7.1.1)."""
    one, epoch = name(), new_epoch()
    cut = await asyncio.to_thread(introduced, gateway, one, epoch)
    async with WireClient(gateway.link, one) as newer:
        await newer.hello(epoch)
        heard = await asyncio.to_thread(cut.hear, b"a newer connection took over\x88")
        cut.socket.settimeout(0.3)
        with suppress(TimeoutError):
            while more := await asyncio.to_thread(cut.socket.recv, 4096):
                heard += more
            raise AssertionError("closed before the device had closed")
        assert struct.pack(">H", 4001) in heard
        cut.say(b"\x88\x82\x00\x00\x00\x00" + struct.pack(">H", 4001))
        cut.socket.settimeout(20)
        assert await asyncio.to_thread(cut.socket.recv, 4096) == b""
        cut.fin()
    await healthy(gateway)


async def test_whoever_is_taken_over_while_it_sends_learns_why(
    gateway: GatewayProcess, device: WireClient
) -> None:
    epoch, events = new_epoch(), itertools.count(1)

    async def flood() -> None:
        with suppress(aiohttp.ClientError, ConnectionError):
            while True:
                await device.send({0: 18, 1: next(events), 2: "x" * 500})
                await asyncio.sleep(0)

    for _ in range(20):
        async with device, WireClient(gateway.link, device.device) as newer:
            await device.hello(epoch := new_epoch())
            events = itertools.count(1)
            sending = asyncio.create_task(flood())
            await device.acked(1)
            await newer.send(hello(device.device, epoch, 1, 2**40))
            assert await device.end() in (4001, 4505)
            sending.cancel()
    await healthy(gateway)


async def test_twenty_takeovers_in_a_row_without_waiting(gateway: GatewayProcess) -> None:
    """Most are taken over while they are being settled; one wins, all others part."""
    one, epoch = name(), new_epoch()
    clients = [WireClient(gateway.link, one) for _ in range(20)]
    for client in clients:
        await client.__aenter__()
    for client in clients:
        await client.send(hello(one, epoch, 1, 1))
    ends = {asyncio.create_task(client.end()): client for client in clients}
    left = set(ends)
    while len(left) > 1:
        done, left = await asyncio.wait(left, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        assert {task.result() for task in done} == {4001}
    (reading_on,) = left
    reading_on.cancel()
    await asyncio.wait(left)
    last = ends[reading_on]
    await last.schema()
    await last.send(reading(1))
    assert (await last.acked(1))[2] == 1
    await healthy(gateway, links=1)
    for client in clients:
        await client.__aexit__()
    assert values(gateway, one) == [1.0]
    await healthy(gateway)


@pytest.mark.parametrize("how", ["rst", "fin"])
async def test_a_newer_connection_that_breaks_at_once_leaves_nobody_deaf(
    gateway: GatewayProcess, device: WireClient, how: str
) -> None:
    """The older one goes on if the HELLO got lost; otherwise it is told to come back."""
    epoch = new_epoch()
    for seq in range(1, 16):
        async with device:
            await device.hello(epoch, seq, seq - 1)
            cut = await asyncio.to_thread(opened, gateway)
            cut.say(frame(hello(device.device, epoch, seq, seq)))
            getattr(cut, how)()
            await device.send({0: 18, 1: seq, 2: "x"})
            if not await device.acked(seq):
                assert device.closed == 4001
        async with device:
            welcome = await device.hello(epoch, seq, seq)
            if welcome[5] < seq:
                await device.send({0: 18, 1: seq, 2: "x"})
                await device.acked(seq)
    await healthy(gateway)


async def test_a_newer_connection_that_is_refused_still_ends_the_older(
    gateway: GatewayProcess, device: WireClient
) -> None:
    epoch = new_epoch()
    async with device, WireClient(gateway.link, device.device) as newer:
        await device.hello(epoch)
        await device.schema()
        await device.send(reading(1))
        await device.acked(1)
        await newer.send(hello(device.device, epoch, 1, 1) | {12: {1: b"else"}})
        assert await newer.end() == 4500
        assert await device.end() == 4001
    await healthy(gateway)


async def test_two_clones_fight(gateway: GatewayProcess) -> None:
    """One name, one epoch, two devices that never give way: what is acknowledged is stored once."""
    one, epoch = name(), new_epoch()
    acked = [0, 0]
    sent = {"last": 0}

    async def clone(which: int) -> None:
        while True:
            with suppress(aiohttp.ClientError, ConnectionError):
                async with WireClient(gateway.link, one) as client:
                    await visit(client, which)

    async def visit(client: WireClient, which: int) -> None:
        last = sent["last"]
        welcome = await client.hello(epoch, 1, last, x12={1: MARK})
        if not welcome or welcome[4] == 3:
            return
        acked[which] = max(acked[which], welcome[5])
        if 11 in welcome or welcome[5] == 0:
            await client.schema()
        for seq in range(welcome[5] + 1, min(welcome[5] + 6, welcome[6] + 1)):
            sent["last"] = max(sent["last"], seq)
            await client.send(reading(seq))
            ack = await client.acked(seq)
            if not ack:
                return
            acked[which] = max(acked[which], ack[2])

    with suppress(TimeoutError):
        async with asyncio.timeout(20.0 if HEAVY else 3.0), asyncio.TaskGroup() as fight:
            fight.create_task(clone(0))
            fight.create_task(clone(1))
    await healthy(gateway)
    stored = Counter(values(gateway, one))
    assert max(acked) > 5
    assert set(stored.values()) == {1}
    assert set(range(1, max(acked) + 1)) <= set(stored) <= set(range(1, sent["last"] + 1))


# -- numbers --------------------------------------------------------------------------------


async def test_the_first_bytes_under_a_number_stay(
    gateway: GatewayProcess, device: WireClient
) -> None:
    epoch = new_epoch()
    async with device:
        await device.hello(epoch)
        await device.schema()
        await device.send(reading(1, 1.0))
        await device.send(reading(1, 2.0))
        await device.acked(1)
        await device.send(reading(1, 3.0))
        assert (await device.receive(3))[2] == 1
    async with device:
        await device.hello(epoch, 1, 1)
        await device.send(reading(1, 4.0))
        assert (await device.receive(3))[2] == 1
    assert values(gateway, device.device) == [1.0]


async def test_a_counter_that_went_back_goes_on_in_a_new_epoch(
    gateway: GatewayProcess, device: WireClient
) -> None:
    epoch = new_epoch()
    async with device:
        await device.hello(epoch)
        await device.schema()
        for seq in (1, 2, 3):
            await device.send(reading(seq))
        await device.acked(3)
    async with device:
        refused = await device.hello(epoch, 1, 2)
        assert (refused[4], refused[5], refused[6]) == (3, 3, 0)
        welcome = await device.hello(new_epoch(), 1, 2)
        assert (welcome[4], welcome[5]) == (1, 0)
        await device.schema()
        await device.send(reading(1, 10.0))
        await device.send(reading(2, 20.0))
        assert (await device.acked(2))[2] == 2
    assert values(gateway, device.device) == [1.0, 2.0, 3.0, 10.0, 20.0]


async def test_a_second_hello_cannot_name_another_device(
    gateway: GatewayProcess, device: WireClient
) -> None:
    epoch = new_epoch()
    async with device:
        await device.hello(epoch)
        await device.send({0: 18, 1: 1, 2: "x"})
        await device.acked(1)
    async with device:
        assert (await device.hello(epoch, 1, 0))[4] == 3
        await device.send(hello(name(), new_epoch()))
        assert await device.end() == 4500


async def test_more_epochs_than_are_kept(gateway: GatewayProcess, device: WireClient) -> None:
    epochs = [new_epoch() for _ in range(10)]
    for n, epoch in enumerate(epochs):
        async with device:
            assert (await device.hello(epoch))[4] == 1
            await device.schema()
            await device.send(reading(1, float(n)))
            await device.acked(1)
    async with device:
        assert (await device.hello(epochs[-1], 2, 1))[4] == 0
    async with device:
        welcome = await device.hello(epochs[0], 2, 1)
        assert (welcome[4], welcome[5]) == (1, 1)
    assert values(gateway, device.device) == [float(n) for n in range(10)]


async def test_a_jump_of_the_oldest_is_a_loss(gateway: GatewayProcess, device: WireClient) -> None:
    epoch = new_epoch()
    async with device:
        await device.hello(epoch)
        await device.send({0: 18, 1: 1, 2: "x"})
        await device.acked(1)
    async with device:
        welcome = await device.hello(epoch, 1000, 1001)
        assert (welcome[4], welcome[5]) == (2, 999)
        await device.send({0: 18, 1: 1000, 2: "x"})
        assert (await device.acked(1000))[2] == 1000
    assert losses(gateway, device.device) == [(2, 999)]


async def test_a_gap_first_then_one_past_the_limit_then_one_that_overlaps(
    gateway: GatewayProcess, device: WireClient
) -> None:
    epoch = new_epoch()
    async with device:
        welcome = await device.hello(epoch, 1, 900)
        far = welcome[6] + 500
        await device.send({0: 20, 1: 1, 2: 3, 3: 1, 4: 7})
        await device.send({0: 20, 1: 4, 2: far, 3: 1})
        assert (await device.acked(far))[2] == far
        await device.send({0: 20, 1: 2, 2: far, 3: 1})
        assert (await device.receive(3))[2] == far
        await device.send({0: 20, 1: far - 5, 2: far + 5, 3: 1})
        assert (await device.acked(far + 5))[2] == far + 5
    assert losses(gateway, device.device) == [(1, 3), (4, far), (far + 1, far + 5)]


async def test_a_gap_that_begins_past_the_limit(device: WireClient) -> None:
    async with device:
        welcome = await device.hello(new_epoch(), 1, 900)
        last = welcome[6] + 10
        await device.send({0: 20, 1: 1, 2: last, 3: 1})
        await device.send({0: 20, 1: last + 1, 2: last + 1, 3: 1})
        assert await device.end() == 4505


# -- numbers that nothing can hold ----------------------------------------------------------


@pytest.mark.parametrize("more", [{8: BEYOND}, {11: BEYOND}, {10: [bytes(8), BEYOND]}])
async def test_a_hello_with_an_absurd_number_is_malformed(
    gateway: GatewayProcess, device: WireClient, more: dict[int, object]
) -> None:
    async with device:
        await device.send(hello(device.device, new_epoch()) | more)
        assert await device.end() == 4500
    await healthy(gateway)


@pytest.mark.parametrize("message", [{0: 4, 2: BEYOND}, {0: 9, 2: BEYOND}])
async def test_an_absurd_clock_or_position_is_malformed(
    gateway: GatewayProcess, device: WireClient, message: dict[int, object]
) -> None:
    async with device:
        await device.hello(new_epoch())
        await device.socket.send_bytes(cbor2.dumps(message))
        assert await device.end() == 4500
    await healthy(gateway)


async def test_a_gap_with_an_absurd_count_is_rejected_and_the_rest_goes_on(
    gateway: GatewayProcess, device: WireClient
) -> None:
    async with device:
        await device.hello(new_epoch())
        await device.send({0: 20, 1: 1, 2: 1, 3: 0, 4: BEYOND})
        await device.send({0: 20, 1: 2, 2: 2, 3: BEYOND})
        await device.send({0: 18, 1: 3, 2: BEYOND, 3: BEYOND})
        assert (await device.acked(3))[2] == 3
    await until(lambda: metric(gateway, "gateway_links") == 0)
    found = gateway.get(f"/api/devices/{device.device}/rejected")["rejected"]
    assert sorted(row["seq"] for row in found) == [1, 2]
