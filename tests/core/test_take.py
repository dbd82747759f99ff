"""One message becomes facts: journalled, or rejected and recorded; it always takes its number."""

import struct
from typing import Any

import pytest
from cbor2 import CBORTag

from gateway.core import cbor
from gateway.core import facts as f
from gateway.core.alike import shape_of
from gateway.core.clock import BootClock, Now
from gateway.core.group import Group, Rules
from gateway.core.layouts import read_schema
from gateway.core.messages import Data, Event, Gap, Message, Result, Schema, Senml, parse
from gateway.core.readings import Clock
from gateway.core.registry import Device, Registry, Stream
from gateway.core.session import Refused
from gateway.core.shapes import Burst
from gateway.core.take import Taker
from gateway.core.uplink import Arrival
from gateway.core.windows import Windows, parse_window
from gateway.errors import Reason

UNIX_MS = 1_732_380_000_000
NOW = Now(UNIX_MS * 10**6, 10**12)
TABLES = ("device", "stream", "event", "outbox", "loss", "rejected", "series")


class Site:
    """A stream of device `d` with schema 1 (one float64), and a group to take messages into."""

    def __init__(self) -> None:
        registry = Registry()
        registry.begin_numbers(dict.fromkeys(TABLES, 0))
        self.device = registry.add_device(Device(1, "d"))
        self.stream = registry.add_stream(Stream(7, self.device, bytes(8), 0, 0, boot=b"bootboot"))
        schema = Schema(sid=1, fields=[{0: "m", 2: 86}], fingerprint=b"mark")
        self.stream.layouts[1] = read_schema(schema)
        self.stream.schema_ids[1] = 70
        windows = Windows([parse_window("10s")], 0, 0)
        self.group = Group(registry, windows, now=NOW, rules=Rules(3600 * 10**9))
        self.results: list[Result] = []

    def take(self, message: Message) -> None:
        taker = Taker(lambda _group, _device, result: self.results.append(result))
        taker.take(self.group, self.stream, Arrival(message, b"raw", NOW))

    def facts(self, kind: type) -> list[Any]:
        return [fact for fact in self.group.facts if isinstance(fact, kind)]


def data(seq: int = 1, **more: Any) -> Data:
    return Data(**({"seq": seq, "sid": 1, "t0": UNIX_MS, "columns": [1.5], "clock": 0} | more))


def test_readings_are_journalled() -> None:
    site = Site()
    site.take(data())
    (entry,) = site.group.entries
    assert (entry.stream, entry.seq, entry.last, entry.readings, entry.schema) == (7, 1, 1, 1, 70)
    assert site.group.moved == {7: 1}
    assert site.group.span == (NOW.unix, NOW.unix)
    assert len(site.facts(f.SeriesLearned)) == 1


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (data(sid=2), Reason.UNKNOWN_SCHEMA),
        (data(columns=[1.5, 2.5]), Reason.BAD_SHAPE),
        (data(columns=[float("inf")]), Reason.BAD_VALUE),
        (data(t0=UNIX_MS + 3_600_001), Reason.BAD_TIME),
        (data(t0=2**64 - 1), Reason.BAD_TIME),
        (Senml(seq=1, pack=[{2: 1}]), Reason.BAD_SENML),
        (Senml(seq=1, pack=[{0: "other/m", 2: 1}]), Reason.FOREIGN_DEVICE),
        (Refused(1, Reason.UNKNOWN_TYPE, "what"), Reason.UNKNOWN_TYPE),
    ],
)
def test_what_is_wrong_is_recorded_and_takes_its_number(message: Message, reason: Reason) -> None:
    site = Site()
    site.take(message)
    assert not site.group.entries
    (rejection,) = site.facts(f.Rejection)
    assert (rejection.seq, rejection.code, rejection.body) == (1, reason, b"raw")
    assert site.group.rejects == {7: [[1, reason]]}
    assert site.group.moved == {7: 1}
    assert site.device.rejected == 1


def test_a_gap_is_a_loss_and_occupies_its_numbers() -> None:
    site = Site()
    site.take(Gap(seq=4, last=9, reason=1, readings=30))
    (loss,) = site.facts(f.Loss)
    assert (loss.first, loss.last, loss.reason, loss.readings) == (4, 9, 1, 30)
    assert site.group.moved == {7: 9}
    assert (site.group.entries[0].seq, site.group.entries[0].last) == (4, 9)
    assert site.device.lost_readings == 30


def test_an_event_is_an_alert_and_a_result_is_passed_on() -> None:
    site = Site()
    site.take(Event(seq=1, name="door", detail={"open": True}))
    result = Result(seq=2, command=[bytes(8), 1], status=0)
    site.take(result)
    assert [event.kind for event in site.group.events] == ["alert"]
    assert site.results == [result]
    assert site.group.moved == {7: 2}


