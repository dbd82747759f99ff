"""The bridge and a broker, or a network, in trouble: nothing is lost, nothing leaks."""

import asyncio
import gc
import json
import struct
from itertools import chain, repeat
from pathlib import Path

import pytest

from gateway.bridge import META_BACKLOG, META_SESSION
from gateway.bridge.feed import PAGE
from gateway.core.broker import Reply
from gateway.core.facts import OutboxPut
from tests.brokers import PUBLISH, ScriptedBroker, text, until, varint
from tests.proxies import Proxy
from tests.upstream import BASE, UP, Site

BOTH = pytest.mark.parametrize("version", ["5", "3.1.1"])
HALF_HOUR = 30 * 60_000


def payloads(broker: ScriptedBroker) -> dict[int, set[bytes]]:
    """What came under each id."""
    found: dict[int, set[bytes]] = {}
    for message in broker.published:
        if message.id is not None:
            found.setdefault(message.id, set()).add(message.payload)
    return found


# -- the network --------------------------------------------------------------------------------


@pytest.mark.parametrize(("up", "down"), [(False, False), (False, True), (True, False)])
async def test_a_connection_that_swallows_bytes_is_left(
    up: bool, down: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.mqtt.client.KEEPALIVE_S", 1)
    async with ScriptedBroker() as broker, Proxy(broker.port) as proxy:
        site = Site(proxy.url)
        async with site.running():
            await until(lambda: site.bridge.stats.connected)
            proxy.up, proxy.down = up, down
            rows = site.alerts(50)
            await until(lambda: not site.bridge.stats.connected)
            proxy.up = proxy.down = True
            await until(lambda: not site.outbox.rows)
        assert set(site.outbox.done) == set(rows)
        assert {
            number: len(bodies) for number, bodies in payloads(broker).items()
        } == dict.fromkeys(rows, 1)
        assert site.bridge.stats.connections >= 2


@BOTH
async def test_a_reset_at_any_byte_loses_and_changes_nothing(version: str) -> None:
    async with ScriptedBroker() as broker, Proxy(broker.port) as proxy:
        cuts = [*range(1, 40, 4), *range(40, 1500, 61)]
        proxy.budgets = chain(cuts, repeat(float("inf")))
        site = Site(proxy.url, version=version, dead_letter_after=5)
        rows = site.alerts(40, size=100)
        async with site.running():
            while proxy.connections <= len(cuts):
                rows += site.alerts(10, size=100)
                await until(lambda: not site.outbox.rows or proxy.connections > len(cuts))
            await until(lambda: not site.outbox.rows)
        assert set(site.outbox.done) == set(rows)
        assert site.outbox.dead == {}
        if version == "5":
            assert payloads(broker).keys() == set(rows)
            assert all(len(bodies) == 1 for bodies in payloads(broker).values())
            firsts = list(dict.fromkeys(broker.ids))
            assert firsts == rows


async def test_fifty_reconnects_leave_nothing_behind() -> None:
    async with ScriptedBroker() as broker, Proxy(broker.port) as proxy:
        site = Site(proxy.url)
        async with site.running():
            await until(lambda: site.bridge.stats.connections == 1)
            before = len(asyncio.all_tasks()), open_files()
            for connection in range(2, 52):
                site.alerts(3)
                proxy.reset()
                await until(lambda: site.bridge.stats.connections >= connection)  # noqa: B023
            await until(lambda: not site.outbox.rows)
            gc.collect()
            await until(lambda: len(asyncio.all_tasks()) <= before[0])
            await until(lambda: open_files() <= before[1] + 1)
        assert len(set(site.outbox.done)) == 150


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# -- the broker ---------------------------------------------------------------------------------


async def test_a_slow_broker_gets_live_rows_among_the_old_and_costs_no_memory() -> None:
    async with ScriptedBroker(puback=lambda _: None) as broker:
        site = Site(broker.url)
        old = site.alerts(5000)
        async with site.running():
            await until(lambda: site.bridge.stats.in_flight == 20)
            new: list[int] = []
            while len(broker.ids) < 200:
                new += site.alerts(1)
                count = len(broker.published)
                answer(broker)
                await until(lambda: len(broker.published) > count)  # noqa: B023
            sent_new = [number for number in broker.ids if number > old[-1]]
            assert sent_new == new[: len(sent_new)]
            assert len(sent_new) > 60
            assert site.outbox.handed_out <= len(broker.ids) + 2 * PAGE + len(new)
        assert broker.most_in_flight == [20]
        assert [number for number in broker.ids if number <= old[-1]] == old[: 200 - len(sent_new)]


def answer(broker: ScriptedBroker) -> None:
    """Acknowledge the oldest message that waits."""
    peer = broker.peer()
    peer.ack(min(peer._in_flight))


async def test_a_session_that_is_taken_over_again_and_again_is_fought_for_less_and_less() -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url)
        rows = site.alerts(3)
        async with site.running():
            for connection in range(1, 6):
                await until(lambda: len(broker.connects) == connection and broker.published)  # noqa: B023
                await until(lambda: broker.peer().number == connection - 1)  # noqa: B023
                broker.disconnect(Reply.TAKEN_OVER)
            await until(lambda: len(broker.connects) == 6 and not site.outbox.rows)
            assert site.bridge._backoff.failures == 5
        assert set(site.outbox.done) == set(rows)
        assert site.outbox.dead == {}


