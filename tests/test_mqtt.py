"""The MQTT client against a scripted broker and against Mosquitto."""

import asyncio
import gc
from pathlib import Path

import pytest

from gateway.core.broker import (
    BrokerError,
    Closed,
    Connecting,
    Delivery,
    Link,
    Outgoing,
    Reply,
    Unsendable,
    parse_url,
)
from gateway.mqtt import connect
from tests.brokers import (
    ScriptedBroker,
    certificates,
    free_port,
    mosquitto,
    password_lines,
    until,
)

WILL = Outgoing(topic="sensors/gw-1/status", payload=b"offline", retain=True)
BOTH = pytest.mark.parametrize("version", ["5", "3.1.1"])


class Ear:
    """Remembers what a link reports."""

    def __init__(self) -> None:
        self.acks: list[tuple[int, int]] = []
        self.deliveries: list[Delivery] = []
        self.ends: list[Closed] = []

    def acked(self, mid: int, code: int, text: str) -> None:
        self.acks.append((mid, code))

    def arrived(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)

    def closed(self, closed: Closed) -> None:
        self.ends.append(closed)


def settings(url: str, **changes: object) -> Connecting:
    known = {"client_id": "sensors-gw-1", "version": "5", "will": WILL}
    return Connecting(address=parse_url(url), **{**known, **changes})  # type: ignore[arg-type]


async def open_link(url: str, **changes: object) -> tuple[Link, Ear]:
    ear = Ear()
    return await connect(settings(url, **changes), ear), ear


@BOTH
async def test_the_session_survives_a_connection(version: str) -> None:
    async with ScriptedBroker(session_present=True) as broker:
        link, _ = await open_link(broker.url, version=version)
        connected = broker.connects[0]
        assert not connected.clean
        assert link.session_present
        assert connected.keepalive == 25
        assert connected.client_id == "sensors-gw-1"
        if version == "5":
            assert connected.properties[17] == 7 * 86_400
            assert connected.properties[33] == 20
        link.abort()


@BOTH
async def test_the_last_will_is_a_retained_offline(version: str) -> None:
    async with ScriptedBroker() as broker:
        link, _ = await open_link(broker.url, version=version)
        connected = broker.connects[0]
        assert (connected.will_topic, connected.will_payload) == (WILL.topic, WILL.payload)
        assert connected.will_retain
        link.abort()


async def test_the_receive_maximum_is_read() -> None:
    async with ScriptedBroker(connack_properties={33: 7}) as broker:
        link, _ = await open_link(broker.url)
        assert link.receive_maximum == 7
        link.abort()


async def test_no_receive_maximum_means_no_limit() -> None:
    async with ScriptedBroker() as broker:
        link, _ = await open_link(broker.url)
        assert link.receive_maximum == 65_535
        link.abort()


@BOTH
async def test_a_message_arrives_whole_and_its_answer_comes_back(version: str) -> None:
    async with ScriptedBroker(puback=lambda _: 0x10) as broker:
        link, ear = await open_link(broker.url, version=version)
        mid = link.publish(
            Outgoing(
                topic="a/b",
                payload=b"x" * 100_000,
                retain=True,
                content_type="application/json",
                correlation=b"\0\1",
                expiry_s=9,
                user=(("gw", "gw-1"), ("id", "12")),
            )
        )
        await until(lambda: ear.acks)
        message = broker.published[0]
        assert (message.topic, message.payload, message.retain) == ("a/b", b"x" * 100_000, True)
        if version == "5":
            assert ear.acks == [(mid, 0x10)]
            assert message.properties == {
                3: "application/json",
                9: b"\0\1",
                2: 9,
                38: [("gw", "gw-1"), ("id", "12")],
            }
        else:
            assert ear.acks == [(mid, 0)]
        link.abort()


@BOTH
async def test_more_than_the_socket_takes_goes_out_bit_by_bit(version: str) -> None:
    async with ScriptedBroker() as broker:
        link, ear = await open_link(broker.url, version=version)
        sizes = [9_000_000, 1, 3_000_000]
        mids = [link.publish(Outgoing(topic="t", payload=b"x" * size)) for size in sizes]
        await until(lambda: len(ear.acks) == len(sizes))
        assert [len(message.payload) for message in broker.published] == sizes
        assert [mid for mid, _ in ear.acks] == mids
        link.abort()


@pytest.mark.parametrize(
    "topic", ["", "a/+/b", "a/#", "a\0b", "x" * 70_000, "a/\ud800"], ids=range(6)
)
async def test_a_topic_that_would_end_the_connection_is_not_sent(topic: str) -> None:
    async with ScriptedBroker() as broker:
        link, ear = await open_link(broker.url)
        with pytest.raises(Unsendable) as caught:
            link.publish(Outgoing(topic=topic, payload=b""))
        assert caught.value.code == Reply.TOPIC_INVALID
        link.publish(Outgoing(topic="fine", payload=b""))
        await until(lambda: ear.acks)
        assert [message.topic for message in broker.published] == ["fine"]
        link.abort()


