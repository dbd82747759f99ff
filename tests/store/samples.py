"""Facts and messages to store."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from cbor2 import CBORTag

from gateway.core import facts as f
from gateway.core.cbor import decode, encode
from gateway.core.columns import Field, Layout, layout_to_json
from gateway.core.entry import Entry
from gateway.core.messages import Data, Gap, Senml, to_map
from gateway.core.readings import NS_PER_MS, Clock, Kind
from gateway.store.journal import pack

HOUR = 3_600_000
NOW = 1_700_000_000_000
BOOT = bytes.fromhex("aa00000000000001")
LAYOUT = Layout(
    1,
    3,
    (
        Field("temperature", "Cel", 77, 0.01, 0.0),
        Field("door", "", 0),
        Field("state", "", 1),
        Field("total", "Wh", 71),
    ),
    b"\1\2\3\4",
)
KINDS = (Kind.NUMBER, Kind.BOOLEAN, Kind.TEXT, Kind.NUMBER)


def world(name: str = "shed-1", number: int = 1) -> list[f.Fact]:
    """A device with a stream, a schema and a series per field; numbers are those of the device."""
    first = (number - 1) * len(KINDS)
    return [
        f.DeviceAdded(number, name, f"hash-{number}", False, NOW),
        f.StreamOpened(number, number, f"{number:016x}", 0, NOW),
        f.SchemaLearned(number, number, 1, LAYOUT.fingerprint, 3, layout_to_json(LAYOUT)),
        *(
            f.SeriesLearned(first + i, number, field.metric, field.unit, kind)
            for i, (field, kind) in enumerate(zip(LAYOUT.fields, KINDS, strict=True), 1)
        ),
    ]


def data(seq: int, t0: int, raws: Sequence[int], *, step: int = 1000) -> bytes:
    """A DATA message: raw temperatures from `t0` ms on, and three columns made up from them."""
    columns: list[Any] = [
        CBORTag(77, np.array(raws, "<i2").tobytes()),
        [raw % 2 == 0 for raw in raws],
        [f"s{raw}" for raw in raws],
        [2**63 + raw for raw in raws],
    ]
    return encode(to_map(Data(seq=seq, sid=1, t0=t0, step=step, columns=columns)))


def entry(
    seq: int,
    t0: int,
    raws: Sequence[int],
    *,
    stream: int = 1,
    clock: Clock = Clock.DEVICE,
    offset: int = 0,
    boot: bytes = b"",
) -> Entry:
    message = data(seq, t0, raws)
    return Entry(stream, seq, seq, message, 4 * len(raws), clock, offset, stream, boot)


def row(number: int, *entries: Entry) -> f.JournalRow:
    """A journal row of DATA entries made by `entry` (two readings a second apart or fewer)."""
    times = [
        (t0 * NS_PER_MS + e.offset, (t0 + 1000 * (e.readings // 4 - 1)) * NS_PER_MS + e.offset)
        for e in entries
        if e.readings and e.clock != Clock.UNKNOWN
        for t0 in [_t0(e)]
    ]
    span = (min(low for low, _ in times), max(high for _, high in times)) if times else None
    return journal_row(number, NOW, entries, span=span)


def _t0(e: Entry) -> int:
    t0: int = decode(e.message)[3]
    return t0


def senml_entry(
    seq: int, received_ns: int, pack: list[dict[Any, Any]], *, stream: int = 1
) -> Entry:
    message = encode(to_map(Senml(seq=seq, pack=pack)))
    return Entry(stream, seq, seq, message, len(pack), Clock.DEVICE, received_ns, 0, b"")


def gap_entry(first: int, last: int) -> Entry:
    message = encode(to_map(Gap(seq=first, last=last, reason=1)))
    return Entry(1, first, last, message, 0, Clock.DEVICE, 0, 0, b"")


def event(number: int, t: int = NOW) -> f.EventLogged:
    return f.EventLogged(number, t, "status", "shed-1", None, None, '{"v":1}')


def put(number: int, topic: str = "sensors/a", **changes: Any) -> f.OutboxPut:
    made = f.OutboxPut(
        number, NOW, topic, b"payload", False, None, 0, False, None, False, '{"content_type":"x"}'
    )
    return made._replace(**changes)


def made(series: int, t0: int, *, window: str = "10s", rev: int = 1) -> f.SummaryMade:
    return f.SummaryMade(
        series,
        window,
        t0,
        t0 + 10_000,
        3,
        0.1 + 0.2,
        -1.5,
        2.5,
        0.3,
        0.1,
        2.5,
        -1.5,
        2.5,
        None,
        rev,
    )


def order(number: int, state: str = "queued", **changes: Any) -> f.CommandPut:
    made = f.CommandPut(number, 1, None, '"relay"', '{"on":true}', 0, None, state, None, None, NOW)
    return made._replace(**changes)


def journal_row(
    number: int, received: int, entries: Sequence[Entry], *, span: tuple[int, int] | None
) -> f.JournalRow:
    """The fact that holds a commit group. span: least and greatest known time of its readings."""
    header, body, crc = pack(entries)
    low, high = span or (None, None)
    readings = sum(entry.readings for entry in entries)
    return f.JournalRow(number, received, low, high, readings, header, crc, body)
