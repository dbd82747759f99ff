"""The event stream against a real server and raw sockets."""

import asyncio
import json
import random
import tracemalloc
from contextlib import suppress

import httpx
import httpx_sse
import pytest

from gateway.core.live import Newest
from gateway.hub import Limits
from tests.events import EPOCH, NOW, Client, alert, stand, status, summary

ROOMY = Limits(clients=2000, clients_per_address=2000)


def ident(seq: int) -> str:
    return f"{EPOCH}-{seq}"


async def joined(port: int, query: str = "", **more) -> Client:
    """A client that has seen its snapshot."""
    client = await Client.open(port, query, **more)
    await client.until("snapshot")
    return client


async def eventually(condition) -> None:
    """Let the server run until something is so (the test's own time limit ends a failure)."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


# -- the beginning --------------------------------------------------------------------------


async def test_a_new_client_gets_hello_a_snapshot_and_then_what_happens():
    async with stand([summary(1), status(2), alert(3)]) as there:
        client = await Client.open(there.port)
        hello, snapshot = await client.take(2)
        assert hello.name == "hello"
        assert hello.own_id is None
        assert hello.json == {
            "v": 1,
            "epoch": EPOCH,
            "oldest": ident(1),
            "newest": ident(3),
            "heartbeat_s": 15.0,
            "now": NOW + 60_000,
            "gateway": "gw-1",
        }
        assert snapshot.name == "snapshot"
        assert snapshot.own_id == ident(3)
        assert [len(snapshot.json[key]) for key in ("summaries", "status", "alerts")] == [1, 1, 1]
        assert snapshot.json["more"] is False
        there.publish(summary(4), status(5))
        first, second = await client.take(2)
        assert (first.name, first.id) == ("summary", ident(4))
        assert (second.name, second.id) == ("status", ident(5))
        assert client.parser.comments == ["ok"]
        assert 2000 <= client.parser.retry <= 5000


async def test_the_headers_keep_proxies_from_holding_the_stream_back():
    async with stand() as there:
        client = await Client.open(there.port, headers={"Accept-Encoding": "gzip"})
        await client.head()
        assert client.status == "HTTP/1.1 200 OK"
        assert client.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert client.headers["cache-control"] == "no-store, no-transform"
        assert client.headers["x-accel-buffering"] == "no"
        assert client.headers["x-content-type-options"] == "nosniff"
        assert "content-encoding" not in client.headers


async def test_an_empty_gateway_shows_an_empty_snapshot():
    async with stand() as there:
        hello, snapshot = await (await Client.open(there.port)).take(2)
        assert (hello.json["oldest"], hello.json["newest"]) == (ident(0), ident(0))
        assert snapshot.json["summaries"] == []
        assert snapshot.own_id == ident(0)
        client = await Client.open(there.port, headers={"Last-Event-ID": ident(0)})
        await client.next()
        there.publish(summary(1))
        assert (await client.next()).name == "summary"


async def test_a_large_snapshot_comes_in_chunks_and_only_the_last_has_an_id():
    events = [summary(seq, metric=f"m{seq}") for seq in range(1, 450)] + [alert(450)]
    async with stand(events) as there:
        client = await Client.open(there.port)
        chunks = (await client.take(4))[1:]
        assert [chunk.own_id for chunk in chunks] == [None, None, ident(450)]
        assert [chunk.json["more"] for chunk in chunks] == [True, True, False]
        assert sum(len(chunk.json["summaries"]) for chunk in chunks) == 449


async def test_snapshot_0_begins_live_with_a_cursor():
    async with stand([summary(1)]) as there:
        client = await Client.open(there.port, "?snapshot=0")
        hello, heartbeat = await client.take(2)
        assert (hello.name, heartbeat.name, heartbeat.own_id) == ("hello", "heartbeat", ident(1))
        there.publish(summary(2))
        assert (await client.next()).id == ident(2)


async def test_text_has_the_same_names_and_ids():
    async with stand([summary(1), status(2)]) as there:
        client = await joined(there.port, "?format=text")
        there.publish(summary(3), status(4))
        first, second = await client.take(2)
        assert (first.name, first.own_id, second.own_id) == ("summary", ident(3), ident(4))
        assert first.data.endswith("d1 m 21.43 Cel (min 21.1, max 21.9, n 2, 10s)")
        assert second.data == "2024-11-23T16:40:00.004000Z d1 online"


async def test_a_filter_narrows_the_stream():
    async with stand() as there:
        client = await joined(there.port, "?device=d2&kind=summary&window=1m")
        there.publish(summary(1, device="d2"), status(2, device="d2"), summary(3, window="1m"))
        there.publish(summary(4, device="d2", window="1m"))
        assert (await client.next()).id == ident(4)


async def test_a_malformed_query_is_a_400():
    async with stand() as there:
        client = await (await Client.open(there.port, "?colour=red")).head()
        assert client.status == "HTTP/1.1 400 Bad Request"
        assert there.hub.clients == 0


async def test_nothing_of_aiohttp_and_no_task_stays_with_a_client():
    async with stand([summary(1)], limits=ROOMY) as there:
        first = await joined(there.port)
        tasks = len(asyncio.all_tasks())
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            clients = [await joined(there.port) for _ in range(50)]
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert there.hub.clients == 51
        assert there.connections == 0
        assert len(asyncio.all_tasks()) == tasks
        assert (after - before) / 50 < 16 * 1024  # half of it is the test's own end
        there.publish(summary(2))
        for client in [first, *clients]:
            assert (await client.next()).id == ident(2)


async def test_what_a_client_sends_after_its_request_is_passed_over():
    async with stand() as there:
        client = await joined(there.port)
        client.writer.write(b"GET /events HTTP/1.1\r\n" * 20_000)
        await client.writer.drain()
        there.publish(summary(1))
        assert (await client.next()).id == ident(1)
        client.writer.write_eof()
        await eventually(lambda: there.hub.clients == 0)


async def test_many_who_come_at_once_ask_the_log_once_where_it_begins():
    async with stand([summary(1)], limits=ROOMY) as there:
        there.log.delay = True
        clients = [await Client.open(there.port) for _ in range(30)]
        hellos = [await client.next() for client in clients]
        assert {hello.json["oldest"] for hello in hellos} == {ident(1)}
        assert there.log.asked < len(clients)


async def test_httpx_sse_reads_the_stream():
    async with stand([status(1, device="dé\u2028")]) as there, httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{there.port}/events"
        async with httpx_sse.aconnect_sse(client, "GET", url) as source:
            found = []
            async for event in source.aiter_sse():
                found.append(event)
                if len(found) == 2:
                    break
        assert [event.event for event in found] == ["hello", "snapshot"]
        assert found[1].json()["status"][0]["dev"] == "dé\u2028"


async def test_an_http_1_0_client_gets_bytes_without_chunks():
    async with stand([summary(1)]) as there:
        client = await Client.open(there.port, version="1.0")
        await client.until("snapshot")
        assert "transfer-encoding" not in client.headers
        there.publish(summary(2))
        assert (await client.next()).id == ident(2)
        await there.hub.close()
        assert [event.name for event in await client.rest()] == ["bye"]


async def test_head_gets_the_headers_and_takes_no_slot():
    async with stand() as there:
        client = await (await Client.open(there.port, method="HEAD")).head()
        assert client.headers["content-type"].startswith("text/event-stream")
        assert there.hub.clients == 0


# -- coming back ----------------------------------------------------------------------------


async def resumed(there, cursor: str | None = None, *, query: str = "") -> Client:
    headers = {} if cursor is None else {"Last-Event-ID": cursor}
    client = await Client.open(there.port, query, headers=headers)
    assert (await client.next()).name == "hello"
    return client


async def test_a_cursor_brings_what_was_missed_and_then_live():
    async with stand([summary(seq) for seq in range(1, 1301)]) as there:
        client = await resumed(there, ident(100))
        there.publish(summary(1301))
        found = await client.take(1201)
        assert [event.seq for event in found] == list(range(101, 1302))


async def test_the_header_beats_the_query_and_an_empty_one_does_not():
    async with stand([summary(seq) for seq in range(1, 10)]) as there:
        client = await resumed(there, ident(8), query=f"?last_event_id={ident(2)}")
        assert (await client.next()).seq == 9
        client = await resumed(there, "", query=f"?last_event_id={ident(2)}")
        assert (await client.next()).seq == 3
        client = await resumed(there, "", query="?last_event_id=")
        assert (await client.next()).name == "snapshot"


async def test_the_newest_id_has_nothing_to_replay():
    async with stand([summary(1)]) as there:
        client = await resumed(there, ident(1))
        there.publish(summary(2))
        assert (await client.next()).seq == 2


async def test_a_replay_is_filtered_as_the_stream_is():
    events = [summary(seq, device=f"d{seq % 3}") for seq in range(1, 100)]
    async with stand(events) as there:
        client = await resumed(there, ident(0), query="?device=d1")
        found = await client.take(33)
        assert [event.seq for event in found] == list(range(1, 100, 3))


async def refused(there, cursor: str | None = None, *, query: str = "") -> dict:
    """The gap that a cursor leads to; a snapshot, and life, must follow."""
    client = await resumed(there, cursor, query=query)
    gap, snapshot = await client.take(2)
    assert (gap.name, gap.own_id, snapshot.name) == ("gap", None, "snapshot")
    newest = there.hub.live.head
    assert snapshot.own_id == gap.json["resume"] == ident(newest)
    there.publish(status(newest + 1))
    assert (await client.next()).seq == newest + 1
    await client.close()
    return gap.json


@pytest.mark.parametrize(
    ("cursor", "reason"),
    [
        (ident(101), "future"),
        ("other-50", "epoch"),
        ("nonsense", "malformed"),
        ("-1", "malformed"),
        (ident(-5), "malformed"),
        ("x" * 5000, "malformed"),
        ("é", "malformed"),
        (ident(98), "too_old"),
        (ident(0), "too_old"),
    ],
)
async def test_a_cursor_that_cannot_be_resumed_leads_to_one_gap(cursor, reason):
    # Before the log begins, 98 is known to be the last that was removed: 99 is still missing.
    events = [summary(100)]
    async with stand(events) as there:
        gap = await refused(there, cursor)
        assert (gap["v"], gap["reason"], gap["asked"]) == (1, reason, cursor[:64])
        assert gap["oldest"] == ident(100)
        missed = 100 - int(cursor.rpartition("-")[2]) if reason == "too_old" else None
        assert gap["missed"] == missed


async def test_the_last_removed_event_as_a_cursor_misses_nothing():
    async with stand([summary(100)]) as there:
        assert (await (await resumed(there, ident(99))).next()).seq == 100


async def test_missed_is_told_only_to_those_who_see_everything():
    async with stand([summary(100)]) as there:
        assert (await refused(there, ident(50), query="?device=d1"))["missed"] is None


async def test_an_emptied_log_is_too_old():
    async with stand(head=7) as there:
        assert (await refused(there, ident(5)))["reason"] == "too_old"
    async with stand(head=7) as there:
        client = await resumed(there, ident(7))
        there.publish(summary(8))
        assert (await client.next()).seq == 8


@pytest.mark.parametrize(
    "limits",
    [Limits(replay_events=40), Limits(replay_bytes=5000), Limits(replay_seconds=59.95)],
    ids=["events", "bytes", "age"],
)
async def test_a_replay_over_its_bound_is_a_gap(limits):
    async with stand([summary(seq) for seq in range(1, 101)], limits=limits) as there:
        gap = await refused(there, ident(20))
        assert (gap["reason"], gap["missed"]) == ("bound", 80)
        client = await resumed(there, ident(95))
        assert (await client.next()).seq == 96


async def test_a_gap_without_snapshot_gives_the_cursor_by_a_heartbeat():
    async with stand([summary(9)]) as there:
        client = await resumed(there, "bad", query="?snapshot=0")
        gap, heartbeat = await client.take(2)
        assert (gap.name, heartbeat.name, heartbeat.own_id) == ("gap", "heartbeat", ident(9))


async def test_events_removed_during_a_replay_are_a_gap():
    async with stand(
        [summary(seq) for seq in range(1, 101)], limits=Limits(replay_page=10)
    ) as there:
        pages = there.log.events_after
        reads = 0

        async def events_after(after, limit, *, until=None):
            nonlocal reads
            reads += 1
            if reads == 15:  # ten pages to measure, then four are written
                del there.log.events[:60]
            return await pages(after, limit, until=until)

        there.log.events_after = events_after
        client = await resumed(there, ident(0))
        found = await client.until("gap")
        assert [event.seq for event in found[:-1]] == list(range(1, 41))
        assert found[-1].json["reason"] == "too_old"
        assert (await client.next()).name == "snapshot"


async def test_at_most_two_replays_read_at_once():
    async with stand([summary(seq) for seq in range(1, 2001)], limits=ROOMY) as there:
        there.log.delay = True
        clients = [
            await Client.open(there.port, headers={"Last-Event-ID": ident(0)}) for _ in "12345"
        ]
        for client in clients:
            assert len(await client.take(2001)) == 2001
        assert there.log.most_at_once == 2


@pytest.mark.parametrize(("since", "first"), [(NOW + 5, 5), (NOW + 4.5, 5), (NOW + 9.5, 11)])
async def test_since_replays_from_a_time(since, first):
    async with stand([summary(seq) for seq in range(1, 11)]) as there:
        client = await resumed(there, query=f"?since={since}")
        there.publish(summary(11))
        assert (await client.next()).seq == first if first < 11 else 10


async def test_a_since_in_the_future_is_live_only():
    async with stand([summary(1)]) as there:
        client = await resumed(there, query=f"?since={there.now + 1}")
        heartbeat = await client.next()
        assert (heartbeat.name, heartbeat.own_id) == ("heartbeat", ident(1))
        there.publish(summary(2))
        assert (await client.next()).seq == 2


async def test_a_since_before_what_can_be_replayed_is_a_gap():
    async with stand([summary(100)]) as there:
        assert (await refused(there, query=f"?since={NOW}"))["reason"] == "too_old"
        gap = await refused(there, query="?since=5")
        assert (gap["reason"], gap["asked"]) == ("bound", 5.0)


async def test_a_join_at_any_moment_is_exactly_once():
    """Clients come with every sort of cursor while events are published at full rate."""
    dice = random.Random(7)
    async with stand([status(1)], limits=ROOMY) as there:
        there.log.delay = True
        last = 1500

        async def publish() -> None:
            seq = 1
            while seq < last:
                batch = range(seq + 1, min(last, seq + dice.randint(1, 5)) + 1)
                there.publish(*(summary(n, device=f"d{n % 4}", metric=f"m{n}") for n in batch))
                seq = batch[-1]
                await asyncio.sleep(dice.choice((0, 0, 0, 0.001)))

        async def join() -> None:
            await asyncio.sleep(dice.random() * 1.5)
            device = dice.choice(["", "&device=d1", "&device=d2&device=d3"])
            newest = there.hub.live.head
            cursor = dice.randint(0, newest) if dice.random() < 0.8 else None
            query = f"?format={dice.choice(('json', 'text'))}{device}"
            headers = {} if cursor is None else {"Last-Event-ID": ident(cursor)}
            client = await Client.open(there.port, query, headers=headers)
            if cursor is None:
                event = await client.next()
                while event.own_id is None:  # hello, and all chunks but the last
                    event = await client.next()
                cursor = event.seq
            wanted = [
                n
                for n in range(max(cursor + 1, 2), last + 1)
                if not device or f"d{n % 4}" in device
            ]
            got = []
            while len(got) < len(wanted):
                event = await client.next()
                if event.name == "summary":
                    got.append(event.seq)
            assert got == wanted
            await client.close()

        async with asyncio.timeout(100), asyncio.TaskGroup() as group:
            group.create_task(publish())
            for _ in range(80):
                group.create_task(join())


# -- heartbeats and readings ----------------------------------------------------------------


async def test_heartbeats_carry_the_time_and_move_the_cursor_past_what_was_filtered_out():
    async with stand(limits=Limits(heartbeat=0.02)) as there:
        client = await joined(there.port, "?device=d9")
        there.publish(summary(1), summary(2))
        found = await client.until("heartbeat")
        while found[-1].seq < 2:
            found += await client.until("heartbeat")
        assert {event.name for event in found} == {"heartbeat"}
        assert found[-1].own_id == ident(2)
        assert found[-1].json == {"v": 1, "now": NOW + 60_000}


async def test_readings_are_the_newest_of_each_series_and_have_no_id():
    async with stand(limits=Limits(readings=0.01)) as there:
        client = await joined(there.port, "?kind=reading&device=d1")
        other = await joined(there.port)
        for value in (1.0, 2.0, 3.0):
            there.hub.publish_readings(
                [
                    Newest("d1", "m", "Cel", NOW, value, "device"),
                    Newest("d2", "m", "Cel", NOW, value, "device"),
                ]
            )
        event = await client.next()
        assert (event.name, event.own_id, event.json["value"]) == ("reading", None, 3.0)
        there.hub.publish_readings([Newest("d1", "m", "Cel", NOW + 1, "x", "mapped")])
        assert (await client.next()).json == {
            "v": 1,
            "dev": "d1",
            "m": "m",
            "u": "Cel",
            "t": NOW + 1,
            "value": "x",
            "clock": "mapped",
        }
        there.publish(status(1))
        assert (await other.next()).name == "status"


# -- slow clients ---------------------------------------------------------------------------


def flood(there, begin: int, count: int) -> int:
    """Publish summaries of four series until no socket buffer can hold them."""
    for seq in range(begin, begin + count):
        there.publish(summary(seq, metric=f"m{seq % 4}", note="x" * 200))
    return begin + count


async def test_a_slow_client_is_conflated_and_told_while_others_get_everything():
    async with stand() as there:
        slow = await Client.open(there.port, paused=True)
        quick = await joined(there.port)
        await eventually(lambda: there.hub.clients == 2)
        await asyncio.sleep(0.05)
        got, seq, alerts = [], 1, []
        while seq < 4000:
            seq = flood(there, seq, 100)
            there.publish(alert(seq) if seq % 200 else status(seq))
            alerts.append(seq)
            seq += 1
            got += await quick.take(101)
        assert [event.seq for event in got] == list(range(1, seq))
        slow.resume()
        there.publish(status(seq))
        found = [await slow.next()]
        while found[-1].seq < seq:
            found.append(await slow.next())
        logged = [event for event in found if event.name in ("summary", "status", "alert")]
        assert [event.seq for event in logged] == sorted({event.seq for event in logged})
        assert [e.seq for e in logged if e.name != "summary"] == [*alerts, seq]
        skipped = sum(event.json.get("skipped", 0) for event in logged)
        assert skipped > 0
        assert skipped + len(logged) == seq
        gaps = [event.json for event in found if event.name == "gap"]
        assert {gap["reason"] for gap in gaps} == {"slow"}
        assert sum(gap["missed"] for gap in gaps) == skipped
        first = next(i for i, event in enumerate(found) if event.name == "gap")
        assert not any("skipped" in event.json for event in found[:first])


async def test_a_slow_client_is_cut_when_alerts_alone_pass_their_bound_and_resumes():
    async with stand() as there:
        slow = await Client.open(there.port, paused=True)
        await eventually(lambda: there.hub.clients == 1)
        await asyncio.sleep(0.05)
        seq = flood(there, 1, 2000)
        for number in range(seq, seq + 65):
            there.publish(alert(number, name=f"a{number}"))
        await eventually(lambda: there.hub.clients == 0)
        slow.resume()
        seen = []
        with suppress(ConnectionError, EOFError):
            while True:
                seen.append(await slow.next())
        there.publish(status(seq + 65))
        again = await resumed(there, seen[-1].id)
        rest = [await again.next()]
        while rest[-1].seq < seq + 65:
            rest.append(await again.next())
        assert [event.seq for event in rest] == list(range(seen[-1].seq + 1, seq + 66))


async def test_a_client_for_which_nothing_drains_is_cut():
    async with stand(limits=Limits(stalled=0.2, heartbeat=0.05)) as there:
        slow = await Client.open(there.port, paused=True)
        quick = await joined(there.port)
        await eventually(lambda: there.hub.clients == 2)
        await asyncio.sleep(0.05)
        flood(there, 1, 1500)
        await eventually(lambda: there.hub.clients == 1)
        there.publish(status(1501))
        while (await quick.next()).seq < 1501:
            pass
        await slow.close()


@pytest.mark.parametrize("when", ["snapshot", "replay", "live"])
async def test_who_may_not_look_any_more_is_told_and_let_go(when: str):
    """Also amid what the stream begins with, and whether he reads it or not."""
    limits = Limits(stalled=2)
    known = [summary(seq, metric=f"m{seq}", pad="x" * 500) for seq in range(1, 1001)]
    async with stand(known if when != "live" else [], limits=limits) as there:
        cursor = {"Last-Event-ID": f"{EPOCH}-1"} if when == "replay" else {}
        reading = await Client.open(there.port, headers=cursor, paused=True)
        stalled = await Client.open(there.port, headers=cursor, paused=True)
        await eventually(lambda: there.hub.clients == 2)
        if when == "live":
            await asyncio.sleep(0.05)
            flood(there, 1, 250)
        there.left = 0
        there.hub.recheck()
        reading.resume()
        found = await reading.rest()
        assert (found[-1].name, found[-1].json["reason"]) == ("bye", "auth")
        assert len(found) < 900
        await eventually(lambda: there.hub.clients == 0)
        await stalled.close()


async def test_a_heartbeat_never_passes_what_was_not_delivered():
    async with stand(limits=Limits(heartbeat=0.003)) as there:
        slow = await Client.open(there.port, paused=True)
        await eventually(lambda: there.hub.clients == 1)
        seq = 1
        for _ in range(20):
            seq = flood(there, seq, 100)
            await asyncio.sleep(0.003)
        there.publish(*(summary(seq + i, metric=f"n{i}", note="x" * 500) for i in range(240)))
        seq += 240  # more than goes out at once, and too little to be conflated
        await asyncio.sleep(0.01)
        slow.resume()
        events = [await slow.next()]
        while events[-1].name != "summary" or events[-1].seq < seq - 1:
            events.append(await slow.next())
        events += await slow.until("heartbeat")
        highest = 0
        for event in events:
            if event.name == "heartbeat":
                assert event.seq >= highest
                highest = event.seq
            elif event.name == "summary":
                assert event.seq > highest
                highest = event.seq
        assert any(event.name == "heartbeat" for event in events)


async def test_a_client_that_comes_during_a_flood_is_not_conflated_if_it_keeps_up():
    async with stand() as there:
        client = await joined(there.port)
        there.publish(*(summary(seq, metric=f"m{seq}") for seq in range(1, 1501)))
        found = await client.take(1500)
        assert [event.seq for event in found] == list(range(1, 1501))


# -- slots ----------------------------------------------------------------------------------


async def test_at_capacity_the_stream_ends_politely():
    async with stand(limits=Limits(clients=2)) as there:
        first = await joined(there.port)
        second = await joined(there.port)
        third = await Client.open(there.port)
        (bye,) = await third.rest()
        assert (bye.name, bye.json) == ("bye", {"v": 1, "reason": "capacity"})
        assert third.status == "HTTP/1.1 200 OK"
        assert 10_000 <= third.parser.retry <= 30_000
        strict = await (await Client.open(there.port, "?strict=1")).head()
        assert strict.status == "HTTP/1.1 503 Service Unavailable"
        assert 10 <= int(strict.headers["retry-after"]) <= 30
        assert there.hub.clients == 2
        await first.close()
        await eventually(lambda: there.hub.clients == 1)
        await joined(there.port)
        await second.close()


async def test_one_address_cannot_take_all_slots():
    async with stand(limits=Limits(clients=9, clients_per_address=1)) as there:
        first = await joined(there.port)
        assert [event.name for event in await (await Client.open(there.port)).rest()] == ["bye"]
        await first.close()


async def test_clients_behind_a_proxy_have_addresses_of_their_own():
    async with stand(limits=Limits(clients=9, clients_per_address=1)) as there:
        told = [{"X-Forwarded-For": f"9.9.9.9, 192.168.1.{n}"} for n in (1, 2, 1)]
        clients = [await Client.open(there.port, headers=headers) for headers in told]
        assert [(await client.next()).name for client in clients] == ["hello", "hello", "bye"]


async def test_clients_that_leave_leave_nothing_behind():
    async with stand([summary(1)], limits=ROOMY) as there:
        tasks = len(asyncio.all_tasks())
        for round_ in range(30):
            clients = [await Client.open(there.port) for _ in range(4)]
            if round_ % 2:
                await clients[0].until("snapshot")
            for client in clients:
                await client.close()
        await eventually(lambda: there.hub.clients == 0 and len(asyncio.all_tasks()) <= tasks)
        there.publish(summary(2))


async def test_a_closed_socket_frees_its_slot_even_if_nobody_cancels():
    async with stand(limits=Limits(clients=1), cancelling=False) as there:
        for _ in range(3):
            client = await joined(there.port)
            await client.close()
            await eventually(lambda: there.hub.clients == 0)


async def test_close_says_goodbye_to_everyone_spread_in_time():
    async with stand(limits=ROOMY) as there:
        clients = [await joined(there.port, "?device=d9") for _ in range(60)]
        stalled = await Client.open(there.port, paused=True)
        await eventually(lambda: there.hub.clients == 61)
        flood(there, 1, 1500)
        async with asyncio.timeout(2.5):
            await there.hub.close()
        await eventually(lambda: there.hub.clients == 0)
        retries = set()
        for client in clients:
            last = (await client.rest())[-1]
            assert (last.name, last.json["reason"]) == ("bye", "shutdown")
            retries.add(client.parser.retry)
        assert len(retries) > 30
        assert max(retries) - min(retries) > 1000
        await stalled.close()
        late = await Client.open(there.port)
        assert [event.json["reason"] for event in await late.rest()] == ["shutdown"]


async def test_no_event_name_collides_with_eventsource():
    async with stand([summary(1)]) as there:
        client = await joined(there.port)
        there.publish(summary(2), status(3), alert(4))
        names = {event.name for event in await client.take(3)}
        assert not names & {"error", "open", "message"}
        assert json.loads((await (await Client.open(there.port)).next()).data)["v"] == 1
