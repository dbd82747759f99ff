"""The device end of the protocol, against a scripted gateway over a real socket."""

from typing import Any

import pytest

from gateway.core.messages import (
    Bye,
    Command,
    Config,
    Dack,
    Data,
    Event,
    Gap,
    Result,
    Schema,
    Timesync,
)
from simulators.memory import Answer, Memory
from simulators.spool import RamSpool
from tests.simulators.gateway_end import Stream
from tests.simulators.parts import Probe, reading, running, settled


def values(end: Any) -> list[float]:
    return [message.columns[0] for message in end.taken(Data)]


async def test_what_is_queued_is_sent_in_order_and_freed_when_acknowledged(make, end):
    device = make()
    for value in (1.0, 2.0, 3.0):
        device.offer(reading(value))
    async with running(device):
        await settled(device)
    assert values(end) == [1.0, 2.0, 3.0]
    assert end.calls[0].states == [1]
    assert (device.counts.sent, device.counts.acknowledged) == (3, 3)
    assert device.counts.acknowledged_readings == 3
    assert [type(m) for m in end.calls[0].heard][-1] is Bye
    assert not end.errors


async def test_a_stopped_device_says_bye_with_reason_done(make, end):
    device = make()
    async with running(device):
        await end.until(lambda: end.calls and end.calls[0].states)
    await end.until(lambda: end.calls[0].of(Bye))
    assert end.calls[0].of(Bye)[0].reason == 0


async def test_the_send_limit_is_obeyed(make, end):
    end.window, end.mute = 4, True
    device = make()
    for value in range(10):
        device.offer(reading(float(value)))
    async with running(device):
        await end.until(lambda: len(end.committed) == 4)
        end.mute = False
        await end.ack(end.calls[0])
        await settled(device)
    assert values(end) == [float(v) for v in range(10)]
    assert not end.errors


async def test_after_a_drop_the_device_resumes_behind_what_is_committed(make, end):
    end.mute = True
    device = make()
    for value in range(5):
        device.offer(reading(float(value)))
    async with running(device):
        await end.until(lambda: len(end.committed) == 5)
        end.mute = False
        device.offer(reading(5.0))
        await end.until(lambda: len(end.committed) == 6)
        end.calls[0].ws._req.transport.abort()
        await end.until(lambda: len(end.calls) == 2 and end.calls[1].states)
        device.offer(reading(6.0))
        await settled(device)
    assert end.calls[1].states == [0]
    assert values(end) == [float(v) for v in range(7)]
    assert device.counts.acknowledged == 7
    assert device.counts.reconnects == 1


async def test_a_lost_acknowledgement_frees_by_the_next_welcome(make, end):
    end.mute = True
    device = make()
    device.offer(reading())
    async with running(device):
        await end.until(lambda: end.committed)
        end.calls[0].ws._req.transport.abort()
        await settled(device)
    assert len(end.committed) == 1
    assert device.counts.resent == 0


async def test_a_refused_device_takes_a_new_epoch_on_the_same_socket(make, end):
    end.refuse_next = 1
    device = make()
    epoch = device.spool.epoch
    device.offer(reading(4.0))
    device.spool.free(0)
    async with running(device):
        await settled(device)
    call = end.calls[0]
    assert call.states == [3, 1]
    assert call.hellos[0].epoch == epoch
    assert call.hellos[1].epoch == device.spool.epoch != epoch
    assert (call.hellos[1].lo, call.hellos[1].hi) == (1, 1)
    assert values(end) == [4.0]
    assert device.counts.refused == 1


async def test_a_gateway_that_lost_numbers_says_gap_and_the_device_goes_on(make, end):
    device = make()
    for value in range(6):
        device.offer(reading(float(value)))
    device.spool.free(4)
    end.streams["probe-1", device.spool.epoch] = Stream(committed=2)
    async with running(device):
        await settled(device)
    assert end.calls[0].states == [2]
    assert values(end) == [4.0, 5.0]


async def test_an_overflow_becomes_a_gap_with_its_numbers_and_readings(make, end):
    device = make(spool=RamSpool(3))
    for value in range(10):
        device.offer(reading(float(value)))
    async with running(device):
        await settled(device)
    assert end.taken(Gap) == [Gap(seq=1, last=7, reason=1, readings=7)]
    assert values(end) == [7.0, 8.0, 9.0]
    assert (device.counts.lost, device.counts.lost_readings) == (7, 7)
    assert device.counts.acknowledged == 3


