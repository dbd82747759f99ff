"""The host's readings are what the machine says."""

import psutil

from gateway.core import cbor
from gateway.core.columns import read_data
from gateway.core.layouts import read_schema
from gateway.core.messages import NAME, Data, parse, to_map
from gateway.core.readings import Clock, Timebase
from simulators.host import Host, Rate, host_id, temperatures
from simulators.hostrun import run_host
from simulators.run import Options
from simulators.tokens import Tokens


def measured(host):
    source = cbor.decode(cbor.encode(to_map(host.measure().message) | {1: 1}))
    layout = read_schema(host.schemas[source[2]])
    timebase = Timebase(Clock.DEVICE)
    batch = read_data(parse(Data, source), layout, device="d", timebase=timebase, latest=None)
    return {column.key.metric: (column.v[0], column.unit) for column in batch.columns}


def test_the_readings_are_real():
    seen = measured(Host())
    memory, disk = psutil.virtual_memory(), psutil.disk_usage("/")
    assert 0 < seen["memory_used"][0] < memory.total
    assert abs(seen["memory_available"][0] - memory.available) < memory.total / 4
    assert abs(seen["disk_free"][0] - disk.free) < disk.total / 10
    assert 0 <= seen["cpu"][0] <= 100
    assert seen["load_1m"][0] >= 0
    assert seen["uptime"][0] > 1
    units = {unit for _, unit in seen.values()}
    assert units <= {"%", "1", "B", "B/s", "s", "Cel"}


def test_thermal_sensors_are_there_exactly_if_the_machine_has_them():
    named = {name for name in measured(Host()) if name.startswith("temperature_")}
    assert named == set(temperatures())
    assert all(NAME.fullmatch(name) for name in named)


def test_thermal_sensors_get_names_of_their_own(monkeypatch):
    class Sensor:
        def __init__(self, label, current):
            self.label, self.current = label, current

    chips = {"core temp": [Sensor("Package 0", 41.0), Sensor("", 40.5)]}
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: chips, raising=False)
    seen = measured(Host())
    assert seen["temperature_core_temp_package_0"] == (41.0, "Cel")
    assert seen["temperature_core_temp_1"] == (40.5, "Cel")


def test_a_rate_is_growth_over_time():
    counter, clock = iter((100.0, 400.0, 400.0, 50.0)), iter((1.0, 3.0, 3.0, 4.0))
    rate = Rate(lambda: next(counter), lambda: next(clock))
    assert [rate(), rate(), rate()] == [150.0, 0.0, 0.0]


def test_the_id_fits_the_protocol(monkeypatch):
    assert NAME.fullmatch(host_id())
    monkeypatch.setattr("socket.gethostname", lambda: "my höst/" + "x" * 90)
    assert NAME.fullmatch(host_id())


def test_nobody_switches_the_machine():
    host = Host()
    assert host.act("reboot", None).status == 3
    assert host.act("identify", None).status == 0


async def test_what_is_not_acknowledged_waits_on_disk(end, tmp_path):
    end.mute = True
    given = {"url": end.url, "tokens": Tokens(), "state": tmp_path}
    quick = Options(quiet=True, duration_s=0.01)
    first = await run_host("h", **given, options=quick)
    assert first["queued"] > 0
    epoch = end.calls[0].hellos[0].epoch
    end.mute = False
    second = await run_host("h", **given, options=quick)
    assert second["queued"] == 0
    assert end.calls[-1].hellos[0].epoch == epoch
    seqs = [message.seq for _, _, message in end.committed]
    assert seqs == list(range(1, len(seqs) + 1))
