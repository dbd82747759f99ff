"""The device protocol against the running gateway, case by case from docs/wire.md."""

import asyncio
import itertools
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import cbor2
import numpy as np
import pytest

from tests.processes import GatewayProcess
from tests.wire_client import WireClient, new_epoch

NAMES = (f"dev-{n}" for n in itertools.count())
MORE = '[summaries]\nwindows = ["1s", "2s"]\nlateness = "1s"\n'


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    process = GatewayProcess(tmp_path_factory.mktemp("link"), more=MORE)
    process.start()
    yield process
    assert process.stop() == 0


@pytest.fixture
def device(gateway: GatewayProcess) -> WireClient:
    return WireClient(gateway.link, next(NAMES))


def data(seq: int, *columns: object, t0: int = 1000, **more: object) -> dict[int, object]:
    keys = {int(name[1:]): value for name, value in more.items()}
    return {0: 16, 1: seq, 2: 1, 3: t0, 5: list(columns), **keys}


def stored(gateway: GatewayProcess, device: str) -> list[dict[str, object]]:
    return [row for row in gateway.export() if row["dev"] == device]


async def test_a_new_epoch_goes_on_from_what_the_device_kept(device: WireClient) -> None:
    async with device:
        welcome = await device.hello(new_epoch(), 5, 9)
        assert (welcome[4], welcome[5], welcome[6]) == (1, 4, 36)


async def test_a_known_epoch_resumes_where_the_commit_was(device: WireClient) -> None:
    epoch = new_epoch()
    async with device:
        await device.hello(epoch)
        await device.schema()
        for seq in range(1, 6):
            await device.send(data(seq, 1.5, x7=0))
        assert (await device.acked(5))[2] == 5
    async with device:
        welcome = await device.hello(epoch, 3, 8, x12={1: b"mark"})
        assert (welcome[4], welcome[5]) == (0, 5)
        assert 11 not in welcome


async def test_numbers_that_the_device_lost_are_declared(
    device: WireClient, gateway: GatewayProcess
) -> None:
    epoch = new_epoch()
    async with device:
        await device.hello(epoch)
        await device.send({0: 18, 1: 1, 2: "started"})
        await device.acked(1)
    async with device:
        welcome = await device.hello(epoch, 5, 9)
        assert (welcome[4], welcome[5]) == (2, 4)
    losses = gateway.get(f"/api/devices/{device.device}/losses")["losses"]
    assert [(loss["from"], loss["to"]) for loss in losses] == [(2, 4)]


async def test_a_lost_counter_is_refused_and_begins_again_on_the_same_socket(
    device: WireClient,
) -> None:
    epoch = new_epoch()
    async with device:
        await device.hello(epoch)
        await device.send({0: 18, 1: 1, 2: "x"})
        await device.acked(1)
    async with device:
        refused = await device.hello(epoch, 1, 0)
        assert (refused[4], refused[5], refused[6]) == (3, 1, 0)
        assert (await device.hello(new_epoch()))[4] == 1


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (cbor2.dumps({0: 16, 1: 2, 2: 1, 3: 1, 5: [1]}), 4005),
        (cbor2.dumps({0: 18, 1: 1, 2: "a"}) + b"\x00", 4500),
        (bytes.fromhex("a3001201010161780261"), 4500),
        (bytes.fromhex("a400120101010102"), 4500),
        (bytes.fromhex("bf0012010102617aff"), 4500),
        (cbor2.dumps({0: 18, 1: 1, 2: "a", 3: cbor2.CBORTag(35, "a+")}), 4500),
        (cbor2.dumps({0: 18, 1: 0, 2: "a"}), 4500),
        (cbor2.dumps({0: 18, 2: "a"}), 4500),
        (cbor2.dumps({0: 18, True: 1, 2: "a"}), 4500),
        (cbor2.dumps({0: 8, 2: 1, 3: [], 5: b"mark"}), 4500),
        (cbor2.dumps({0: 18, 1: 1, 2: "a", 3: bytes(20_000)}), 4504),
    ],
)
async def test_what_breaks_the_protocol_is_closed(
    device: WireClient, raw: bytes, code: int
) -> None:
    async with device:
        await device.hello(new_epoch())
        await device.socket.send_bytes(raw)
        error = await device.receive(6)
        assert error[2] == code
        assert await device.end() == code


async def test_a_text_message_is_malformed(device: WireClient) -> None:
    async with device:
        await device.hello(new_epoch())
        await device.socket.send_str("{}")
        assert await device.end() == 4500


async def test_readings_before_the_welcome_are_malformed(device: WireClient) -> None:
    async with device:
        await device.send(data(1, 1))
        assert await device.end() == 4500


async def test_another_version(device: WireClient) -> None:
    async with device:
        await device.send({0: 1, 2: [2, 0], 3: device.device, 4: new_epoch(), 5: 1, 6: 0})
        assert await device.end() == 4503


