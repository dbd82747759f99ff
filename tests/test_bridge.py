"""The bridge against a scripted broker."""

import asyncio
import json

import pytest

from gateway.bridge.feed import PAGE
from gateway.core.broker import Reply
from tests.brokers import HangUp, Published, ScriptedBroker, free_port, until
from tests.upstream import BASE, UP, Site

BOTH = pytest.mark.parametrize("version", ["5", "3.1.1"])


async def test_rows_go_out_in_order_and_are_marked_done() -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url)
        rows = site.alerts(50)
        async with site.running():
            await until(lambda: not site.outbox.rows)
        assert broker.ids == rows
        assert site.outbox.done == rows
        first = broker.published[1]
        assert first.user == {"gw": "gw-1", "id": str(rows[0]), "epoch": "k3f9a2c1"}
        assert first.properties[3] == "application/json"
        assert first.qos == 1
        assert (site.bridge.stats.sent, site.bridge.stats.dead) == (50, 0)


async def test_with_the_old_version_messages_carry_no_properties() -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url, version="3.1.1")
        site.alerts(30)
        async with site.running():
            await until(lambda: not site.outbox.rows)
        sent = [json.loads(m.payload)["number"] for m in broker.on(f"{BASE}/d/alert")]
        assert sent == site.outbox.done
        assert all(message.properties == {} for message in broker.published)
        assert broker.connects[0].version == 4


@BOTH
@pytest.mark.parametrize("most", [1, 5])
async def test_the_receive_maximum_holds_after_a_reconnect_too(version: str, most: int) -> None:
    properties = {33: most} if version == "5" else {}
    async with ScriptedBroker(connack_properties=properties, delay=0.002) as broker:
        site = Site(broker.url, version=version)
        site.alerts(300)
        site.statuses = [UP.status(0, 0, {"v": 1, "dev": f"d{n}"}) for n in range(30)]
        async with site.running():
            for connection in range(1, 4):
                await until(lambda: len(broker.published) > 50 * connection)  # noqa: B023
                broker.drop()
                await until(lambda: len(broker.connects) > connection)  # noqa: B023
            await until(lambda: not site.outbox.rows)
        assert len(broker.connects) == 4
        if version == "5":
            assert broker.most_in_flight == [most] * 4
        else:
            assert max(broker.most_in_flight) == 20
        assert site.bridge.stats.connections == 4


async def test_no_more_than_twenty_are_in_flight_whatever_the_broker_allows() -> None:
    async with ScriptedBroker(delay=0.01) as broker:
        site = Site(broker.url)
        site.alerts(100)
        async with site.running():
            await until(lambda: not site.outbox.rows)
        assert broker.most_in_flight == [20]


@BOTH
async def test_a_lost_answer_brings_the_same_message_again(version: str) -> None:
    async with ScriptedBroker(puback=lambda _: None) as broker:
        site = Site(broker.url, version=version)
        rows = site.alerts(3)
        async with site.running():
            await until(lambda: len(broker.on(f"{BASE}/d/alert")) == 3)
            broker.script.puback = lambda _: 0
            broker.drop()
            await until(lambda: not site.outbox.rows)
        sent = broker.on(f"{BASE}/d/alert")
        assert [m.payload for m in sent[:3]] == [m.payload for m in sent[3:]]
        assert [m.connection for m in sent] == [0, 0, 0, 1, 1, 1]
        assert site.outbox.done == rows
        if version == "5":
            assert broker.ids == rows * 2


async def test_what_was_put_while_the_broker_was_away_drains_in_order() -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url)
        async with site.running():
            await until(lambda: site.bridge.stats.connected)
            await broker.stop()
            await until(lambda: not site.bridge.stats.connected)
            rows = site.alerts(500)
            await broker.start()
            await until(lambda: not site.outbox.rows)
        assert broker.ids == rows


async def test_rows_put_while_connected_go_out_too() -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url)
        async with site.running():
            await until(lambda: site.bridge.stats.connected)
            for _ in range(20):
                rows = site.alerts(3)
                await until(lambda: rows[-1] in site.outbox.done)  # noqa: B023
        assert broker.ids == sorted(broker.ids)
        assert len(broker.ids) == 60


