"""The smallest parts of chunks: varints and deflated bytes (docs/storage.md, Chunks)."""

import zlib
from dataclasses import dataclass

MASK = 2**64 - 1
_VARINT_BYTES = 10
_INFLATION = 1040
"""Deflate never makes more than 1032 bytes out of one."""


def deflated(raw: bytes) -> bytes:
    """Length and deflated bytes, or 0 and the bytes as they are if that is shorter.

    For small numbers that scatter, short repetitions are dearer than letters of their own.
    """
    packer = zlib.compressobj(6, zlib.DEFLATED, -15, strategy=zlib.Z_FILTERED)
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
        begin, end = self.at, self.at + size
        if end > len(self.data):
            raise ValueError(f"{size} bytes where {self.left} are left")
        self.at = end
        return self.data[begin:end]

    def byte(self) -> int:
        try:
            number = self.data[self.at]
        except IndexError:
            raise ValueError("a byte where none is left") from None
        self.at += 1
        return number

    def varint(self) -> int:
        if self.at < len(self.data) and self.data[self.at] < 128:  # as most are
            return self.byte()
        number = shift = 0
        for part in self.data[self.at : self.at + _VARINT_BYTES]:
            number |= (part & 127) << shift
            shift += 7
            if part < 128 and number <= MASK:
                self.at += shift // 7
                return number
        raise ValueError("an integer that does not end, or not in 64 bits")

    def inflated(self, size: int, few: int | None = None) -> bytes:
        """`size` bytes, as `deflated` wrote them, or the first few of them.

        What follows those few is left alone, damaged or not.
        """
        packed = self.varint()
        if not packed:
            return self.take(size)[:few]
        source = self.take(packed)
        if size > packed * _INFLATION:
            raise ValueError(f"{size} bytes out of {packed}")
        few = size if few is None else few
        whole = few == size
        if not (few or whole):
            return b""
        unpacker = zlib.decompressobj(-15)
        try:
            raw = unpacker.decompress(source, size + 1 if whole else few)
        except zlib.error as error:
            raise ValueError(f"a damaged chunk: {error}") from error
        if len(raw) != few or (whole and (not unpacker.eof or unpacker.unused_data)):
            raise ValueError(f"a damaged chunk: {len(raw)} of {few} bytes")
        return raw
