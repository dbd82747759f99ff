"""Made-up devices are reproducible, valid on the wire, and look like the real thing."""

from typing import Any

import numpy as np
import pytest

from gateway.core import cbor
from gateway.core.columns import read_data
from gateway.core.layouts import read_schema
from gateway.core.messages import Data, Event, Message, Senml, parse, to_map
from gateway.core.readings import Clock, Timebase
from gateway.core.senml import read_senml
from simulators.clocks import DeviceClock
from simulators.kinds import KINDS, Kind
from simulators.kinds.base import NS

START = 1_767_225_600 * NS
"""Midnight UTC."""


def clock(**given: Any) -> DeviceClock:
    return DeviceClock(b"bootbody", START - 5 * NS, **given)


def taken(kind: Kind, n: int, device_clock: DeviceClock | None = None) -> list[Message]:
    use = device_clock or clock(unix=not kind.clockless)
    return [draft.message for _ in range(n) for draft in kind.take(use)]


def decoded(message: Message, kind: Kind) -> Any:
    """The batch that the gateway makes of a message, over the wire."""
    found = cbor.decode(cbor.encode(to_map(message) | {1: 1}))
    if isinstance(message, Senml):
        return read_senml(
            found[2], device="d", received=START, latest=None, speaks_for_others=False
        )
    layout = read_schema(kind.schemas[found[2]])
    timebase = Timebase(Clock.DEVICE)
    return read_data(parse(Data, found), layout, device="d", timebase=timebase, latest=None)


def series(kind: Kind, hours: float) -> dict[str, np.ndarray]:
    """Values of each metric over so many hours."""
    found: dict[str, list[float]] = {}
    end = kind.due + hours * 3600 * NS
    while kind.due < end:
        for draft in kind.take(clock()):
            if isinstance(draft.message, Event):
                continue
            for column in decoded(draft.message, kind).columns:
                found.setdefault(column.key.metric, []).extend(column.v)
    return {metric: np.array(values) for metric, values in found.items()}


@pytest.mark.parametrize("name", KINDS)
def test_a_seed_makes_the_same_device(name):
    make = KINDS[name]
    one, two, other = make(5, start=START), make(5, start=START), make(6, start=START)
    assert taken(one, 5) == taken(two, 5)
    assert taken(one, 5) != taken(other, 5)


@pytest.mark.parametrize("name", KINDS)
def test_the_gateway_understands_every_message(name):
    kind = KINDS[name](1, start=START)
    for _ in range(30):
        for draft in kind.take(clock()):
            if isinstance(draft.message, Event):
                continue
            batch = decoded(draft.message, kind)
            assert len(batch) == draft.readings > 0
            assert len(cbor.encode(to_map(draft.message))) < 16_384


@pytest.mark.parametrize("name", KINDS)
def test_times_go_on_without_holes(name):
    kind = KINDS[name](1, start=START)
    before = START - 1
    for message in taken(kind, 20, clock()):
        if isinstance(message, Event):
            continue
        first, last = decoded(message, kind).span()
        assert before < first <= last
        before = last
    assert before < kind.due