async def test_live_rows_do_not_wait_for_the_backlog() -> None:
    async with ScriptedBroker(connack_properties={33: 1}, delay=0.001) as broker:
        site = Site(broker.url, backlog_share=0.5)
        old = site.alerts(400)
        async with site.running():
            await until(lambda: len(broker.ids) > 20)
            new = site.alerts(40)
            await until(lambda: not site.outbox.rows)
        last_new = broker.ids.index(new[-1])
        span = broker.ids[broker.ids.index(new[0]) : last_new + 1]
        assert abs(2 * len([n for n in span if n in set(new)]) - len(span)) <= 1
        assert [n for n in broker.ids if n <= old[-1]] == old
        assert [n for n in broker.ids if n >= new[0]] == new


async def test_memory_does_not_grow_with_the_outbox() -> None:
    async with ScriptedBroker(puback=lambda _: None) as broker:
        site = Site(broker.url)
        site.alerts(20_000)
        async with site.running():
            await until(lambda: len(broker.published) == 20)
            site.alerts(1000)
            await until(lambda: site.bridge.stats.in_flight == 20)
        assert site.outbox.handed_out <= 2 * PAGE


async def test_old_windows_are_backfill_and_keep_id_and_payload() -> None:
    body = {"v": 1, "dev": "d", "m": "t", "w": "10s"}
    async with ScriptedBroker(puback=lambda _: None) as broker:
        site = Site(broker.url)
        now = site.now().ms
        row = site.put(
            UP.summary(site.outbox.number(), now, {**body, "t0": now - 10_000, "t1": now})
        )
        async with site.running():
            await until(lambda: broker.ids)
            site.skew = 61_000
            broker.script.puback = lambda _: 0
            broker.drop()
            await until(lambda: not site.outbox.rows)
        first, second = [m for m in broker.published if m.id is not None]
        assert (first.id, second.id) == (row, row)
        assert first.payload == second.payload
        assert first.topic == f"{BASE}/d/t/summary/10s"
        assert second.topic == f"{BASE}/d/t/summary/10s/backfill"


async def test_a_state_that_nobody_wants_any_more_is_not_sent() -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url)
        now = site.now().ms
        old = site.put(UP.state(site.outbox.number(), now - UP.state_ms, "d", {"t": 1}))
        new = site.put(UP.state(site.outbox.number(), now, "d", {"t": 2}))
        async with site.running():
            await until(lambda: not site.outbox.rows)
        assert broker.ids == [new]
        assert set(site.outbox.done) == {old, new}
        expiry = broker.on(f"{BASE}/d/state")[0].properties[2]
        assert isinstance(expiry, int)
        assert 0 < expiry <= UP.state_ms / 1000
        assert site.bridge.stats.expired == 1


# -- retained messages --------------------------------------------------------------------------


@BOTH
async def test_everything_retained_is_published_afresh_on_each_connection(version: str) -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url, version=version)
        site.statuses = [UP.status(0, 0, {"v": 1, "dev": name}) for name in ("a", "b")]
        async with site.running():
            await until(lambda: len(broker.published) == 3)
            broker.script.session_present = True
            broker.drop()
            await until(lambda: len(broker.published) == 6)
        for connection in (0, 1):
            sent = [m for m in broker.published if m.connection == connection][:3]
            assert [m.topic for m in sent] == [f"{BASE}/status"] + [
                f"{BASE}/{name}/status" for name in ("a", "b")
            ]
            assert sent[0].payload == b"online"
            assert all(m.retain and m.qos == 1 for m in sent)
        assert len(broker.subscriptions) == 2
        assert set(broker.subscriptions[1]) == {f"{BASE}/+/command/+", f"{BASE}/+/config"}