def frame(kind: int, flags: int, body: bytes) -> bytes:
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


MALFORMED = {
    "a packet of 256 MiB": bytes([PUBLISH << 4]) + b"\xff\xff\xff\x7f" + b"x" * 1000,
    "a length without an end": b"\x30\xff\xff\xff\xff\xff",
    "a topic that is not UTF-8": frame(
        PUBLISH, 2, text(b"\xff\xfe/command/x") + struct.pack("!H", 7) + b"\0{}"
    ),
    "properties beyond the packet": frame(
        PUBLISH, 2, text(f"{BASE}/d/command/relay") + struct.pack("!H", 8) + b"\x7f\x26"
    ),
    "a property that there is not": frame(
        PUBLISH, 2, text(f"{BASE}/d/command/relay") + struct.pack("!H", 9) + b"\x02\x7e\x01"
    ),
    "an answer to nothing": frame(4, 0, struct.pack("!H", 60_000)),
    "an answer cut short": frame(4, 0, b"\x01"),
    "a packet type of zero": b"\x00\x00",
    "a second CONNACK": frame(2, 0, b"\x00\x00\x00"),
    "noise": bytes(range(256)),
}


@pytest.mark.parametrize("bytes_", MALFORMED.values(), ids=MALFORMED)
async def test_malformed_bytes_cost_one_connection_at_most(
    bytes_: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.mqtt.client.KEEPALIVE_S", 1)
    async with ScriptedBroker(puback=lambda _: None) as broker:
        site = Site(broker.url)
        rows = site.alerts(30)
        async with site.running():
            await until(lambda: len(broker.ids) >= 19 and broker.subscriptions)
            broker.peer().writer.write(bytes_)
            broker.script.puback = lambda _: 0
            for mid in list(broker.peer()._in_flight):
                broker.peer().ack(mid)
            await until(lambda: not site.outbox.rows)
        assert set(site.outbox.done) == set(rows)
        assert site.outbox.dead == {}
        assert site.commands.taken == []
        assert len(broker.connects) <= 2


# -- a session that the broker lost -------------------------------------------------------------


def session_of(broker: ScriptedBroker) -> str:
    return f"127.0.0.1:{broker.port} sensors-gw-1"


async def test_the_first_session_is_remembered_and_nothing_is_sent_again() -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url)
        async with site.running():
            await until(lambda: site.bridge.stats.acked)
        assert site.reopened == []
        metas = [fact.value for fact in site.facts if fact[0] == META_SESSION]
        assert metas == [session_of(broker)]


