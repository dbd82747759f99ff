"""Commands from the broker: acknowledged when durable, answered when not."""

import json

import pytest

from tests.brokers import ScriptedBroker, until
from tests.upstream import BASE, Site

COMMAND = f"{BASE}/d/command/relay"
BOTH = pytest.mark.parametrize("version", ["5", "3.1.1"])


async def ready(broker: ScriptedBroker, connections: int = 1) -> None:
    await until(lambda: len(broker.subscriptions) == connections)


@BOTH
async def test_a_command_is_acknowledged_only_once_it_is_durable(version: str) -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url, version=version)
        site.commands.gate.clear()
        async with site.running():
            await ready(broker)
            broker.deliver(COMMAND, b'{"on":true}', mid=7)
            await until(lambda: site.commands.calls)
            rows = site.alerts(3)
            await until(lambda: site.outbox.done == rows)
            assert broker.acknowledged == []
            site.commands.gate.set()
            await until(lambda: broker.acknowledged == [7])
        command = site.commands.taken[0]
        assert (command["device"], command["op"], command["args"]) == ("d", "relay", {"on": True})
        assert (command["ttl_ms"], command["flags"], command["origin"]) == (None, 0, {})


async def test_properties_come_with_the_command() -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url)
        async with site.running():
            await ready(broker)
            properties = {8: "me", 9: b"\xab", 2: 30, 38: [("ttl_ms", "5000"), ("flags", "1")]}
            broker.deliver(COMMAND, properties=properties)
            await until(lambda: broker.acknowledged)
        (command,) = site.commands.taken
        assert command["origin"] == {"response_topic": "me", "correlation": "ab"}
        assert (command["dedupe"], command["flags"], command["args"]) == ("ab", 1, None)
        assert 0 < command["ttl_ms"] <= 5000


async def test_a_retained_command_is_acknowledged_and_refused() -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url)
        async with site.running():
            await ready(broker)
            broker.deliver(COMMAND, retain=True, properties={8: "me/answers", 9: b"\1\2"})
            await until(lambda: broker.on("me/answers"))
            await until(lambda: broker.acknowledged == [1])
        assert site.commands.calls == []
        (answer,) = broker.on("me/answers")
        assert answer.properties[9] == b"\1\2"
        body = json.loads(answer.payload)
        assert (body["v"], body["n"], body["dev"], body["op"]) == (1, None, "d", "relay")
        assert body["state"] == "rejected"
        assert "retained" in body["result"]["error"]


@pytest.mark.parametrize("payload", [b"{", b"NaN", b"\xff"])
async def test_nonsense_is_answered_and_acknowledged(payload: bytes) -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url)
        async with site.running():
            await ready(broker)
            broker.deliver(COMMAND, payload)
            await until(lambda: broker.on(f"{BASE}/d/result") and broker.acknowledged)
        assert json.loads(broker.on(f"{BASE}/d/result")[0].payload)["state"] == "rejected"


async def test_a_command_for_an_unknown_device_is_answered() -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url)
        site.commands.unknown = ("d",)
        async with site.running():
            await ready(broker)
            broker.deliver(COMMAND)
            await until(lambda: broker.on(f"{BASE}/d/result") and broker.acknowledged)
        body = json.loads(broker.on(f"{BASE}/d/result")[0].payload)
        assert (body["state"], body["result"]) == ("rejected", {"error": "the device d is unknown"})


async def test_a_command_that_came_too_late_is_answered() -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url)
        async with site.running():
            await ready(broker)
            broker.deliver(COMMAND, properties={38: [("ttl_ms", "0")]})
            await until(lambda: broker.on(f"{BASE}/d/result") and broker.acknowledged)
        assert json.loads(broker.on(f"{BASE}/d/result")[0].payload)["state"] == "expired"
        assert site.commands.calls == []


async def test_a_full_disk_makes_a_command_wait_unacknowledged() -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url)
        site.commands.failures = 1
        async with site.running():
            await ready(broker)
            broker.deliver(COMMAND, mid=3)
            await until(lambda: len(site.commands.calls) == 1 and not site.commands.failures)
            assert broker.acknowledged == []
            await until(lambda: broker.acknowledged == [3])
        assert len(site.commands.calls) == 2
        assert site.bridge.stats.commands == 1


@BOTH
async def test_a_repeated_command_has_the_same_key(version: str) -> None:
    async with ScriptedBroker(session_present=True) as broker:
        site = Site(broker.url, version=version)
        site.commands.gate.clear()
        async with site.running():
            await ready(broker)
            broker.deliver(COMMAND, b"1", mid=4)
            await until(lambda: site.commands.calls)
            broker.drop()
            await ready(broker, 2)
            site.commands.gate.set()
            broker.deliver(COMMAND, b"1", mid=4)
            await until(lambda: broker.acknowledged == [4])
            broker.deliver(COMMAND, b"2", mid=5)
            await until(lambda: broker.acknowledged == [4, 5])
        first, again, other = (call["dedupe"] for call in site.commands.calls)
        assert first == again
        assert other != first


async def test_commands_that_came_before_the_subscription_are_taken() -> None:
    """A broker that kept our session delivers right after CONNACK."""
    async with ScriptedBroker(suback=1) as broker:
        site = Site(broker.url)
        async with site.running():
            await until(lambda: broker.connects)
            broker.deliver(COMMAND, mid=2)
            await until(lambda: broker.acknowledged == [2])


async def test_a_configuration_may_be_retained() -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url)
        async with site.running():
            await ready(broker)
            broker.deliver(f"{BASE}/d/config", b'{"period":5}', retain=True)
            await until(lambda: broker.acknowledged)
            broker.deliver(f"{BASE}/d/config", b"", mid=2)
            await until(lambda: broker.acknowledged == [1, 2])
        assert site.commands.documents == [("d", {"period": 5})]


async def test_more_commands_than_fit_come_again_with_the_next_connection() -> None:
    async with ScriptedBroker() as broker:
        site = Site(broker.url, version="3.1.1")
        site.commands.gate.clear()
        async with site.running():
            await ready(broker)
            for mid in range(1, 120):
                broker.deliver(COMMAND, str(mid).encode(), mid=mid)
            await until(lambda: len(broker.connects) == 2)
            assert broker.acknowledged == []
            site.commands.gate.set()