def test_a_boot_of_unknown_time_is_noted_once() -> None:
    site = Site()
    site.take(data(1, clock=None, t0=5))
    site.take(data(2, clock=None, t0=6))
    assert [entry.clock for entry in site.group.entries] == [Clock.UNKNOWN] * 2
    (seen,) = site.facts(f.BootSeen)
    assert (seen.boot, seen.offset_ns) == (b"bootboot".hex(), None)


def test_a_known_boot_maps_its_time() -> None:
    site = Site()
    clock = site.device.boots[b"bootboot"] = BootClock()
    clock.sample(NOW, 1_000)
    site.take(data(clock=None, t0=400))
    assert site.group.span == (NOW.unix - 600 * 10**6, NOW.unix - 600 * 10**6)
    assert site.group.entries[0].clock is Clock.MAPPED


@pytest.mark.parametrize("known", [True, False], ids=["own clock", "time unknown"])
def test_messages_alike_are_taken_as_they_are_one_by_one(known: bool) -> None:
    alike, apart = Site(), Site()
    fields = [{0: "a", 1: "Cel", 2: 85}, {0: "b", 2: 85}, {0: "c", 2: 72, 3: 0.5}, {0: "d", 2: 64}]
    keys: dict[int, Any] = {3: UNIX_MS, 4: 1000} | ({7: 0} if known else {})
    raws = [cbor.encode({0: 16, 1: 70_000 + n, 2: 1, 5: _columns(n), **keys}) for n in range(3)]
    messages = [parse(Data, cbor.decode(raw)) for raw in raws]
    for site in (alike, apart):
        site.stream.layouts[1] = read_schema(Schema(sid=1, fields=fields, fingerprint=b"mark"))
        site.take(data(1, columns=[1.0, 2.0, 3, 4], clock=keys.get(7)))
    shape = shape_of(raws[0], messages[0])
    assert shape is not None
    burst = Burst(shape, alike.stream.layouts[1], NOW, 70_000).add(b"".join(raws), len(raws))
    taker = Taker(lambda *_: None)
    taker.prepare(alike.group, [(alike.stream, burst)])
    assert burst.decoded is not None
    assert len(burst.decoded) == 3
    taker.take(alike.group, alike.stream, burst)
    assert burst.decoded is None  # the group has it now
    for message in messages:
        apart.take(message)
    assert _readings(alike.group) == _readings(apart.group)
    assert alike.facts(f.SeriesLearned) == apart.facts(f.SeriesLearned)
    assert (alike.group.span, alike.group.moved) == (apart.group.span, apart.group.moved)
    for site in (alike, apart):
        for folding in site.group.foldings:
            folding.learn()
    newest = [
        [(one.t, one.value, one.clock) for one in site.group.registry.newest()]
        for site in (alike, apart)
    ]
    assert newest[0] == newest[1]


def _columns(n: int) -> list[Any]:
    return [
        CBORTag(85, struct.pack("<2f", n, n + 0.5)),
        CBORTag(85, struct.pack("<2f", -n, 7)),
        CBORTag(72, struct.pack("<2b", n, -n)),
        CBORTag(64, bytes([n, 9])),
    ]


def _readings(group: Group) -> dict[str, list[tuple[Any, Any]]]:
    """Times and values of each metric."""
    found: dict[str, list[tuple[Any, Any]]] = {}
    for folding in group.foldings:
        for series, v in zip(folding.series, folding.v.tolist(), strict=True):
            t = [None] * len(v) if folding.times is None else folding.times.t.tolist()
            found.setdefault(series.key.metric, []).extend(zip(t, v, strict=True))
    return found


def test_a_unit_that_another_schema_gave_is_changed_back() -> None:
    site = Site()
    for unit in ("Cel", "K", "Cel"):
        fields = [{0: "a", 1: unit, 2: 86}]
        site.stream.layouts[1] = read_schema(Schema(sid=1, fields=fields, fingerprint=b"mark"))
        raw = cbor.encode({0: 16, 1: 70_000, 2: 1, 3: UNIX_MS, 5: [1.5], 7: 0})
        shape = shape_of(raw, parse(Data, cbor.decode(raw)))
        assert shape is not None
        burst = Burst(shape, site.stream.layouts[1], NOW, 70_000).add(raw, 1)
        taker = Taker(lambda *_: None)
        taker.prepare(site.group, [(site.stream, burst)])
        taker.take(site.group, site.stream, burst)
    assert [fact.unit for fact in site.facts(f.SeriesLearned)] == ["Cel", "K", "Cel"]
