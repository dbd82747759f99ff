"""The MQTT client: `connect` opens a link to a broker. No other package knows paho."""

from gateway.mqtt.link import connect

__all__ = ["connect"]