async def test_an_overflow_while_messages_are_in_flight_declares_only_the_rest(make, end):
    end.window, end.mute = 2, True
    device = make(spool=RamSpool(3))
    for value in range(3):
        device.offer(reading(float(value)))
    async with running(device):
        await end.until(lambda: len(end.committed) == 2)
        for value in range(3, 8):
            device.offer(reading(float(value)))
        end.mute = False
        await end.ack(end.calls[0])
        await settled(device)
    assert values(end) == [0.0, 1.0, 5.0, 6.0, 7.0]
    assert end.taken(Gap) == [Gap(seq=3, last=5, reason=1, readings=3)]


async def test_a_schema_is_sent_once_and_again_only_when_wanted(make, end):
    device = make()
    device.offer(reading())
    async with running(device):
        await settled(device)
        end.calls[0].ws._req.transport.abort()
        await end.until(lambda: len(end.calls) == 2 and end.calls[1].states)
        device.offer(reading())
        await settled(device)
        assert not end.calls[1].of(Schema)
        await end.need(end.calls[1], 1)
        await end.until(lambda: end.calls[1].of(Schema))
    assert len(end.calls[0].of(Schema)) == 1


async def test_queued_schemas_are_named_in_hello(make, end):
    device = make()
    device.offer(reading())
    async with running(device):
        await settled(device)
    assert end.calls[0].hellos[0].schemas == {1: b"abcd"}


async def test_data_offered_between_hello_and_welcome_still_gets_its_schema(make, end):
    device = make()
    seen = []
    original = device.welcomed

    def welcomed() -> None:
        seen.append(device.spool.hi)
        original()

    device.welcomed = welcomed
    end.before_welcome = lambda: device.offer(reading())
    async with running(device):
        await end.until(lambda: end.committed)
        await settled(device)
    assert seen == [1]
    assert end.calls[0].hellos[0].schemas is None
    assert len(end.calls[0].of(Schema)) == 1
    assert device.counts.rejected == 0


async def test_rejects_are_counted_and_wedge_nothing(make, end):
    device = make(body=Probe())
    device.body.schemas = {}
    device.offer(reading())
    device.offer(reading())
    async with running(device):
        await settled(device)
    assert (device.counts.rejected, device.counts.rejected_readings) == (2, 2)
    assert device.counts.acknowledged_readings == 0


async def order(end: Any, device: Any, *messages: Any) -> list[Any]:
    """Send downlink messages once the device is there; the results it gives."""
    async with running(device):
        await end.until(lambda: end.calls and end.calls[0].states)
        for message in messages:
            await end.calls[0].say(message)
        await end.until(lambda: len(end.calls[0].of(Dack)) == len(messages))
        await settled(device)
    return end.taken(Result)


def command(seq: int, op: int | str, args: Any = None, **keys: Any) -> Command:
    return Command(seq=seq, op=op, args=args, **({"ttl_ms": None, "flags": None} | keys))


async def test_a_command_is_carried_out_and_its_result_is_queued(make, end):
    device = make()
    results = await order(end, device, command(1, "relay", {"on": True}))
    assert device.body.acts == [("relay", {"on": True})]
    assert (results[0].command, results[0].status) == ([end.store_id, 1], 0)
    assert results[0].value == {"did": "relay"}
    assert end.calls[0].of(Dack)[0].handled == 1
    assert device.memory.position == 1


async def test_an_unknown_command_is_unsupported(make, end):
    results = await order(end, make(), command(1, "sing"))
    assert results[0].status == 3


async def test_a_repeated_command_replays_its_result(make, end):
    device = make()
    again = command(1, "relay", {"on": True})
    results = await order(end, device, again, again)
    assert len(device.body.acts) == 1
    assert [(r.status, r.value) for r in results] == [(0, {"did": "relay"})] * 2


async def test_a_command_without_time_left_expires(make, end):
    device = make()
    results = await order(end, device, command(1, "relay", ttl_ms=0))
    assert (results[0].status, device.body.acts) == (4, [])


async def test_at_most_once_after_a_reboot_in_the_middle_is_unknown(make, end):
    memory = Memory()
    memory.meet(end.store_id)
    memory.begin(1)
    device = make(memory=memory)
    results = await order(end, device, command(1, "relay", flags=1))
    assert (results[0].status, device.body.acts) == (5, [])


async def test_a_new_store_resets_the_downlink_position(make, end):
    memory = Memory()
    memory.meet(b"another!")
    memory.finish(Answer(7, 0, None))
    device = make(memory=memory)
    results = await order(end, device, command(1, "relay"))
    assert end.calls[0].hellos[0].position == [b"another!", 7]
    assert results[0].status == 0
    assert memory.position == 1


async def test_a_configuration_is_applied_once_with_its_version(make, end):
    device = make()
    config = Config(seq=1, version=4, document={"interval_s": 2})
    await order(end, device, config, config)
    assert device.body.documents == [{"interval_s": 2}]
    assert device.memory.version == 4
    assert end.taken(Event)[0].detail == {"version": 4}


