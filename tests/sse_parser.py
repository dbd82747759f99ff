"""A strict event-stream parser, written from WHATWG HTML §9.2.6, for the tests only.

Stricter than a browser: unknown fields, a malformed retry, a BOM, or bytes that are not UTF-8
raise, since the gateway must never send them.
"""

import codecs
import json
import re
from dataclasses import dataclass
from typing import Any

_LINE_END = re.compile("\r\n|\r|\n")


@dataclass(frozen=True)
class Event:
    name: str
    data: str
    id: str
    """The last event id as of this event."""
    own_id: str | None = None
    """The id within the event's own block, if any."""

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def seq(self) -> int:
        """The number within the id; 0 before the first id."""
        return int(self.id.rpartition("-")[2] or 0)


class Parser:
    """Feed bytes however they are split; events come out once their blank line is there."""

    def __init__(self) -> None:
        self.last_id = ""
        self.retry: int | None = None
        self.comments: list[str] = []
        self._decode = codecs.getincrementaldecoder("utf-8")("strict").decode
        self._text = ""
        self._after_cr = False
        self._data: list[str] = []
        self._name = ""
        self._id: str | None = None

    def feed(self, data: bytes) -> list[Event]:
        text = self._decode(data)
        if self._after_cr:
            text = text.removeprefix("\n") if text else text
        if text:
            self._after_cr = text.endswith("\r")
        elif data == b"\n":
            self._after_cr = False
        *lines, self._text = _LINE_END.split(self._text + text)
        return [event for line in lines if (event := self._line(line))]

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "":
            self.comments.append(value)
        elif field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        elif field == "id":
            assert "\0" not in value
            self._id = self.last_id = value
        elif field == "retry":
            assert value.isascii(), value
            assert value.isdigit(), value
            self.retry = int(value)
        else:
            raise AssertionError(f"unknown field {field!r}")
        return None

    def _dispatch(self) -> Event | None:
        name, data, own = self._name, self._data, self._id
        self._name, self._data, self._id = "", [], None
        return Event(name or "message", "\n".join(data), self.last_id, own) if data else None