@BOTH
async def test_a_broker_that_forgot_us_gets_its_last_half_hour_again(version: str) -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url, version=version)
        async with site.running():
            await until(lambda: site.bridge.stats.acked)
            broker.script.session_present = True
            broker.drop()
            await until(lambda: site.bridge.stats.connections == 2)
            assert site.reopened == []
            broker.script.session_present = False
            before = site.now().ms
            broker.drop()
            await until(lambda: site.reopened)
        assert before - HALF_HOUR <= site.reopened[0] <= site.now().ms - HALF_HOUR


async def test_after_a_restart_the_half_hour_ends_with_the_last_acknowledgement() -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url, session=session_of(broker))
        site.outbox.acked = 1_700_000_000_000
        async with site.running():
            await until(lambda: site.reopened)
        assert site.reopened == [1_700_000_000_000 - HALF_HOUR]


async def test_a_session_with_another_broker_says_nothing_about_this_one() -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url, session="elsewhere:1883 sensors-gw-1")
        site.outbox.acked = 1_700_000_000_000
        async with site.running():
            await until(lambda: site.bridge.stats.acked)
        assert site.reopened == []


async def test_what_is_owed_is_asked_for_until_the_disk_can_be_read() -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url, session=session_of(broker))
        site.outbox.acked = 1_700_000_000_000
        site.outbox.broken = True
        async with site.running():
            await until(lambda: site.bridge.stats.acked)
            assert site.reopened == []
            site.outbox.broken = False
            broker.script.session_present = True
            broker.drop()
            await until(lambda: site.reopened)


async def test_rows_wait_until_what_the_broker_lost_is_open_again() -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url, session=session_of(broker))
        site.outbox.acked = 1_700_000_000_000
        site.slow = True
        lost = site.outbox.number()
        late = [site.put(summary(site, age_s=0)) for _ in range(3)]
        async with site.running():
            await until(lambda: site.reopened and site.bridge.stats.acked)
            assert broker.ids == []
            site.outbox.put(late_row := summary(site, age_s=0)._replace(id=lost, backfill=True))
            site.outbox.rows = dict(sorted(site.outbox.rows.items()))
            site.bridge.reopened()
            await until(lambda: not site.outbox.rows)
        assert broker.ids == [late_row.id, *late]


async def test_rows_that_are_open_again_go_out_on_the_same_connection() -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url)
        rows = [site.put(summary(site, age_s=0)) for _ in range(150)]
        kept = dict(site.outbox.rows)
        async with site.running():
            await until(lambda: not site.outbox.rows)
            broker.script.puback = lambda _: None
            flying = site.alerts(5)
            await until(lambda: site.bridge.stats.in_flight == 5)
            for number, row in kept.items():
                site.outbox.rows[number] = row._replace(backfill=True)
            site.outbox.rows = dict(sorted(site.outbox.rows.items()))
            site.bridge.reopened()
            broker.script.puback = lambda _: 0
            for mid in list(broker.peer()._in_flight):
                broker.peer().ack(mid)
            await until(lambda: not site.outbox.rows)
        assert len(broker.connects) == 1
        assert broker.ids[:155] == rows + flying
        assert broker.ids[155:] == rows
        again = [message.topic for message in broker.published if message.id in kept][150:]
        assert set(again) == {f"{BASE}/d/t/summary/10s/backfill"}
        assert all(len(bodies) == 1 for bodies in payloads(broker).values())


# -- live and history ---------------------------------------------------------------------------


def summary(site: Site, *, age_s: int) -> OutboxPut:
    end = site.now().ms - age_s * 1000
    body = {"v": 1, "dev": "d", "m": "t", "w": "10s", "t0": end - 10_000, "t1": end}
    return UP.summary(site.outbox.number(), end, body)


