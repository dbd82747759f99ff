"""What `/metrics` reads from memory when it is asked (docs/operations.md lists every name)."""

from gateway.bridge import Stats
from gateway.core.alert_book import Book
from gateway.core.presence import ONLINE
from gateway.core.registry import Registry
from gateway.measures import Measures
from gateway.parts import Parts


def measure(parts: Parts) -> None:
    """Name all gauges."""
    gauge, authority = parts.measures.gauge, parts.authority
    gauge("subscribers", "Clients of the event stream", lambda: parts.hub.clients)
    gauge("sign_ins", "Browsers that are signed in", lambda: authority.signed_in)
    gauge("sign_ins_refused", "Since the start", lambda: authority.refused)
    gauge("links", "Open connections of devices", lambda: len(parts.links.all))
    gauge("revisions_due", "Windows that wait for a revision", lambda: len(parts.revisions))
    gauge("ready", "1 if /readyz says so", lambda: parts.facade.not_ready() is None)
    _devices(parts.measures, parts.registry)
    _alerts(parts.measures, parts.book)
    if parts.forwarding.bridge is not None:
        _broker(parts.measures, parts.forwarding.bridge.stats)
    parts.upkeep.measure(parts.measures)
    parts.disk.measure(parts.measures)


def _devices(measures: Measures, registry: Registry) -> None:
    gauge, devices = measures.gauge, registry.devices
    gauge("series", "Known series", lambda: len(registry.series))
    gauge("devices", "Known devices", lambda: len(devices))
    gauge(
        "devices_online",
        "Devices that are online",
        lambda: sum(device.state == ONLINE for device in devices.values()),
    )
    gauge(
        "lost_readings",
        "Readings declared lost by devices",
        lambda: sum(device.lost_readings for device in devices.values()),
    )


def _alerts(measures: Measures, book: Book) -> None:
    gauge = measures.gauge
    gauge("alerts_open", "Alerts that are open", lambda: book.in_force)
    gauge(
        "alerts_unacknowledged",
        "Those of them that nobody acknowledged",
        lambda: book.unacknowledged,
    )


def _broker(measures: Measures, stats: Stats) -> None:
    gauge = measures.gauge
    gauge("mqtt_connected", "1 if the broker is connected", lambda: stats.connected)
    gauge("mqtt_in_flight", "Messages without PUBACK", lambda: stats.in_flight)
    gauge("mqtt_acknowledged", "PUBACKs since the start", lambda: stats.acked)
    gauge("mqtt_dropped", "Rows given up, the outbox being full", lambda: stats.dropped)
    gauge("mqtt_turned_away", "Rows not put for that reason", lambda: stats.rejected)
