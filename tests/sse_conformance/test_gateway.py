"""What our own gateway promises about coming back, as a process that may be killed."""

import asyncio
import time

import pytest

from gateway.core.sse import parse_id
from tests.events import Client, stand, summary
from tests.processes import GatewayProcess
from tests.site import Machine, Probe, Site
from tests.sse_conformance.server import OWN, ours, told

pytestmark = pytest.mark.usefixtures("only_ours")

BIG = "x" * 12_000
TRUE = time.time_ns()


@pytest.mark.case(15, 16)
async def test_hello_tells_where_the_log_begins_and_ends(gateway: GatewayProcess) -> None:
    server = ours(gateway)
    async with server.ask() as stream:
        hello, *_, snapshot = await stream.until("snapshot")
    assert hello.name == "hello"
    oldest, newest = parse_id(hello.json["oldest"]), parse_id(hello.json["newest"])
    assert oldest is not None
    assert newest is not None
    assert oldest.epoch == newest.epoch == hello.json["epoch"]
    assert oldest.seq <= newest.seq <= snapshot.seq
    async with server.ask(cursor="nonsense") as stream:
        names = [event.name for event in await stream.until("snapshot")]
    assert names == ["hello", "gap", "snapshot"]


@pytest.mark.case(19)
async def test_a_replay_of_more_than_2_mib_is_one_gap_and_a_snapshot(
    gateway: GatewayProcess,
) -> None:
    server = ours(gateway, device="big")
    async with server.ask() as stream:
        first, *_ = await server.cause(stream, 1)
    await server.publish(*[BIG] * 180)
    async with server.ask(cursor=first.id) as stream:
        hello, gap, snapshot = await stream.until("snapshot")
        assert [event.name for event in (hello, gap, snapshot)] == ["hello", "gap", "snapshot"]
        assert (gap.json["reason"], gap.json["asked"]) == ("bound", first.id)
        assert gap.json["resume"] == snapshot.id
        assert (await server.cause(stream, 1))[0].seq > snapshot.seq
    narrow = ours(gateway, device="narrow")
    async with narrow.ask(cursor=first.id, query="device=narrow&kind=alert") as stream:
        await narrow.publish("not much")
        assert [event.name for event in await stream.take(2)] == ["hello", "alert"]


@pytest.mark.case(21)
async def test_a_filter_may_change_between_two_connections(gateway: GatewayProcess) -> None:
    one, other = ours(gateway, device="one"), ours(gateway, device="other")
    async with one.ask() as witness:
        seen = await one.cause(witness, 2)
        seen += await other.cause(witness, 2)
        seen += await one.cause(witness, 2)
    async with one.ask(cursor=seen[0].id, query="device=other&kind=alert") as stream:
        found = await one.take(stream, 1)
    mine = [event for event in seen if event.name == "alert" and event.json["dev"] == "other"]
    assert told(found) == told(mine[:1])
    async with one.ask(cursor=found[0].id, query="kind=alert") as stream:
        rest = [event for event in seen if event.seq > found[0].seq and event.name == "alert"]
        assert told(await one.take(stream, len(rest))) == told(rest)


@pytest.mark.case(23)
async def test_no_id_that_was_seen_ever_means_something_else(alone: GatewayProcess) -> None:
    """Killed while it publishes, thrice: what was seen is there again, what is new is above it."""
    seen: dict[str, str] = {}
    last = None
    for turn in range(3):
        server = ours(alone, device=f"turn-{turn}")
        async with server.ask(cursor=last) as stream:
            publishing = asyncio.create_task(server.publish(*map(str, range(300))))
            for event in await server.take(stream, 100):
                assert seen.setdefault(event.id, event.data) == event.data
                last = event.id
            alone.kill()
            await asyncio.gather(publishing, return_exceptions=True)
            while True:
                try:
                    event = await stream.next()
                except (EOFError, OSError):
                    break
                if server.logged(event):
                    seen[event.id] = event.data
        alone.start()
    first = next(iter(seen))
    async with server.ask(cursor=first) as stream:
        again = {event.id: event.data for event in await server.take(stream, len(seen) - 1)}
    assert [*seen.items()][1:] == [*again.items()]


@pytest.mark.case(25)
async def test_ids_rise_although_the_clock_steps_back(tmp_path) -> None:
    async with Site(tmp_path, Machine(TRUE)) as site:
        heads = [site.parts.hub.live.head]
        for step in (0, -600, -7200):
            site.machine.wrong += step * 10**9
            await Probe(site, f"d{-step}", unix=True).hello()
            await site.until(lambda: site.parts.hub.live.head > heads[-1])
            heads.append(site.parts.hub.live.head)
        events = await site.store.events_after(0, 1000)
    ids = [event.id for event in events]
    assert ids == sorted(set(ids))
    assert ids[-1] == heads[-1]


@pytest.mark.case(26)
async def test_since_begins_at_a_time(gateway: GatewayProcess) -> None:
    server = ours(gateway, device="since")
    async with server.ask(query="device=since&kind=alert") as stream:
        old = await server.cause(stream, 2)
        await asyncio.sleep(0.05)
        now = time.time() * 1000
        await asyncio.sleep(0.05)
        new = await server.cause(stream, 2)
    assert old
    async with server.ask(query=f"device=since&kind=alert&since={now:.3f}") as stream:
        assert told(await server.take(stream, 2)) == told(new)
    async with server.ask(query=f"device=since&kind=alert&since={now + 3_600_000:.0f}") as stream:
        assert [event.name for event in await stream.take(2)] == ["hello", "heartbeat"]
        assert told(await server.cause(stream, 1))
    async with server.ask(query="since=5") as stream:
        assert (await stream.take(2))[1].json["reason"] == "bound"
    for wrong in ("", "soon", "-1", "1e3", "inf"):
        async with server.ask(query=f"since={wrong}") as stream:
            await stream.answer()
            assert stream.code == 400


@pytest.mark.case(38)
async def test_a_slow_disk_holds_up_replays_and_not_what_is_live() -> None:
    async with stand([summary(seq) for seq in range(1, 50)]) as there:
        live = await Client.open(there.port)
        await live.until("snapshot")
        released, pages = asyncio.Event(), there.log.events_after

        async def slowly(after, limit, *, until=None):
            await released.wait()
            return await pages(after, limit, until=until)

        there.log.events_after = slowly
        cursor = {"Last-Event-ID": f"{there.hub._epoch}-10"}
        behind = [await Client.open(there.port, headers=cursor) for _ in range(3)]
        for client in behind:
            await client.until("hello")
        for seq in range(50, 150):
            there.publish(summary(seq))
            assert (await live.next()).seq == seq
        released.set()
        for client in behind:
            found = [event for event in await client.take(139) if event.name not in OWN]
            assert [event.seq for event in found] == list(range(11, 150))
