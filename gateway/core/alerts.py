"""Alerts of the gateway about itself."""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.core.facts import EventLogged, MetaSet
from gateway.core.group import Group
from gateway.core.summary import dump

STATES = {"clock": "ok", "disk": "plenty", "outbox": "ok"}
"""Those whose state lasts, with the state in which all is well; each is kept under its name."""


def tell(group: Group, *, gateway: str, name: str, state: str) -> None:
    """Log an alert and send it upstream. `gateway` is the gateway's id; it stands for a device."""
    body = _body(gateway=gateway, name=name, state=state, t=group.now.ms)
    group.publish("alert", gateway, body)
    if group.rules.upstream:
        group.outgoing(group.rules.upstream.alert, body)


def change(group: Group, *, gateway: str, name: str, state: str) -> None:
    """Tell of a state that lasts, and keep it."""
    group.add(MetaSet(name, state))
    tell(group, gateway=gateway, name=name, state=state)


def kept(meta: Mapping[str, str], *, gateway: str, t: int) -> Iterator[EventLogged]:
    """What a snapshot shows at start (Unix ms `t`) of states that are not well."""
    for name, well in STATES.items():
        state = meta.get(name, well)
        if state != well:
            body = _body(gateway=gateway, name=name, state=state, t=t)
            yield EventLogged(0, 0, "alert", gateway, None, None, dump(body))


def _body(*, gateway: str, name: str, state: str, t: int) -> dict[str, Any]:
    about = {"v": 1, "dev": gateway, "source": "gateway"}
    return {**about, "name": name, "state": state, "t": t}
