"""The bytes of an event stream (WHATWG HTML §9.2) and the ids that events carry."""

import re
from typing import NamedTuple

OPENING = b": ok\n"
"""The comment that a stream begins with, so that the client sees bytes at once."""

CONTENT_TYPE = "text/event-stream; charset=utf-8"
NAMES = frozenset(
    {"hello", "snapshot", "summary", "reading", "status", "alert", "gap", "heartbeat", "bye"}
)
"""Every event name. `error`, `open` and `message` belong to EventSource itself."""

MAX_ID = 40
MAX_SEQ = 2**63 - 1

_LINE_ENDS = re.compile("\r\n|\r|\n")
_UNSAFE = str.maketrans("", "", "\r\n\0")
_ID = re.compile(r"([a-z0-9]+(?:-[a-z0-9]+)*)-(0|[1-9][0-9]{0,18})", re.ASCII)


class Cursor(NamedTuple):
    """A place in an event log: everything up to `seq` is known."""

    epoch: str
    seq: int


def format_id(epoch: str, seq: int) -> str:
    """Write the id of event `seq`: `EPOCH-SEQ`."""
    return f"{epoch}-{seq}"


def parse_id(text: str) -> Cursor | None:
    """Read an id strictly; None if it is not one that `format_id` writes."""
    if len(text) >= MAX_ID:
        return None
    found = _ID.fullmatch(text)
    if found is None or int(found[2]) > MAX_SEQ:
        return None
    return Cursor(found[1], int(found[2]))


def render(event: str, data: str, *, ident: str | None = None, retry: int | None = None) -> bytes:
    """Write one event.

    Line ends within `data` become further data lines; line ends and NUL are dropped from `event`
    and `ident`, so nothing can begin a field of its own. `retry` is in milliseconds.
    """
    lines = [] if retry is None else [f"retry: {retry:d}"]
    if ident is not None:
        lines.append(f"id: {ident.translate(_UNSAFE)}")
    lines.append(f"event: {event.translate(_UNSAFE)}")
    lines += [f"data: {line}" for line in _LINE_ENDS.split(data)]
    return ("\n".join(lines) + "\n\n").encode("utf-8", "replace")


def bye(reason: str, retry: int) -> bytes:
    """The last event of a stream: why it ends, and when to come back (ms)."""
    return render("bye", f'{{"v":1,"reason":"{reason}"}}', retry=retry)


def opening(retry: int) -> bytes:
    """The first bytes of a stream: a comment and the reconnection time in milliseconds.

    The block goes on with the first event: some clients take a block without data for an event.
    """
    return OPENING + b"retry: %d\n" % retry


def frame(data: bytes, *, chunked: bool = True) -> bytes:
    """Frame bytes as one chunk of an HTTP/1.1 body (unframed for HTTP/1.0)."""
    return b"%x\r\n%b\r\n" % (len(data), data) if chunked else data
