"""WebSocket frames: how a hostile client is told apart, and how we send (RFC 6455 §5.2).

The WebSocket library accepts frames without a mask and messages of any number of fragments;
the protocol's devices never send either.
"""

from gateway.errors import WireError

MOST_FRAGMENTS = 64
_FIN, _OPCODE, _MASK, _LENGTH = 0x80, 0x0F, 0x80, 0x7F
_EXTENDED = {126: 2, 127: 8}
_KEY = 4


class Frames:
    """Follows a client's frames through a stream of bytes, without touching what they hold."""

    def __init__(self) -> None:
        self._head = b""
        self._skip = 0
        self._fragments = 0

    def feed(self, data: bytes) -> None:
        """Look at the next bytes of the stream. Raises WireError at the first illegal frame."""
        data = self._head + data
        at = self._skip
        while len(data) - at >= 2:
            length = data[at + 1] & _LENGTH
            size = _EXTENDED.get(length, 0)
            if len(data) - at < 2 + size:
                break
            self._judge(data[at], data[at + 1])
            if size:
                length = int.from_bytes(data[at + 2 : at + 2 + size], "big")
            at += 2 + size + _KEY + length
        self._head = data[at:]
        self._skip = max(0, at - len(data))

    def _judge(self, first: int, second: int) -> None:
        if not second & _MASK:
            raise WireError("a frame of a client must be masked")
        if first & _OPCODE < 8:
            self._fragments = 0 if first & _FIN else self._fragments + 1
            if self._fragments > MOST_FRAGMENTS:
                raise WireError(f"a message of more than {MOST_FRAGMENTS} fragments")


def binary_frame(payload: bytes) -> bytes:
    """A binary message in a frame of its own, as a server sends it (RFC 6455 §5.2)."""
    size = len(payload)
    if size < 126:
        return b"\x82%c%b" % (size, payload)
    if size < 65_536:
        return b"\x82\x7e%b%b" % (size.to_bytes(2, "big"), payload)
    return b"\x82\x7f%b%b" % (size.to_bytes(8, "big"), payload)