async def test_an_older_status_never_overwrites_a_newer_one() -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url)
        for state in ("offline", "lost"):
            site.put(UP.status(site.outbox.number(), 0, {"v": 1, "dev": "d", "state": state}))
        site.statuses = [UP.status(0, 0, {"v": 1, "dev": "d", "state": "online"})]
        async with site.running():
            await until(lambda: not site.outbox.rows)
            site.put(UP.status(site.outbox.number(), 0, {"v": 1, "dev": "d", "state": "asleep"}))
            await until(lambda: not site.outbox.rows)
        states = [json.loads(m.payload)["state"] for m in broker.on(f"{BASE}/d/status")]
        assert states == ["online", "asleep"]
        assert site.bridge.stats.outdated == 2


@BOTH
async def test_a_clean_stop_says_offline_before_goodbye(version: str) -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url, version=version)
        async with site.running():
            await until(lambda: broker.published)
        last = broker.published[-1]
        assert (last.topic, last.payload, last.retain) == (f"{BASE}/status", b"offline", True)
        await until(lambda: broker.goodbyes == [0])


async def test_a_stop_with_a_full_window_says_offline_without_breaking_the_maximum() -> None:
    async with ScriptedBroker(connack_properties={33: 2}, puback=lambda _: None) as broker:
        site = Site(broker.url)
        site.alerts(10)
        async with site.running():
            await until(lambda: len(broker.published) == 2)
        last = broker.published[-1]
        assert (last.payload, last.qos, last.retain) == (b"offline", 0, True)
        assert broker.most_in_flight == [2]


async def test_a_cancelled_bridge_leaves_the_word_to_the_last_will() -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url)
        task = asyncio.create_task(site.bridge.run())
        await until(lambda: broker.published)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: broker.closed)
        assert broker.goodbyes == []


async def test_a_stop_does_not_wait_for_a_broker_that_is_away() -> None:
    site = Site(f"mqtt://127.0.0.1:{free_port()}")
    before = asyncio.all_tasks()
    async with site.running():
        await asyncio.sleep(0.1)
    assert asyncio.all_tasks() == before
    assert not site.bridge.stats.connected


# -- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0x87, 0x90, 0x99])
async def test_a_row_that_is_refused_again_and_again_is_kept_aside(
    code: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url)
        rows = site.alerts(40)
        bad = rows[7]
        broker.script.puback = lambda m: code if m.id == bad else 0
        async with site.running():
            await until(lambda: not site.outbox.rows)
        assert site.outbox.dead == {bad: code}
        assert [(r.code, r.dead, r.id) for r in site.outbox.refused] == [
            (code, False, bad),
            (code, True, bad),
        ]
        assert broker.ids.count(bad) == 2
        assert set(site.outbox.done) == set(rows) - {bad}
        assert site.bridge.stats.refused == {code: 2}
        assert f"message {bad} for {BASE}/d/alert is given up" in caplog.text


async def test_a_row_that_is_taken_at_the_second_try_is_done() -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url)
        (row,) = site.alerts(1)
        broker.script.puback = lambda m: 0x87 if m.id and broker.ids.count(row) == 1 else 0
        async with site.running():
            await until(lambda: not site.outbox.rows)
        assert site.outbox.done == [row]
        assert site.outbox.dead == {}


async def test_a_used_up_quota_makes_the_bridge_wait_and_loses_nothing() -> None:
    async with ScriptedBroker(connack_properties={33: 1}) as broker:
        site = Site(broker.url, dead_letter_after=1)
        rows = site.alerts(5)
        broker.script.puback = lambda m: (
            Reply.QUOTA if m.id == rows[2] and broker.ids.count(rows[2]) == 1 else 0
        )
        async with site.running():
            await until(lambda: not site.outbox.rows)
        assert site.outbox.done == rows
        assert broker.ids == [*rows[:3], *rows[2:]]
        assert site.bridge.stats.refused == {Reply.QUOTA: 1}


async def test_no_subscriber_is_no_refusal() -> None:
    async with ScriptedBroker(puback=lambda _: 0x10) as broker:
        site = Site(broker.url)
        rows = site.alerts(3)
        async with site.running():
            await until(lambda: not site.outbox.rows)
        assert site.outbox.done == rows


