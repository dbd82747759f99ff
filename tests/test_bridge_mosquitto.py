"""The bridge against a real Mosquitto."""

import asyncio
from itertools import count
from pathlib import Path

import pytest

from gateway.core.broker import Closed, Connecting, Delivery, Link, Outgoing, parse_url
from gateway.mqtt import connect
from tests.brokers import Mosquitto, certificates, mosquitto, password_lines, until
from tests.upstream import BASE, Site

BOTH = pytest.mark.parametrize("version", ["5", "3.1.1"])


NUMBERS = count()


class Watcher:
    """Another client of the broker; acknowledges what it gets."""

    def __init__(self) -> None:
        self.got: list[Delivery] = []
        self.link: Link | None = None

    @classmethod
    async def on(cls, broker: Mosquitto, *filters: str) -> "Watcher":
        watcher = cls()
        settings = Connecting(
            address=parse_url(f"mqtt://127.0.0.1:{broker.port}"),
            client_id=f"watcher-{next(NUMBERS)}",
            version="5",
            will=Outgoing(topic="watcher", payload=b""),
        )
        watcher.link = await connect(settings, watcher)
        if filters:
            await watcher.link.subscribe(dict.fromkeys(filters, True))
        return watcher

    def acked(self, mid: int, code: int, text: str) -> None: ...

    def arrived(self, delivery: Delivery) -> None:
        self.got.append(delivery)
        assert self.link is not None
        asyncio.get_running_loop().call_soon(self.link.acknowledge, delivery.mid)

    def closed(self, closed: Closed) -> None: ...

    def send(self, topic: str, payload: bytes = b"", **changes: object) -> None:
        assert self.link is not None
        self.link.publish(Outgoing(topic=topic, payload=payload, **changes))  # type: ignore[arg-type]

    def leave(self) -> None:
        assert self.link is not None
        self.link.abort()

    def status(self) -> list[bytes]:
        return [d.payload for d in self.got if d.topic == f"{BASE}/status"]


@BOTH
async def test_rows_arrive_once_and_in_order(tmp_path: Path, version: str) -> None:
    with mosquitto(tmp_path) as broker:
        watcher = await Watcher.on(broker, f"{BASE}/d/alert")
        site = Site(f"mqtt://127.0.0.1:{broker.port}", version=version)
        rows = site.alerts(300)
        async with site.running():
            await until(lambda: not site.outbox.rows and len(watcher.got) == 300)
        if version == "5":
            assert [int(d.user["id"]) for d in watcher.got] == rows
        watcher.leave()


async def test_nothing_is_lost_when_the_broker_is_killed(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        site = Site(f"mqtt://127.0.0.1:{broker.port}")
        async with site.running():
            await until(lambda: site.bridge.stats.connected)
            first = site.alerts(200)
            await until(lambda: len(site.outbox.done) > 50)
            broker.kill()
            acked = set(site.outbox.done)
            await until(lambda: not site.bridge.stats.connected)
            second = site.alerts(100)
            broker.start()
            watcher = await Watcher.on(broker, f"{BASE}/#")
            await until(lambda: not site.outbox.rows)
            third = site.alerts(10)
            await until(lambda: not site.outbox.rows)
            await until(lambda: watcher.got[-1].user.get("id") == str(third[-1]))
        assert set(site.outbox.done) == {*first, *second, *third}
        assert acked <= set(first)
        assert b"online" in watcher.status()
        watcher.leave()


async def test_the_status_is_retained_from_start_to_stop(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        site = Site(f"mqtt://127.0.0.1:{broker.port}")
        async with site.running():
            await until(lambda: site.bridge.stats.acked)
            early = await Watcher.on(broker, f"{BASE}/status")
            await until(lambda: early.status() == [b"online"])
        await until(lambda: early.status() == [b"online", b"offline"])
        early.leave()
        late = await Watcher.on(broker, f"{BASE}/status")
        await until(lambda: late.status() == [b"offline"])
        assert late.got[0].retain
        late.leave()


async def test_the_last_will_speaks_for_a_gateway_that_vanished(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        site = Site(f"mqtt://127.0.0.1:{broker.port}")
        task = asyncio.create_task(site.bridge.run())
        await until(lambda: site.bridge.stats.acked)
        task.cancel()
        await asyncio.wait([task])
        watcher = await Watcher.on(broker, f"{BASE}/status")
        await until(lambda: watcher.status() == [b"offline"])
        assert watcher.got[0].retain
        watcher.leave()


@BOTH
async def test_a_command_survives_a_gateway_that_could_not_store_it(
    tmp_path: Path, version: str
) -> None:
    with mosquitto(tmp_path) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        watcher = await Watcher.on(broker, "answers")
        first = Site(url, version=version)
        first.commands.gate.clear()
        async with first.running():
            await until(lambda: first.bridge.stats.connected)
            await until(lambda: "SUBACK" in broker.log.read_text())
            await until(lambda: f"{BASE}/+/command/+" in broker.log.read_text())
            watcher.send(f"{BASE}/d/command/relay", b"{}")
            await until(lambda: first.commands.calls)
        second = Site(url, version=version)
        async with second.running():
            await until(lambda: second.commands.taken)
        assert second.commands.taken[0]["dedupe"] == first.commands.calls[0]["dedupe"]
        third = Site(url, version=version)
        async with third.running():
            await until(lambda: third.bridge.stats.acked)
        assert third.commands.calls == []
        watcher.leave()


async def test_a_command_that_is_published_retained_is_refused_at_once(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        watcher = await Watcher.on(broker, f"{BASE}/d/result")
        site = Site(f"mqtt://127.0.0.1:{broker.port}")
        async with site.running():
            await until(lambda: f"{BASE}/+/command/+" in broker.log.read_text())
            watcher.send(f"{BASE}/d/command/relay", b"{}", retain=True)
            await until(lambda: watcher.got)
        assert b'"rejected"' in watcher.got[0].payload
        assert site.commands.calls == []
        watcher.leave()


async def test_a_wrong_password_is_told_in_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = password_lines(tmp_path, username="gw", password="right")
    with mosquitto(tmp_path, *lines, anonymous=False) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        async with Site(url, username="gw", password="wrong").running():
            await until(lambda: f"127.0.0.1:{broker.port} refuses the connection" in caplog.text)
        assert "check mqtt.username, mqtt.password_file" in caplog.text
        assert "wrong" not in caplog.text
        site = Site(url, username="gw", password="right")
        site.alerts(3)
        async with site.running():
            await until(lambda: not site.outbox.rows)


async def test_rows_go_through_tls(tmp_path: Path) -> None:
    files = certificates(tmp_path)
    lines = [
        f"certfile {files['cert']}",
        f"keyfile {files['key']}",
        f"cafile {files['ca']}",
        "require_certificate true",
    ]
    with mosquitto(tmp_path, *lines) as broker:
        site = Site(
            f"mqtts://127.0.0.1:{broker.port}",
            ca_file=files["ca"],
            cert_file=files["cert"],
            key_file=files["key"],
        )
        site.alerts(200, size=5000)
        async with site.running():
            await until(lambda: not site.outbox.rows)