async def test_a_reboot_command_is_accepted_before_and_done_after_the_new_boot(make, end):
    device = make()

    async def rest(_: float) -> None:
        """No pause."""

    device._rest = rest
    async with running(device):
        await end.until(lambda: end.calls and end.calls[0].states)
        boot = device.clock.boot
        await end.calls[0].say(command(1, "reboot"))
        await end.until(lambda: len(end.calls) == 2 and end.calls[1].of(Result))
    assert [result.status for result in end.taken(Result)] == [1, 0]
    assert end.calls[0].of(Bye)[0].reason == 2
    assert end.calls[1].hellos[0].boot == device.clock.boot != boot
    assert device.memory.answer(1) == Answer(1, 0, None)


async def test_readings_of_the_boot_before_keep_its_clock(make, end):
    device = make()
    boot = device.clock.boot
    device.offer(reading(1.0, clock=boot))
    device.reboot()
    device.offer(reading(2.0, clock=device.clock.boot))
    async with running(device):
        await settled(device)
    assert [message.clock for message in end.taken(Data)] == [boot, None]
    assert end.calls[0].hellos[0].boot == device.clock.boot


async def test_time_is_asked_for_at_the_interval(make, end):
    device = make(timesync_s=0.001)
    async with running(device):
        await end.until(lambda: end.calls and len(end.calls[0].of(Timesync)) > 1)


async def test_a_device_that_naps_says_for_how_long(make, end):
    device = make(body=Probe())
    device.body.nap_s = 3600.0
    device.offer(reading())
    async with running(device):
        await end.until(lambda: end.calls and end.calls[0].of(Bye))
    assert end.calls[0].of(Bye)[0] == Bye(reason=1, sleep_ms=3_600_000)


@pytest.mark.parametrize(("code", "least", "most"), [(4000, 1, 60), (4500, 3600, 3960)])
async def test_close_codes_set_the_pause(make, end, code, least, most):
    end.close_with = code
    device = make(scale=1.0)
    pauses: list[float] = []

    async def rest(seconds: float) -> None:
        pauses.append(seconds)
        device.stop()

    device._rest = rest
    await device.run()
    assert least <= pauses[0] <= most
    assert f"{code} as scripted" in device.tally.troubles["probe-1"]


async def test_a_message_that_is_too_big_is_given_up(make, end):
    device = make()
    device.offer(reading(1.0))
    device.offer(reading(2.0))
    end.close_with = 4504
    async with running(device):
        await end.until(lambda: len(end.calls) == 1)
        end.close_with = None
        await settled(device)
    assert [gap.reason for gap in end.taken(Gap)] == [3]


async def test_a_wrong_token_says_what_to_do(make, end):
    end.token = "right"
    device = make(token="wrong", scale=1.0)
    pauses: list[float] = []

    async def rest(seconds: float) -> None:
        pauses.append(seconds)
        device.stop()

    device._rest = rest
    await device.run()
    assert pauses[0] >= 3600
    assert "gateway device add probe-1" in device.tally.troubles["probe-1"]


async def test_the_right_token_goes_in_the_header(make, end):
    end.token = "right"
    device = make(token="right")
    device.offer(reading())
    async with running(device):
        await settled(device)
    assert end.calls[0].hellos[0].token is None


async def test_an_unreachable_gateway_is_named(make, unused_tcp_port):
    url = f"ws://127.0.0.1:{unused_tcp_port}/link"
    device = make(url=url)

    async def rest(_: float) -> None:
        device.stop()

    device._rest = rest
    await device.run()
    trouble = device.tally.troubles["probe-1"]
    assert f"cannot reach {url}: Connection refused" in trouble


async def test_an_answer_without_sense_closes_the_link(make, end):
    device = make()
    async with running(device):
        await end.until(lambda: end.calls and end.calls[0].states)
        await end.calls[0].ws.send_bytes(b"\xff")
        await end.until(lambda: len(end.calls) == 2 and end.calls[1].states)
    assert end.calls[0].ws.close_code == 4500


def test_a_memory_on_disk_survives(tmp_path):
    memory = Memory(tmp_path / "m.json")
    memory.meet(b"12345678")
    memory.begin(3)
    memory.finish(Answer(3, 0, {"on": True}))
    memory.configure(4, 9, {"interval_s": 2})
    again = Memory(tmp_path / "m.json")
    assert (again.store_id, again.position, again.begun) == (b"12345678", 4, 3)
    assert again.answer(3) == Answer(3, 0, {"on": True})
    assert (again.version, again.document) == (9, {"interval_s": 2})
