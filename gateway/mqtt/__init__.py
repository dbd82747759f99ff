"""The MQTT client: `connect` opens a link to a broker. Only `gateway.mqtt.link` knows paho."""

from gateway.mqtt.link import connect

__all__ = ["connect"]
