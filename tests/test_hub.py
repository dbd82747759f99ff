"""The event stream against a real server and raw sockets."""

import asyncio

from tests.events import EPOCH, NOW, Client, alert, stand, status, summary


async def test_a_new_client_gets_hello_a_snapshot_and_then_what_happens():
    async with stand([summary(1), status(2), alert(3)]) as there:
        client = await Client.open(there.port)
        hello, snapshot = await client.take(2)
        assert hello.name == "hello"
        assert hello.own_id is None
        assert hello.json == {
            "v": 1,
            "epoch": EPOCH,
            "oldest": f"{EPOCH}-1",
            "newest": f"{EPOCH}-3",
            "heartbeat_s": 15.0,
            "now": NOW + 60_000,
            "gateway": "gw-1",
        }
        assert snapshot.name == "snapshot"
        assert snapshot.own_id == f"{EPOCH}-3"
        there.publish(summary(4), status(5))
        first, second = await client.take(2)
        assert (first.name, first.id) == ("summary", f"{EPOCH}-4")
        assert (second.name, second.id) == ("status", f"{EPOCH}-5")
        assert client.parser.comments == ["ok"]
        assert 2000 <= client.parser.retry <= 5000
