"""The smallest parts of chunks: varints and deflated bytes (docs/storage.md, Chunks)."""

import zlib
from dataclasses import dataclass

MASK = 2**64 - 1
_INFLATION = 1040
"""Deflate never makes more than 1032 bytes out of one."""


def deflated(raw: bytes) -> bytes:
    """Length and deflated bytes, or 0 and the bytes as they are if that is shorter."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    packed = packer.compress(raw) + packer.flush()
    return varint(len(packed)) + packed if len(packed) < len(raw) else b"\0" + raw


def varint(number: int) -> bytes:
    """LEB128: seven bits a byte, the least first; all bytes but the last have their top bit."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


@dataclass(slots=True)
class Source:
    """Bytes that are read from the front. Raises ValueError where they do not suffice."""

    data: bytes
    at: int = 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise ValueError(f"{size} bytes where {self.left} are left")
        self.at += size
        return self.data[self.at - size : self.at]

    def byte(self) -> int:
        if self.at >= len(self.data):
            raise ValueError("a byte where none is left")
        self.at += 1
        return self.data[self.at - 1]

    def varint(self) -> int:
        number = self.byte()
        if number < 128:
            return number
        number &= 127
        for shift in range(7, 70, 7):
            part = self.byte()
            number |= (part & 127) << shift
            if part < 128 and number <= MASK:
                return number
        raise ValueError("an integer beyond 64 bits")

    def inflated(self, size: int) -> bytes:
        """`size` bytes, as `deflated` wrote them."""
        packed = self.varint()
        if not packed:
            return self.take(size)
        source = self.take(packed)
        if size > packed * _INFLATION:
            raise ValueError(f"{size} bytes out of {packed}")
        unpacker = zlib.decompressobj(-15)
        try:
            raw = unpacker.decompress(source, size + 1)
        except zlib.error as error:
            raise ValueError(f"a damaged chunk: {error}") from error
        if len(raw) != size or not unpacker.eof or unpacker.unused_data:
            raise ValueError(f"a damaged chunk: {len(raw)} of {size} bytes")
        return raw
