"""Alerts of the gateway about itself."""

from gateway.core.group import Group


def tell(group: Group, *, gateway: str, name: str, state: str) -> None:
    """Log an alert and send it upstream. `gateway` is the gateway's id; it stands for a device."""
    body = {
        "v": 1,
        "dev": gateway,
        "source": "gateway",
        "name": name,
        "state": state,
        "t": group.now.ms,
    }
    group.publish("alert", gateway, body)
    if group.rules.upstream:
        group.outgoing(group.rules.upstream.alert, body)