@pytest.mark.parametrize("topic", ["", "a/+", "a/#", "a\0b", "x" * 70_000], ids=range(5))
async def test_a_topic_that_cannot_be_sent_does_not_block_the_rest(topic: str) -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url)
        before = site.alerts(2)
        number = site.outbox.number()
        site.put(UP.alert(number, 0, {"v": 1, "dev": "d"})._replace(topic=topic))
        after = site.alerts(2)
        async with site.running():
            await until(lambda: not site.outbox.rows)
        assert broker.ids == before + after
        assert site.outbox.dead == {number: Reply.TOPIC_INVALID}
        assert len(broker.connects) == 1


@pytest.mark.parametrize(
    ("version", "code"), [("5", 0x99), ("5", 0x90), ("5", 0x81), ("3.1.1", None)]
)
async def test_a_row_on_which_the_broker_hangs_up_does_not_block_the_rest(
    version: str, code: int | None
) -> None:
    async with ScriptedBroker(delay=0.001) as broker:
        site = Site(broker.url, version=version)
        rows = site.alerts(60)
        bad = rows[30]

        def answer(message: Published) -> int:
            if f'"number":{bad},'.encode() in message.payload:
                raise HangUp(code)
            return 0

        broker.script.puback = answer
        async with site.running():
            await until(lambda: not site.outbox.rows)
        assert set(site.outbox.dead) == {bad}
        assert set(site.outbox.done) == set(rows) - {bad}


async def test_a_network_that_breaks_gives_no_row_up() -> None:
    async with ScriptedBroker(puback=lambda _: None) as broker:
        site = Site(broker.url)
        (row,) = site.alerts(1)
        async with site.running():
            for connection in range(5):
                await until(lambda: len(broker.ids) > connection)  # noqa: B023
                broker.drop()
            broker.script.puback = lambda _: 0
            await until(lambda: not site.outbox.rows)
        assert site.outbox.done == [row]
        assert site.outbox.dead == {}


async def test_a_taken_over_session_is_reported_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url)
        rows = site.alerts(2)
        async with site.running():
            await until(lambda: broker.ids == rows)
            broker.disconnect(Reply.TAKEN_OVER)
            await until(lambda: len(broker.connects) == 2)
        assert "taken over" in caplog.text


async def test_a_refused_subscription_does_not_stop_the_rows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ScriptedBroker(suback=0x87) as broker:
        site = Site(broker.url)
        site.alerts(3)
        async with site.running():
            await until(lambda: not site.outbox.rows and "refuses the subscription" in caplog.text)


async def test_a_store_that_cannot_be_read_is_asked_again() -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url)
        site.outbox.broken = True
        rows = site.alerts(3)
        async with site.running():
            await until(lambda: broker.published)
            site.outbox.broken = False
            await until(lambda: not site.outbox.rows)
        assert broker.ids == rows
        assert len(broker.connects) == 1


# -- the cap ------------------------------------------------------------------------------------


async def test_a_full_outbox_gives_up_the_oldest_rows(caplog: pytest.LogCaptureFixture) -> None:
    site = Site(f"mqtt://127.0.0.1:{free_port()}", outbox_max_mb=1)
    rows = site.alerts(15, size=100_000)
    async with site.running():
        await until(lambda: site.bridge.stats.dropped)
    assert site.outbox.dropped == rows[: site.bridge.stats.dropped]
    assert site.outbox.dead == {}
    assert site.told == ["full"]
    kept = sum(len(row.payload) for row in site.outbox.rows.values())
    assert 0.85 * 2**20 < kept <= 0.95 * 2**20
    assert "outbox is full" in caplog.text


async def test_a_full_outbox_may_refuse_new_rows_instead() -> None:
    site = Site(f"mqtt://127.0.0.1:{free_port()}", outbox_max_mb=1, outbox_full="reject_new")
    assert site.bridge.accepting
    site.alerts(15, size=100_000)
    async with site.running():
        await until(lambda: not site.bridge.accepting)
    site.bridge.rejected(2)
    assert site.bridge.stats.rejected == 2
    assert site.outbox.dropped == []
    assert site.told == ["full"]
    assert site.bridge.stats.depth == 15
