"""A journal row: the messages of one commit group, and how they become readings again.

header = one flag byte (1: some readings' time is unknown; 2: the rest of the header and the body
are deflated, RFC 1951, each by itself; 4: they were woven before that) and a CBOR array
`[timebases, entries, lengths]`: timebases are `[clock, offset, boot]`, an entry is `[stream, seq,
last - seq, readings, schema, index of its timebase, count]`, lengths are those of the entries in
`body`, which joins their messages as a CBOR sequence (RFC 8742). A count above 1 stands for so many
messages alike, of one size and with so many readings each, that follow one another; older rows
leave it out where it is 1. In a woven row the second element is not the entries but their seven
columns, and `body` is woven (`weave`). The CRC-32 covers header and body as they are stored.
"""

import zlib
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, compress
from typing import Any, Protocol

import cbor2

from gateway.core.cbor import decode as decode_map
from gateway.core.columns import Layout, read_data
from gateway.core.entry import Entry
from gateway.core.messages import BadBody, Data, Senml, parse
from gateway.core.readings import Batch, Clock, Timebase
from gateway.core.senml import read_senml
from gateway.errors import Rejected, StoreCorrupt, WireError
from gateway.store.weave import picker, woven

UNKNOWN_TIME = 1
DEFLATED = 2
WOVEN = 4
SMALL = 4096
"""Rows up to this size are deflated: several then share a page, and most commits write only one."""


UNREADABLE = (WireError, Rejected, BadBody, KeyError)
"""What `opened` and `readings_of` raise."""

Wanted = Callable[[int, int], bool]
"""Whether messages of a stream and of a schema's row are worth unpacking."""


def anything(_stream: int, _schema: int) -> bool:
    return True


class Lookup(Protocol):
    """Where `decode` finds what a message refers to. KeyError: there is no such row."""

    def layout(self, schema: int) -> Layout: ...

    def device(self, stream: int) -> str: ...

    def offset(self, stream: int, boot: bytes) -> int | None:
        """ns to add to this boot's raw time, or None while its clock is unknown."""


def pack(entries: Sequence[Entry]) -> tuple[bytes, bytes, int]:
    """Build (header, body, crc) of a journal row."""
    bases: dict[tuple[int, int, bytes], int] = {}
    rows = [_row(entry, _index(bases, entry)) for entry in entries]
    flags = UNKNOWN_TIME if any(e.clock == Clock.UNKNOWN and e.readings for e in entries) else 0
    lengths = [len(e.message) for e in entries]
    body = b"".join([e.message for e in entries])
    if len(body) > SMALL:
        header = cbor2.dumps([[list(base) for base in bases], rows, lengths])
    else:
        flags |= DEFLATED | WOVEN
        columns = list(zip(*rows, strict=True))
        header = _deflated(cbor2.dumps([[list(base) for base in bases], columns, lengths]))
        body = _deflated(woven(body, _sizes(lengths, [row[6] for row in rows])))
    header = bytes([flags]) + header
    return header, body, checksum(header, body)


def _row(entry: Entry, base: int) -> tuple[int, ...]:
    more = entry.last - entry.seq
    row = entry.stream, entry.seq, more, entry.readings, entry.schema, base
    return (*row, entry.alike)


def _sizes(lengths: Sequence[int], counts: Sequence[int]) -> Sequence[int]:
    """The size of each message."""
    if max(counts, default=1) == 1:
        return lengths
    return [
        size // count for size, count in zip(lengths, counts, strict=True) for _ in range(count)
    ]