async def test_a_message_beyond_the_brokers_maximum_is_not_sent() -> None:
    async with ScriptedBroker(connack_properties={39: 100}) as broker:
        link, ear = await open_link(broker.url)
        with pytest.raises(Unsendable) as caught:
            link.publish(Outgoing(topic="t", payload=b"x" * 200))
        assert caught.value.code == Reply.PACKET_TOO_LARGE
        link.publish(Outgoing(topic="t", payload=b"x" * 50))
        await until(lambda: ear.acks)
        link.abort()


async def test_a_correlation_that_cannot_be_packed_is_not_sent() -> None:
    async with ScriptedBroker() as broker:
        link, _ = await open_link(broker.url)
        with pytest.raises(Unsendable):
            link.publish(Outgoing(topic="t", payload=b"", correlation=b"x" * 70_000))
        link.abort()


@BOTH
async def test_a_delivery_is_acknowledged_only_when_told(version: str) -> None:
    async with ScriptedBroker() as broker:
        link, ear = await open_link(broker.url, version=version)
        properties = {8: "answers", 9: b"\xab", 2: 30, 38: [("ttl_ms", "5"), ("flags", "1")]}
        broker.deliver("sensors/gw-1/d/command/x", b"{}", mid=9, properties=properties)
        await until(lambda: ear.deliveries)
        link.publish(Outgoing(topic="t", payload=b""))
        await until(lambda: ear.acks)
        assert broker.acknowledged == []
        delivery = ear.deliveries[0]
        assert (delivery.mid, delivery.payload, delivery.retain) == (9, b"{}", False)
        if version == "5":
            assert (delivery.response_topic, delivery.correlation) == ("answers", b"\xab")
            assert (delivery.expiry_s, delivery.user["flags"]) == (30, "1")
        link.acknowledge(delivery.mid)
        await until(lambda: broker.acknowledged == [9])
        link.abort()


@BOTH
async def test_subscriptions_ask_for_retained_messages_once(version: str) -> None:
    async with ScriptedBroker() as broker:
        link, _ = await open_link(broker.url, version=version)
        await link.subscribe({"a/+": True, "b/+": False})
        expected = {"a/+": 1 | 8 | 16, "b/+": 1 | 16} if version == "5" else {"a/+": 1, "b/+": 1}
        assert broker.subscriptions == [expected]
        link.abort()


@BOTH
async def test_a_refused_subscription_says_which(version: str) -> None:
    async with ScriptedBroker(suback=0x87 if version == "5" else 0x80) as broker:
        link, _ = await open_link(broker.url, version=version)
        with pytest.raises(BrokerError, match=r"subscription to a/\+.*check that the broker"):
            await link.subscribe({"a/+": False})
        assert link.open
        link.abort()


@BOTH
async def test_a_lost_connection_is_reported_once(version: str) -> None:
    async with ScriptedBroker() as broker:
        link, ear = await open_link(broker.url, version=version)
        broker.drop()
        await until(lambda: ear.ends)
        link.abort()
        link.acknowledge(3)
        with pytest.raises(BrokerError):
            link.publish(Outgoing(topic="t", payload=b""))
        await asyncio.sleep(0)
        assert ear.ends == [Closed(None, "the connection was lost", lost=True)]
        assert not link.open


async def test_a_broker_that_falls_silent_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.mqtt.client.KEEPALIVE_S", 1)
    async with ScriptedBroker() as broker:
        link, ear = await open_link(broker.url)
        await asyncio.sleep(3)
        assert link.open
        broker.script.deaf = True
        await until(lambda: ear.ends)
        await asyncio.sleep(1.5)
        assert ear.ends == [Closed(None, "the broker fell silent")]


async def test_the_brokers_reason_is_reported() -> None:
    async with ScriptedBroker() as broker:
        _, ear = await open_link(broker.url)
        broker.disconnect(0x8E)
        await until(lambda: ear.ends)
        assert [end.code for end in ear.ends] == [Reply.TAKEN_OVER]
        assert "taken over" in ear.ends[0].text


async def test_a_clean_end_says_goodbye() -> None:
    async with ScriptedBroker() as broker:
        link, _ = await open_link(broker.url)
        await link.disconnect()
        assert not link.open
        await until(lambda: broker.goodbyes == [0])


async def test_an_abort_says_nothing() -> None:
    async with ScriptedBroker() as broker:
        link, _ = await open_link(broker.url)
        link.abort()
        await until(lambda: broker.closed)
        assert broker.goodbyes == []


async def test_a_failing_listener_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    class Deaf(Ear):
        def acked(self, mid: int, code: int, text: str) -> None:
            raise LookupError("no such message")

    async with ScriptedBroker() as broker:
        ear = Deaf()
        link = await connect(settings(broker.url), ear)
        link.publish(Outgoing(topic="t", payload=b""))
        await until(lambda: ear.ends)
        assert "no such message" in caplog.text


