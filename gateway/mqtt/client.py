"""paho's client as this project wants it: how it is made, opens a connection, and is let go."""

from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.core.broker import BrokerError, Connecting, Delivery
from gateway.mqtt.dialling import tls_context
from gateway.mqtt.trouble import unreachable

KEEPALIVE_S = 25
TCP_S = 5.0
SESSION_S = 7 * 86_400
COMMANDS_IN_FLIGHT = 20
LARGEST_COMMAND = 256 * 1024


def new_client(settings: Connecting) -> Client:
    """A client that never connects again by itself."""
    v5 = settings.version == "5"
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=settings.client_id,
        clean_session=None if v5 else False,
        protocol=MQTTProtocolVersion.MQTTv5 if v5 else MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
        manual_ack=True,
    )
    client.connect_timeout = TCP_S
    client.max_inflight_messages = 0  # the window is the bridge's; here it means no limit
    client.username_pw_set(settings.username, settings.password)
    will = settings.will
    client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
    return client


def connect(client: Client, settings: Connecting) -> None:
    """Name look-up, TCP, TLS and the sending of CONNECT: all of them block. Raises BrokerError."""
    if settings.address.tls:
        client.tls_set_context(tls_context(settings))
    extra: dict[str, Any] = {}
    if settings.version == "5":
        extra = {"clean_start": False, "properties": _wishes()}
    try:
        client.connect(settings.address.host, settings.address.port, keepalive=KEEPALIVE_S, **extra)
    except (OSError, ValueError) as error:
        raise BrokerError(unreachable(error, settings)) from error


def _wishes() -> Any:
    """paho's properties are untyped: they take any attribute that the packet may have."""
    properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = SESSION_S
    properties.ReceiveMaximum = COMMANDS_IN_FLIGHT
    properties.MaximumPacketSize = LARGEST_COMMAND
    return properties


def delivery(message: MQTTMessage) -> Delivery:
    """What a broker sent, with an empty topic if that is no UTF-8."""
    try:
        topic = message.topic
    except UnicodeDecodeError:
        topic = ""
    properties = message.properties
    return Delivery(
        mid=message.mid if message.qos else 0,
        topic=topic,
        payload=bytes(message.payload),
        retain=bool(message.retain),
        response_topic=getattr(properties, "ResponseTopic", None),
        correlation=getattr(properties, "CorrelationData", None),
        expiry_s=getattr(properties, "MessageExpiryInterval", None),
        user=dict(getattr(properties, "UserProperty", ())),
    )


def silence(client: Client) -> None:
    """Let go of paho: no callback may come later, and the socket must not leak."""
    client.on_connect = client.on_disconnect = client.on_publish = client.on_subscribe = None
    client.on_message = client.on_socket_close = None
    client.on_socket_register_write = client.on_socket_unregister_write = None
    sock = client.socket()
    if sock is not None:
        sock.close()