def _deflated(raw: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    return packer.compress(raw) + packer.flush()


def _index(bases: dict[tuple[int, int, bytes], int], entry: Entry) -> int:
    return bases.setdefault((int(entry.clock), entry.offset, entry.boot), len(bases))


def checksum(header: bytes, body: bytes) -> int:
    """CRC-32 of the header followed by the body."""
    return zlib.crc32(body, zlib.crc32(header))


def unpack(header: bytes, body: bytes, crc: int, wanted: Wanted = anything) -> list[Entry]:
    """The entries of a journal row, of the streams and schemas that are wanted.

    Raises StoreCorrupt if the checksum does not match.
    """
    if checksum(header, body) != crc:
        raise StoreCorrupt("a journal row is damaged: its checksum does not match")
    return split(header, body, wanted)


def split(header: bytes, body: bytes, wanted: Wanted = anything) -> list[Entry]:
    """The entries of a row whose checksum was already compared."""
    deflated, is_woven = header[0] & DEFLATED, header[0] & WOVEN
    bases, rows, lengths = cbor2.loads(zlib.decompress(header[1:], -15) if deflated else header[1:])
    columns = rows if is_woven else list(zip(*rows, strict=False))
    if not columns:
        return []
    kept = list(compress(range(len(lengths)), map(wanted, columns[0], columns[4])))
    if not kept:
        return []
    body = zlib.decompress(body, -15) if deflated else body
    if is_woven:
        rows = [[column[n] for column in columns] for n in kept]
        messages = _picked(body, lengths, columns[6], kept)
    else:
        ends = list(accumulate(lengths, initial=0))
        rows, messages = [rows[n] for n in kept], [body[ends[n] : ends[n + 1]] for n in kept]
    return [
        entry
        for row, message in zip(rows, messages, strict=True)
        for entry in _entries(row, bases[row[5]], message)
    ]


def _picked(
    body: bytes, lengths: Sequence[int], counts: Sequence[int], kept: Sequence[int]
) -> list[bytes]:
    """What some entries hold of a woven body."""
    pick = picker(body, _sizes(lengths, counts))
    ends = list(accumulate(counts, initial=0))
    return [b"".join(map(pick, range(ends[n], ends[n + 1]))) for n in kept]


def _entries(row: Sequence[int], base: Sequence[Any], message: bytes) -> Iterable[Entry]:
    stream, seq, more, readings, schema, _, *count = row
    entry = Entry(stream, seq, seq + more, message, readings, base[0], base[1], schema, base[2])
    return entry._replace(alike=count[0]).apart() if count > [1] else (entry,)


def decode(entry: Entry, lookup: Lookup) -> Batch:
    """Rebuild the readings of a message exactly as they were when it was committed.

    Only the time of readings whose boot was unknown then and is known now differs: it is mapped.
    Raises StoreCorrupt if the message cannot be read any more.
    """
    if not entry.readings:
        return Batch((), Clock(entry.clock), entry.boot)
    try:
        return readings_of(opened(entry), entry, lookup)
    except UNREADABLE as error:
        raise unreadable(entry, error) from error


def unreadable(entry: Entry, error: Exception) -> StoreCorrupt:
    """What to raise if a message cannot be read."""
    where = f"message {entry.seq} of stream {entry.stream}"
    return StoreCorrupt(f"{where} was stored but cannot be read: {error}")


def opened(entry: Entry) -> Data | Senml:
    """The message of an entry that holds readings. Raises WireError, BadBody."""
    content = decode_map(entry.message)
    return parse(Data, content) if entry.schema else parse(Senml, content)


def readings_of(message: Data | Senml, entry: Entry, lookup: Lookup) -> Batch:
    """The readings of the message of an entry. Raises Rejected, KeyError."""
    device = lookup.device(entry.stream)
    if isinstance(message, Senml):
        return read_senml(
            message.pack,
            device=device,
            received=entry.offset,
            latest=None,
            speaks_for_others=True,
        )
    return read_data(
        message,
        lookup.layout(entry.schema),
        device=device,
        timebase=timebase(entry, lookup),
        latest=None,
    )


def timebase(entry: Entry, lookup: Lookup) -> Timebase:
    """The entry's time base, with the mapping that its boot has by now if it had none."""
    if entry.clock == Clock.UNKNOWN:
        offset = lookup.offset(entry.stream, entry.boot)
        if offset is not None:
            return Timebase(Clock.MAPPED, offset, entry.boot)
    return Timebase(Clock(entry.clock), entry.offset, entry.boot)