async def test_a_live_topic_is_never_given_an_older_summary_after_a_newer() -> None:
    async with ScriptedBroker(connack_properties={33: 1}, delay=0.001) as broker:
        site = Site(broker.url)
        for _ in range(100):
            site.put(summary(site, age_s=20))
        async with site.running():
            await until(lambda: len(broker.ids) > 10)
            for _ in range(30):
                site.put(summary(site, age_s=0))
            await until(lambda: not site.outbox.rows)
        live = [m.id for m in broker.on(f"{BASE}/d/t/summary/10s")]
        late = [m.id for m in broker.on(f"{BASE}/d/t/summary/10s/backfill")]
        assert live == sorted(live)
        assert late == sorted(late)
        assert late
        assert len({*live, *late}) == 130


async def test_after_a_restart_too_a_live_topic_is_never_given_an_older_summary() -> None:
    """No acknowledgement was durable: all goes again, and the gateway forgot in which order."""
    async with ScriptedBroker(connack_properties={33: 1}, delay=0.001) as broker:
        site = Site(broker.url)
        rows = [summary(site, age_s=20) for _ in range(100)]
        for row in rows:
            site.put(row)
        async with site.running():
            await until(lambda: len(broker.ids) > 10)
            rows += (newer := [summary(site, age_s=0) for _ in range(30)])
            for row in newer:
                site.put(row)
            await until(lambda: not site.outbox.rows)
        marks = [int(fact.value) for fact in site.facts if fact[0] == META_BACKLOG]
        again = Site(broker.url, backlog=marks[-1])
        for row in rows:
            again.put(row)
        async with again.running():
            await until(lambda: not again.outbox.rows)
        live = [m.id for m in broker.on(f"{BASE}/d/t/summary/10s")]
    assert rows[99].id < marks[-1] < newer[0].id
    assert live[-30:] == [row.id for row in newer]
    assert list(dict.fromkeys(live)) == sorted(set(live))


async def test_hours_of_outage_drain_as_backfill_beside_what_is_live() -> None:
    """Four hours by the gateway's clock, while nobody listens."""
    async with ScriptedBroker() as broker:
        site = Site(broker.url)
        async with site.running():
            await until(lambda: site.bridge.stats.connected)
            await broker.stop()
            await until(lambda: not site.bridge.stats.connected)
            for _ in range(4 * 360):
                site.skew += 10_000
                site.put(summary(site, age_s=0))
            site.skew += 90_000
            await broker.start()
            await until(lambda: len(broker.ids) > 100)
            fresh = [site.put(summary(site, age_s=0)) for _ in range(20)]
            await until(lambda: not site.outbox.rows)
        live = [m.id for m in broker.on(f"{BASE}/d/t/summary/10s")]
        late = [m.id for m in broker.on(f"{BASE}/d/t/summary/10s/backfill")]
        assert live == fresh
        assert late == sorted(late)
        assert len(late) == 4 * 360
        assert broker.ids.index(fresh[-1]) < len(broker.ids) - 100


async def test_what_a_full_outbox_dropped_is_not_sent_any_more() -> None:
    async with ScriptedBroker(puback=lambda _: None) as broker:
        site = Site(broker.url, outbox_max_mb=1)
        rows = site.alerts(15, size=100_000)
        async with site.running():
            await until(lambda: site.outbox.dropped)
            kept = set(rows) - set(site.outbox.dropped)
            await until(lambda: kept <= set(broker.ids))
            broker.script.puback = lambda _: 0
            broker.drop()
            await until(lambda: not site.outbox.rows)
        assert site.outbox.dropped == rows[: len(site.outbox.dropped)]
        assert set(site.outbox.done) == set(rows) - set(site.outbox.dropped)
        second = [
            json.loads(m.payload)["number"] for m in broker.published if m.id and m.connection
        ]
        assert second == rows[len(site.outbox.dropped) :]
