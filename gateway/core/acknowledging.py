"""Who acknowledges an alert, and what they say to it, as a script or the page posts it."""

from typing import NamedTuple

from gateway.core.filters import TEXT, BadQuery
from gateway.core.order import read_object

MAX_BY = 64
MAX_NOTE = 500


class Acknowledgement(NamedTuple):
    by: str = ""
    note: str = ""


def parse_acknowledgement(body: bytes) -> Acknowledgement:
    """Read the JSON body; an empty one says nothing. Raises BadQuery, which names the key."""
    found = read_object(body or b"{}", known=("by", "note"))
    return Acknowledgement(
        _text(found.get("by", ""), "by", MAX_BY), _text(found.get("note", ""), "note", MAX_NOTE)
    )


def _text(value: object, key: str, longest: int) -> str:
    if not isinstance(value, str) or len(value) > longest or not TEXT.fullmatch(value):
        raise BadQuery(
            key, f"must be a text of at most {longest} characters, none of them a control character"
        )
    return value
