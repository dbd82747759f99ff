"""Alerts of the gateway about itself."""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.core.alert_book import Book
from gateway.core.facts import EventLogged, MetaSet
from gateway.core.group import Group
from gateway.core.standing import Key
from gateway.core.summary import dump

STATES = {"clock": "ok", "disk": "plenty", "outbox": "ok"}
"""Those whose state lasts, with the state in which all is well; each is kept under its name."""
_WORDS = {
    ("clock", "wrong"): "the system clock is not believed",
    ("disk", "short"): "the disk has little room left",
    ("disk", "full"): "the disk is full: devices wait",
    ("outbox", "full"): "the outbox is full: what waits for the broker is lost",
}


def change(group: Group, book: Book, *, gateway: str, name: str, state: str) -> None:
    """Tell of a state that lasts, and keep it. `gateway` is the gateway's id."""
    group.add(MetaSet(name, state))
    key = Key(name, gateway, "")
    book.become(group, key, state=state, well=state == STATES[name], text=_words(name, state))


def kept(meta: Mapping[str, str], *, gateway: str, t: int) -> Iterator[EventLogged]:
    """What a snapshot shows at start (Unix ms `t`) of states that are not well.

    Those that an older version left have no number; all others are rows, too.
    """
    for name in set(STATES) - well(meta):
        about: dict[str, Any] = {"v": 1, "dev": gateway, "source": "gateway", "name": name}
        body = {**about, "state": meta[name], "text": _words(name, meta[name]), "t": t}
        yield EventLogged(0, 0, "alert", gateway, None, None, dump(body))


def well(meta: Mapping[str, str]) -> set[str]:
    """The names under which nothing is wrong."""
    return {name for name, well in STATES.items() if meta.get(name, well) == well}


def _words(name: str, state: str) -> str:
    return _WORDS.get((name, state), "")