@pytest.mark.parametrize("garbage", [b"\xff" * 64, b"HTTP/1.1 400 Bad\r\n\r\n", b"\x20\x01\x00"])
async def test_what_is_not_mqtt_is_told_plainly(garbage: bytes) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(garbage)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(BrokerError, match=f"127.0.0.1:{port} .*check that an MQTT broker"):
            await open_link(f"mqtt://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("version", "code", "words"),
    [
        ("5", 0x86, "mqtt.username and mqtt.password_file"),
        ("5", 0x87, "what the broker allows this user"),
        ("5", 0x84, "mqtt.version"),
        ("5", 0x9A, "retained"),
        ("3.1.1", 4, "mqtt.username and mqtt.password_file"),
        ("3.1.1", 5, "what the broker allows this user"),
    ],
)
async def test_a_refusal_says_what_to_check(version: str, code: int, words: str) -> None:
    async with ScriptedBroker(connack=code) as broker:
        with pytest.raises(BrokerError, match=words) as caught:
            await open_link(broker.url, version=version)
        assert f"127.0.0.1:{broker.port} refuses the connection" in str(caught.value)


async def test_a_broker_without_qos_1_is_refused() -> None:
    async with ScriptedBroker(connack_properties={36: 0}) as broker:
        with pytest.raises(BrokerError, match="QoS 1"):
            await open_link(broker.url)


async def test_nobody_listens() -> None:
    with pytest.raises(BrokerError, match="nothing listens at 127"):
        await open_link(f"mqtt://127.0.0.1:{free_port()}")


async def test_a_connection_that_nobody_waits_for_is_closed() -> None:
    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while await reader.read(100):
            pass
        ended.set()

    ended = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        task = asyncio.create_task(open_link(f"mqtt://127.0.0.1:{port}"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(10):
            await ended.wait()


async def test_many_connections_leave_nothing_behind() -> None:
    async with ScriptedBroker() as broker:
        await open_and_lose(broker)
        gc.collect()
        before = open_files(), len(asyncio.all_tasks())
        for _ in range(50):
            await open_and_lose(broker)
        gc.collect()
        await until(lambda: len(asyncio.all_tasks()) <= before[1])
        assert open_files() <= before[0] + 1


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def open_and_lose(broker: ScriptedBroker) -> None:
    _, ear = await open_link(broker.url)
    broker.drop()
    await until(lambda: ear.ends)


# -- Mosquitto ----------------------------------------------------------------------------------


@BOTH
async def test_mosquitto_takes_and_delivers(tmp_path: Path, version: str) -> None:
    with mosquitto(tmp_path) as broker:
        link, ear = await open_link(f"mqtt://127.0.0.1:{broker.port}", version=version)
        await link.subscribe({"a/#": False})
        link.publish(Outgoing(topic="a/b", payload=b"hello", user=(("id", "1"),)))
        await until(lambda: ear.acks and ear.deliveries)
        assert ear.deliveries[0].payload == b"hello"
        await link.disconnect()


async def test_mosquitto_refuses_a_wrong_password(tmp_path: Path) -> None:
    lines = password_lines(tmp_path, username="gw", password="right")
    with mosquitto(tmp_path, *lines, anonymous=False) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        with pytest.raises(BrokerError, match=r"check mqtt\.username, mqtt\.password_file"):
            await open_link(url, username="gw", password="wrong")
        link, _ = await open_link(url, username="gw", password="right")
        link.abort()


async def test_tls_is_checked(tmp_path: Path) -> None:
    files = certificates(tmp_path)
    lines = [f"certfile {files['cert']}", f"keyfile {files['key']}"]
    with mosquitto(tmp_path, *lines) as broker:
        url = f"mqtts://127.0.0.1:{broker.port}"
        with pytest.raises(BrokerError, match=r"certificate of .* is not trusted"):
            await open_link(url)
        link, ear = await open_link(url, ca_file=files["ca"])
        await link.subscribe({"a": False})
        for _ in range(20):
            link.publish(Outgoing(topic="a", payload=b"y" * 50_000))
        await until(lambda: len(ear.acks) == 20 and len(ear.deliveries) == 20)
        await link.disconnect()
        with pytest.raises(BrokerError, match="mqtts://"):
            await open_link(url.replace("mqtts", "mqtt"))


async def test_tls_to_a_plain_port_is_told(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, pytest.raises(BrokerError, match=r"127\.0\.0\.1"):
        await open_link(f"mqtts://127.0.0.1:{broker.port}")


async def test_an_unusable_certificate_file_is_named(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, pytest.raises(BrokerError, match=r"nothing-here\.pem"):
        await open_link(f"mqtts://127.0.0.1:{broker.port}", ca_file=tmp_path / "nothing-here.pem")


async def test_mosquitto_publishes_the_will_of_a_killed_client(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        watcher, ear = await open_link(url, client_id="watcher")
        await watcher.subscribe({WILL.topic: False})
        link, _ = await open_link(url)
        link.abort()
        await until(lambda: ear.deliveries)
        assert ear.deliveries[0].payload == b"offline"
        await watcher.disconnect()


async def test_mosquitto_gives_the_session_to_the_newer_connection(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        _, first = await open_link(url)
        second, _ = await open_link(url)
        await until(lambda: first.ends)
        assert second.session_present
        await second.disconnect()
