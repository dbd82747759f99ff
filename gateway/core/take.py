"""How one sequenced message becomes facts: journalled, or rejected and recorded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.core import facts as f
from gateway.core.alike import decode
from gateway.core.clock import Now
from gateway.core.columns import read_data
from gateway.core.data_shapes import DataShape
from gateway.core.entry import Entry
from gateway.core.group import Group
from gateway.core.json import plain
from gateway.core.messages import Data, Event, Gap, Result, Senml
from gateway.core.readings import INT64_MAX, Batch, Clock, Timebase
from gateway.core.registry import Device, Stream
from gateway.core.senml import read_senml
from gateway.core.session import Refused
from gateway.core.shapes import DEVICE, Burst, Table
from gateway.core.uplink import Arrival
from gateway.errors import Reason, Rejected

Answer = Callable[[Group, Device, Result], None]


@dataclass(frozen=True, slots=True)
class Taker:
    """Takes messages into a group; `answer` is told of every RESULT."""

    answer: Answer

    def prepare(self, group: Group, bursts: Sequence[tuple[Stream, Burst]]) -> None:
        """Decode all bursts of a group together, before they are taken one by one."""
        if not group.rules.forward_readings:  # that needs every message by itself
            for stream, burst in bursts:
                burst.base = _base(group, stream, burst)
            decode([burst for _, burst in bursts], latest=latest(group))

    def take(self, group: Group, stream: Stream, arrival: Arrival | Burst) -> None:
        """Take what came of a stream: into the journal, or into the rejected."""
        if isinstance(arrival, Burst):
            if arrival.decoded is None:
                for one in arrival.apart():
                    self.take(group, stream, one)
                return
            decoded, arrival.decoded = arrival.decoded, None
            _burst(group, stream, arrival, decoded)
        else:
            self._one(group, stream, arrival)
        group.moved[stream.id] = arrival.last
        stream.touched = group.now.ms

    def _one(self, group: Group, stream: Stream, arrival: Arrival) -> None:
        try:
            self._take(group, stream, arrival)
        except Rejected as error:
            _reject(group, stream, arrival, error)

    def _take(self, group: Group, stream: Stream, arrival: Arrival) -> None:
        match arrival.message:
            case Data() as data:
                _data(group, stream, arrival, data)
            case Senml() as pack:
                _senml(group, stream, arrival, pack)
            case Gap() as gap:
                group.lose(stream, (gap.seq, gap.last), reason=gap.reason, readings=gap.readings)
                group.entries.append(_entry(stream, arrival))
            case Event() as event:
                group.entries.append(_entry(stream, arrival))
                _alert(group, stream.device, event)
            case Result() as result:
                group.entries.append(_entry(stream, arrival))
                self.answer(group, stream.device, result)
            case Refused() as refused:
                raise Rejected(refused.reason, refused.text)
            case other:
                raise TypeError(f"{type(other).__name__} is no uplink message")


def _data(group: Group, stream: Stream, arrival: Arrival, data: Data) -> None:
    layout = stream.layouts.get(data.sid)
    if layout is None:
        raise Rejected(Reason.UNKNOWN_SCHEMA, f"schema {data.sid} is unknown")
    device = stream.device
    timebase = _timebase(group, stream, data.clock, arrival.at)
    batch = read_data(data, layout, device=device.name, timebase=timebase, latest=latest(group))
    if arrival.at.sure and batch.clock is Clock.DEVICE and (span := batch.span()) is not None:
        device.clock_error_ns = span[1] - arrival.at.unix
    entry = _entry(stream, arrival, batch)._replace(
        offset=timebase.offset, schema=stream.schema_ids[data.sid]
    )
    group.entries.append(entry)
    group.readings(batch)


def _base(group: Group, stream: Stream, burst: Burst) -> Timebase:
    """The time base of a burst; of packs the time of receipt, for their relative times."""
    if isinstance(burst.shape, DataShape):
        return _timebase(group, stream, burst.shape.clock, burst.at)
    return Timebase(Clock.DEVICE, burst.at.unix)


def _burst(group: Group, stream: Stream, burst: Burst, tables: Sequence[Table]) -> None:
    device, base, shape = stream.device, burst.base, burst.shape
    schema = 0
    if isinstance(shape, DataShape):
        schema = stream.schema_ids[shape.sid]
        if burst.at.sure and base.clock is Clock.DEVICE:
            device.clock_error_ns = tables[0].times.high - burst.at.unix
    entry = Entry(
        stream=stream.id,
        seq=burst.first,
        last=burst.last,
        message=burst.messages,
        readings=shape.readings,
        clock=base.clock,
        offset=base.offset,
        schema=schema,
        boot=base.boot if base.clock is Clock.UNKNOWN else b"",
        alike=burst.count,
    )
    group.entries.append(entry)
    for table in tables:
        group.table(device, table, base.clock)


def _senml(group: Group, stream: Stream, arrival: Arrival, pack: Senml) -> None:
    batch = read_senml(
        pack.pack,
        device=stream.device.name,
        received=arrival.at.unix,
        latest=latest(group),
        speaks_for_others=stream.device.speaks_for_others,
    )
    group.entries.append(_entry(stream, arrival, batch)._replace(offset=arrival.at.unix))
    group.readings(batch)


def latest(group: Group) -> int:
    """The greatest permitted time; a gateway that does not know the time forbids none."""
    if not group.now.sure:
        return INT64_MAX
    return min(group.now.unix + group.rules.max_skew, INT64_MAX)


def _timebase(group: Group, stream: Stream, clock: int | bytes | None, at: Now) -> Timebase:
    """Which clock a message's times are of, and how they become Unix time. clock: its key 7."""
    if isinstance(clock, int):
        return DEVICE
    boot = clock or stream.boot
    known = stream.device.boots.get(boot)
    offset = None if known is None else known.offset(at)
    if offset is not None and boot not in stream.device.unplaced:
        return Timebase(Clock.MAPPED, offset, boot)
    if boot not in stream.device.unplaced:
        stream.device.unplaced.add(boot)
        group.add(f.BootSeen(stream.device.id, boot.hex(), None, None, group.now.ms))
    return Timebase(Clock.UNKNOWN, 0, boot)


def _entry(stream: Stream, arrival: Arrival, batch: Batch | None = None) -> Entry:
    readings, clock, boot = 0, Clock.DEVICE, b""
    if batch is not None:
        readings, clock = len(batch), batch.clock
        boot = batch.boot if clock is Clock.UNKNOWN else b""
    return Entry(
        stream.id, arrival.seq, arrival.last, arrival.raw, readings, clock, 0, 0, boot
    )  # fmt: skip


def _reject(group: Group, stream: Stream, arrival: Arrival, error: Rejected) -> None:
    device = stream.device
    device.rejected += 1
    group.rejects.setdefault(stream.id, []).append([arrival.seq, int(error.reason)])
    group.add(
        f.Rejection(
            group.registry.number("rejected"),
            device.id,
            stream.epoch.hex(),
            arrival.seq,
            int(error.reason),
            error.text,
            group.now.ms,
            arrival.raw,
        )
    )


def _alert(group: Group, device: Device, event: Event) -> None:
    """What happened on a device is an alert that is over as soon as it is told."""
    body = {
        "v": 1,
        "dev": device.name,
        "source": "device",
        "name": event.name,
        "detail": plain(event.detail),
        "t": group.now.ms,
    }
    group.publish("alert", device.name, body)
    if group.rules.upstream:
        group.outgoing(group.rules.upstream.alert, body)
