"""A connection to an MQTT broker: paho-mqtt, driven from asyncio.

Each connection is a fresh paho client under the same client id: a client that reconnects by
itself sends everything it holds at once, whatever the broker's Receive Maximum. paho runs no
thread and keeps no queue here; all its callbacks come on the event loop.
"""

import asyncio
import logging
import struct
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from paho.mqtt import MQTTException
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway.core.broker import (
    BrokerError,
    Closed,
    Connecting,
    Events,
    Outgoing,
    Reply,
    Unsendable,
)
from gateway.core.topics import check_topic
from gateway.mqtt import client
from gateway.mqtt.dialling import off_the_loop
from gateway.mqtt.properties import Packed, packed
from gateway.mqtt.trouble import closed_early, refused_connection, refused_filter, unreachable
from gateway.mqtt.wheel import Wheel

log = logging.getLogger(__name__)

OPEN_S = 15.0
SUBSCRIBE_S = 10.0
GOODBYE_S = 1.0
NO_LIMIT = 65_535
LARGEST_PACKET = 268_435_455
SILENT = 0x8D


async def connect(settings: Connecting, events: Events) -> "PahoLink":
    """Open a connection and wait until the broker accepts it. Raises BrokerError."""
    link = PahoLink(settings, events)
    try:
        async with asyncio.timeout(OPEN_S):
            await link.dial()
    except TimeoutError:
        raise BrokerError(unreachable(TimeoutError(), settings)) from None
    finally:
        if not link.open:
            link.abort()
    return link