async def test_duplicates_are_dropped_and_acknowledged_again(
    device: WireClient, gateway: GatewayProcess
) -> None:
    async with device:
        await device.hello(new_epoch())
        await device.schema()
        now = int(time.time() * 1000)
        await device.send(data(1, 7.0, t0=now, x7=0))
        await device.acked(1)
        await device.send(data(1, 8.0, t0=now, x7=0))
        assert (await device.receive(3))[2] == 1
    assert [row["v"] for row in stored(gateway, device.device)] == [7.0]


async def test_poison_is_rejected_acknowledged_and_recorded(
    device: WireClient, gateway: GatewayProcess
) -> None:
    async with device:
        await device.hello(new_epoch())
        await device.schema()
        await device.send(data(1, [1.0, 2.0], x7=0))
        await device.send({0: 99, 1: 2})
        await device.send(data(3, float("inf"), x7=0))
        await device.send(data(4, 4.0, t0=int(time.time() * 1000), x7=0))
        rejects: list[list[int]] = []
        committed = 0
        while committed < 4:
            ack = await device.receive(3)
            committed = ack[2]
            rejects += ack.get(4, [])
        assert rejects == [[1, 4], [2, 1], [3, 6]]
    found = gateway.get(f"/api/devices/{device.device}/rejected")["rejected"]
    assert sorted(row["seq"] for row in found) == [1, 2, 3]
    assert [row["v"] for row in stored(gateway, device.device)] == [4.0]


async def test_a_schema_is_asked_for_and_the_data_waits(
    device: WireClient, gateway: GatewayProcess
) -> None:
    async with device:
        welcome = await device.hello(new_epoch(), x12={1: b"mark"})
        assert welcome[11] == [1]
        await device.send(data(1, 1.0, t0=int(time.time() * 1000), x7=0))
        assert (await device.receive(5))[2] == [1]
        await device.schema()
        assert (await device.acked(1))[2] == 1
    assert len(stored(gateway, device.device)) == 1


async def test_columns_of_every_type(device: WireClient, gateway: GatewayProcess) -> None:
    types = {64: "u1", 72: "i1", 69: "<u2", 77: "<i2", 70: "<u4", 78: "<i4"}
    types |= {71: "<u8", 79: "<i8", 84: "<f2", 85: "<f4", 86: "<f8"}
    fields = [{0: f"m{tag}", 2: tag} for tag in types]
    fields += [{0: "open", 2: 0}, {0: "state", 2: 1}]
    now = int(time.time() * 1000)
    columns: list[object] = [
        cbor2.CBORTag(tag, np.array([1, 2], code).tobytes()) for tag, code in types.items()
    ]
    columns += [[True, None], "idle"]
    async with device:
        await device.hello(new_epoch())
        await device.schema(fields=fields)
        await device.send(data(1, *columns, t0=now, x4=10, x7=0))
        assert 4 not in await device.acked(1)
    rows = stored(gateway, device.device)
    by_metric = {row["m"]: [r["v"] for r in rows if r["m"] == row["m"]] for row in rows}
    assert by_metric == {f"m{tag}": [1, 2] for tag in types} | {
        "open": [True],
        "state": ["idle", "idle"],
    }
    assert {row["t"] for row in rows} == {now * 10**6, (now + 10) * 10**6}


async def test_the_monotonic_clock_is_mapped(device: WireClient, gateway: GatewayProcess) -> None:
    async with device:
        begun = time.time_ns()
        await device.hello(new_epoch(), x8=50_000)
        await device.schema()
        await device.send(data(1, 1.0, t0=50_000))
        await device.acked(1)
        await device.send({0: 4, 2: 60_000})
        answer = await device.receive(4)
        assert answer[2] == 60_000
        assert answer[3] <= answer[4]
    (row,) = stored(gateway, device.device)
    assert begun - 10**9 <= row["t"] <= time.time_ns()  # type: ignore[operator]


async def test_unknown_time_is_placed_when_its_boot_is_known(
    device: WireClient, gateway: GatewayProcess
) -> None:
    epoch, boot = new_epoch(), new_epoch()
    async with device:
        await device.hello(epoch, x8=1)
        await device.schema()
        await device.send(data(1, 1.0, t0=4_000, x7=boot))
        await device.acked(1)
    (row,) = stored(gateway, device.device)
    assert (row["t"], row["raw"], row["boot"]) == (None, 4_000_000_000, boot.hex())
    async with device:
        await device.hello(epoch, 2, 1, x7=boot, x8=5_000)
        for _ in range(200):
            (row,) = stored(gateway, device.device)
            if row["t"] is not None:
                break
            await asyncio.sleep(0.05)
    assert abs(row["t"] - time.time_ns()) < 120 * 10**9


