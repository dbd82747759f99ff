"""The MQTT client: `connect` opens a link to a broker. No other package knows paho."""

from gateway.core.broker import Connecting, Events, Link

__all__ = ["connect"]


async def connect(settings: Connecting, events: Events) -> Link:
    """Open a connection and wait until the broker accepts it. Raises BrokerError."""
    from gateway.mqtt import link  # noqa: PLC0415 - paho takes memory, and few have a broker

    return await link.connect(settings, events)