class PahoLink:
    """One connection from CONNECT to its end; a `gateway.core.broker.Link`."""

    def __init__(self, settings: Connecting, events: Events) -> None:
        self.receive_maximum = NO_LIMIT
        self.session_present = False
        self._settings = settings
        self._events = events
        self._v5 = settings.version == "5"
        self._client = client.new_client(settings)
        self._loop = asyncio.get_running_loop()
        self._up = False
        self._accepted: asyncio.Future[None] = self._loop.create_future()
        self._subscribed: dict[int, asyncio.Future[list[ReasonCode]]] = {}
        self._gone = asyncio.Event()
        self._wheel = Wheel(self._client, broken=self._broken)
        self._retain_available = True
        self._largest = LARGEST_PACKET

    @property
    def open(self) -> bool:
        return self._up and not self._gone.is_set()

    # -- opening ----------------------------------------------------------------------------

    async def dial(self) -> None:
        """Connect off the loop, then watch the socket until CONNACK."""
        await off_the_loop(partial(client.connect, self._client, self._settings), undo=self.abort)
        self._watch()
        await self._accepted

    def _watch(self) -> None:
        """Take over the socket. The callbacks come only now: the connecting thread is done."""
        paho = self._client
        sock = paho.socket()
        if sock is None:
            self._end(Closed(None, "the connection was lost", lost=True))
            return
        paho.on_connect = self._wrapped(self._on_connect)
        paho.on_disconnect = self._wrapped(self._on_disconnect)
        paho.on_publish = self._wrapped(self._on_publish)
        paho.on_subscribe = self._wrapped(self._on_subscribe)
        paho.on_message = self._wrapped(self._on_message)
        paho.on_socket_close = self._wrapped(self._wheel.stop)
        paho.on_socket_register_write = self._wrapped(self._wheel.want_write)
        paho.on_socket_unregister_write = self._wrapped(self._wheel.written)
        self._wheel.start(sock)

    def _wrapped(self, callback: Callable[..., None]) -> Callable[..., None]:
        """paho must never see an exception of ours; a bug ends this connection, with a trace."""

        def call(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except Exception:
                log.exception("MQTT: a callback failed; the connection is given up")
                self._loop.call_soon(self.abort)

        return call

    # -- what the broker says ---------------------------------------------------------------

    def _on_connect(
        self, _: Client, _data: Any, flags: ConnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        if reason.is_failure:
            text = refused_connection(reason.value, reason.getName(), settings=self._settings)
            self._reject(BrokerError(text, reason.value))
            return
        self.session_present = flags.session_present
        self.receive_maximum = getattr(properties, "ReceiveMaximum", NO_LIMIT)
        self._largest = getattr(properties, "MaximumPacketSize", LARGEST_PACKET)
        self._retain_available = bool(getattr(properties, "RetainAvailable", 1))
        if getattr(properties, "MaximumQoS", 1) < 1:
            text = f"{self._settings.address} takes QoS 0 only; the gateway needs QoS 1"
            self._reject(BrokerError(text))
        elif not self._accepted.done():
            self._up = True
            self._accepted.set_result(None)

    def _reject(self, error: BrokerError) -> None:
        if not self._accepted.done():
            self._accepted.set_exception(error)
            self._accepted.exception()  # perhaps nobody waits for it any more

    def _on_disconnect(
        self, _: Client, _data: Any, flags: DisconnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            text = f"the broker ended the connection: {reason.getName()} (0x{reason.value:02x})"
            self._end(Closed(reason.value, text))
        elif reason.value == SILENT:
            self._end(Closed(None, "the broker fell silent"))
        else:
            self._end(Closed(None, "the connection was lost", lost=True))

    def _on_publish(
        self, _: Client, _data: Any, mid: int, reason: ReasonCode, properties: Any
    ) -> None:
        text = ""
        if reason.is_failure:
            text = getattr(properties, "ReasonString", "") or reason.getName()
        self._events.acked(mid, reason.value, text)

    def _on_subscribe(
        self, _: Client, _data: Any, mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        waiting = self._subscribed.pop(mid, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(reasons)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self._events.arrived(client.delivery(message))

    # -- what we say ------------------------------------------------------------------------

    def publish(self, message: Outgoing, *, qos: int = 1) -> int:
        """Send and return the packet's number. Raises Unsendable, BrokerError."""
        check_topic(message.topic)
        try:
            properties: Any = packed(message) if self._v5 else None
            self._check_size(message, properties)
            info = self._client.publish(
                message.topic,
                message.payload,
                qos,
                retain=message.retain and self._retain_available,
                properties=properties,
            )
        except (ValueError, MQTTException, struct.error) as error:
            raise Unsendable(Reply.MALFORMED, f"the message cannot be packed: {error}") from error
        if not self.open or info.rc == MQTTErrorCode.MQTT_ERR_NO_CONN:
            raise BrokerError("the connection is closed")
        return info.mid

    def _check_size(self, message: Outgoing, properties: Packed | None) -> None:
        """Count the packet as the broker will: header, topic, number, properties, payload."""
        size = 5 + 2 + len(message.topic.encode()) + 2 + len(message.payload)
        size += len(properties.raw) if properties is not None else 0
        if size > self._largest:
            text = f"{size} bytes are more than the {self._largest} that the broker takes"
            raise Unsendable(Reply.PACKET_TOO_LARGE, text)

    def acknowledge(self, mid: int) -> None:
        """Tell the broker that a delivery needs no repetition; late is harmless."""
        if mid and self.open:
            self._client.ack(mid, 1)

    async def subscribe(self, filters: Mapping[str, bool]) -> None:
        """Subscribe at QoS 1; a true value keeps the retain flag. Raises BrokerError."""
        wanted: Any = [(name, 1) for name in filters]
        if self._v5:
            handling = SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
            wanted = [
                (name, SubscribeOptions(1, retainAsPublished=keep, retainHandling=handling))
                for name, keep in filters.items()
            ]
        result, mid = self._client.subscribe(wanted)
        if result != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
            raise BrokerError("the connection is closed")
        self._subscribed[mid] = self._loop.create_future()
        try:
            async with asyncio.timeout(SUBSCRIBE_S):
                reasons = await self._subscribed[mid]
        except TimeoutError:
            raise BrokerError("the broker does not answer the subscription") from None
        finally:
            self._subscribed.pop(mid, None)
        for name, reason in zip(filters, reasons, strict=False):
            if reason.is_failure:
                text = refused_filter(name, reason.getName(), settings=self._settings)
                raise BrokerError(text, reason.value)

    async def disconnect(self) -> None:
        """Say goodbye and close; at most a second."""
        self._client.disconnect()
        try:
            async with asyncio.timeout(GOODBYE_S):
                await self._gone.wait()
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        """Close without a goodbye: the broker publishes the last will."""
        self._end(Closed(None, "given up by the gateway"))

    def _broken(self, text: str) -> None:
        self._end(Closed(None, text))

    def _end(self, closed: Closed) -> None:
        """The one end of every connection, however often it is reported."""
        if self._gone.is_set():
            return
        was_open = self.open
        self._gone.set()
        self._wheel.stop()
        client.silence(self._client)
        self._reject(BrokerError(closed_early(self._settings), closed.code))
        for waiting in self._subscribed.values():
            if not waiting.done():
                waiting.set_exception(BrokerError(closed.text, closed.code))
        if was_open:
            self._events.closed(closed)