async def test_the_newest_connection_wins(device: WireClient, gateway: GatewayProcess) -> None:
    epoch = new_epoch()
    async with device, WireClient(gateway.link, device.device) as newer:
        await device.hello(epoch)
        await newer.hello(epoch)
        assert await device.end() == 4001


def post(gateway: GatewayProcess, device: str, body: dict[str, object]) -> int:
    request = urllib.request.Request(
        f"{gateway.url}/api/devices/{device}/commands", json.dumps(body).encode()
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 202
        n: int = json.load(answer)["n"]
        return n


async def test_a_command_reaches_the_device_and_its_result_comes_back(
    device: WireClient, gateway: GatewayProcess
) -> None:
    epoch = new_epoch()
    async with device:
        welcome = await device.hello(epoch)
        body = {"op": "relay", "args": {"on": True}, "ttl_ms": 60_000}
        n = await asyncio.to_thread(post, gateway, device.device, body)
        command = await device.receive(21)
        assert (command[2], command[3]) == ("relay", {"on": True})
        store = welcome[3]
    async with device:
        await device.hello(epoch)
        again = await device.receive(21)
        assert again[1] == command[1]
        await device.send({0: 9, 2: again[1]})
        await device.send({0: 19, 1: 1, 2: [store, again[1]], 3: 0, 4: "done"})
        await device.acked(1)
    found = gateway.get(f"/api/commands/{n}")
    assert (found["state"], found["result"]) == ("done", "done")


async def test_a_command_expires_in_the_queue(device: WireClient, gateway: GatewayProcess) -> None:
    epoch = new_epoch()
    async with device:
        await device.hello(epoch)
        await device.send({0: 7, 2: 0})
        await device.end()
    n = await asyncio.to_thread(post, gateway, device.device, {"op": "x", "ttl_ms": 1})
    async with device:
        assert (await device.hello(epoch))[4] == 0
        await device.send({0: 18, 1: 1, 2: "x"})
        await device.acked(1)
    assert gateway.get(f"/api/commands/{n}")["state"] == "expired"


async def test_presence_follows_hello_and_bye(device: WireClient, gateway: GatewayProcess) -> None:
    def state() -> str:
        found: str = gateway.get(f"/api/devices/{device.device}")["state"]
        return found

    epoch = new_epoch()
    for bye, parted in (([1, 60_000], "asleep"), ([0], "offline")):
        async with device:
            await device.hello(epoch)
            assert state() == "online"
            await device.send({0: 7} | dict(enumerate(bye, 2)))
            assert await device.end() == 1000
        for _ in range(200):
            if state() == parted:
                break
            await asyncio.sleep(0.02)
        assert state() == parted


def test_tokens_are_demanded(tmp_path_factory: pytest.TempPathFactory) -> None:
    gateway = GatewayProcess(tmp_path_factory.mktemp("token"), auth="token")
    gateway.start()
    asked = [sys.executable, "-m", "gateway", "device", "add", "sn-1"]
    made = subprocess.run(
        [*asked, "--config", str(gateway.config)], check=True, capture_output=True, text=True
    )
    token = made.stdout.strip()

    async def codes() -> list[object]:
        async with WireClient(gateway.link, "sn-1") as none:
            await none.send({0: 1, 2: [1, 0], 3: "sn-1", 4: new_epoch(), 5: 1, 6: 0})
            first = await none.end()
        async with WireClient(gateway.link, "sn-2", token=token) as other:
            await other.send({0: 1, 2: [1, 0], 3: "sn-2", 4: new_epoch(), 5: 1, 6: 0})
            second = await other.end()
        async with WireClient(gateway.link, "sn-1") as inside:
            third = await inside.hello(new_epoch(), x14=token)
        async with WireClient(gateway.link, "sn-1", token=token) as right:
            fourth = await right.hello(new_epoch())
        return [first, second, third[4], fourth[4]]

    assert asyncio.run(codes()) == [4501, 4501, 1, 1]
    gateway.stop()


async def test_when_a_device_was_seen_last_survives_a_kill(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path)
    gateway.start()

    def seen() -> int:
        found: int = gateway.get("/api/devices/seen")["last_seen"]
        return found

    async with WireClient(gateway.link, "seen") as device:
        await device.hello(new_epoch())
        await device.schema()
        greeted, seq = seen(), 0
        while seen() <= greeted:
            seq += 1
            await device.send(data(seq, 1.0, x7=0))
            await device.acked(seq)
        last = seen()
        gateway.kill()
    gateway.start()
    assert seen() == last
    assert gateway.stop() == 0
    command = [sys.executable, "-m", "gateway", "device", "list", "--json"]
    done = subprocess.run([*command, "--config", gateway.config], capture_output=True, check=True)
    assert json.loads(done.stdout)["last_seen"] == last