def test_a_device_without_clock_counts_from_its_start():
    kind = KINDS["logger"](1, start=START)
    begin = kind.at
    (message,) = taken(kind, 1)
    assert isinstance(message, Data)
    assert (message.clock, message.t0) == (b"bootbody", 5000 + (begin - START) // 1_000_000)


def test_readings_from_before_a_reboot_belong_to_the_boot_before():
    device_clock = DeviceClock(b"boot-one", START, unix=False)
    device_clock.reboot(b"boot-two", START + 60 * NS)
    assert device_clock.stamp(START + 5 * NS) == (5 * NS, b"boot-one")
    assert device_clock.stamp(START + 61 * NS) == (NS, b"boot-two")


def test_a_skewed_clock_shows_in_the_times():
    plain, skewed = KINDS["power"](1, start=START), KINDS["power"](1, start=START)
    (a,), (b,) = taken(plain, 1), taken(skewed, 1, clock(skew_ns=90 * NS))
    assert b.t0 - a.t0 == 90_000


def test_a_drifting_clock_runs_away():
    drifting = DeviceClock(b"bootbody", START, drift=100e-6)
    assert drifting.stamp(START).t == START
    assert drifting.stamp(START + 1000 * NS).t - START - 1000 * NS == NS // 10


def test_the_greenhouse_is_warm_and_dry_by_day():
    kind = KINDS["greenhouse"](3, start=START, rate=0.02)
    found = series(kind, 24)
    hour = np.arange(len(found["temperature"])) * 24 / len(found["temperature"])
    day, night = (hour > 11) & (hour < 15), hour < 4
    assert found["temperature"][day].mean() > found["temperature"][night].mean() + 4
    assert found["humidity"][day].mean() < found["humidity"][night].mean() - 5
    assert found["light"][night].max() == 0
    assert found["light"][day].mean() > 20_000
    assert np.corrcoef(found["temperature"], found["humidity"])[0, 1] < -0.8
    assert 0 < np.abs(np.diff(found["temperature"])).max() < 3


def test_the_power_meter_obeys_physics():
    found = series(KINDS["power"](3, start=START, rate=0.1), 12)
    assert (np.diff(found["energy"]) >= 0).all()
    assert 215 < found["voltage"].min() < found["voltage"].max() < 245
    assert 49.8 < found["frequency"].min() < found["frequency"].max() < 50.2
    factor = found["power"] / (found["voltage"] * found["current"])
    assert ((factor > 0.8) & (factor < 1.0)).all()
    worked = found["power"].sum() * 10 / 3600
    assert found["energy"][-1] - found["energy"][0] == pytest.approx(worked, rel=0.01)


def test_rain_only_ever_adds_up_and_the_wind_has_a_direction():
    found = series(KINDS["weather"](4, start=START, rate=0.05), 24)
    assert (np.diff(found["rain"]) > -1e-3).all()
    assert 0 <= found["wind_direction"].min() <= found["wind_direction"].max() < 360.001
    assert 970 < found["pressure"].min() < found["pressure"].max() < 1050
    assert np.abs(np.diff(found["pressure"])).max() < 2


def spectrum(age_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies and strength of 8 s of vibration of a bearing of that age."""
    kind = KINDS["vibration"](2, start=START)
    kind._phase = age_s - START / NS
    x = series(kind, 8 / 3600)["acceleration_x"]
    return np.fft.rfftfreq(len(x), 0.001), np.abs(np.fft.rfft(x - x.mean()))


def test_the_pump_turns_and_a_worn_bearing_rings():
    hertz, sound = spectrum(600)
    _, worn = spectrum(20_100)
    ringing = (hertz > 350) & (hertz < 470)
    assert 23 < hertz[sound.argmax()] < 26
    assert (worn[ringing] ** 2).sum() > 5 * (sound[ringing] ** 2).sum()


def test_a_door_says_open_between_two_times_closed():
    kind = KINDS["door"](3, start=START)
    found = series(kind, 6)
    assert set(found["state"]) == {"open", "ajar", "closed"}
    assert found["open"].dtype == bool
    opened = [m for m in taken(kind, 40, clock()) if isinstance(m, Event)]
    assert opened
    assert {m.name for m in opened} == {"opened"}


def test_commands_change_the_device():
    kind = KINDS["power"](1, start=START)
    assert kind.act("relay", {"on": False}).status == 0
    (message,) = taken(kind, 1)
    watts = decoded(message, kind).columns[2]
    assert watts.v[0] < 5
    assert kind.act("relay", 7).status == 2
    assert kind.act("interval", {"s": 4}).status == 0
    before = kind.due
    kind.take(clock())
    assert kind.due - before == 4 * NS
    assert kind.act("identify", None).status == 0
    assert kind.act("reboot", None).reboot
    assert kind.act("sing", None).status == 3


def test_a_fixed_rate_stays_fixed():
    kind = KINDS["vibration"](1, start=START)
    assert kind.act("interval", {"s": 1}).status == 2
    kind.configure({"interval_s": 5})
    assert kind.step == 1_000_000
