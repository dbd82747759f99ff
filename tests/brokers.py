"""Brokers for tests: a scripted one that misbehaves on demand, and a real Mosquitto."""

import asyncio
import getpass
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

MOSQUITTO = "/usr/sbin/mosquitto"
CONNECT, CONNACK, PUBLISH, PUBACK = 1, 2, 3, 4
SUBSCRIBE, SUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 12, 13, 14
BYTE = {1, 23, 25, 36, 37, 40, 41, 42}
SHORT = {19, 33, 34, 35}
LONG = {2, 17, 24, 39}
TEXT = {3, 8, 18, 21, 26, 28, 31}
DATA = {9, 22}
USER = 38
Properties = dict[int, object]


async def until(condition: Callable[[], object], *, seconds: float = 15.0) -> None:
    """Wait for a condition; fail if it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.005)


def varint(number: int) -> bytes:
    out = bytearray()
    while True:
        number, digit = divmod(number, 128)
        out.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(out)


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("!H", len(raw)) + raw


class Cursor:
    """Reads the fields of a packet."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, count: int) -> bytes:
        taken, self.data = self.data[:count], self.data[count:]
        assert len(taken) == count
        return taken

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def text(self) -> str:
        return self.bytes().decode()

    def bytes(self) -> bytes:
        return self.take(self.number(2))

    def varint(self) -> int:
        number, shift = 0, 0
        while True:
            digit = self.number(1)
            number |= (digit & 0x7F) << shift
            shift += 7
            if digit < 0x80:
                return number

    def properties(self) -> Properties:
        inner = Cursor(self.take(self.varint()))
        found: Properties = {}
        while inner.data:
            name = inner.varint()
            if name == USER:
                pairs = found.setdefault(USER, [])
                assert isinstance(pairs, list)
                pairs.append((inner.text(), inner.text()))
            else:
                found[name] = inner.value(name)
        return found

    def value(self, name: int) -> object:
        if name in BYTE:
            return self.number(1)
        if name in SHORT:
            return self.number(2)
        if name in LONG:
            return self.number(4)
        return self.text() if name in TEXT else self.bytes()


def packed(properties: Properties) -> bytes:
    out = b""
    for name, value in properties.items():
        if name == USER:
            assert isinstance(value, list)
            out += b"".join(bytes([USER]) + text(key) + text(item) for key, item in value)
        elif isinstance(value, int):
            size = 1 if name in BYTE else 2 if name in SHORT else 4
            out += bytes([name]) + value.to_bytes(size, "big")
        else:
            assert isinstance(value, str | bytes)
            out += bytes([name]) + text(value)
    return varint(len(out)) + out


@dataclass
class Published:
    """A PUBLISH that the broker received. `connection` counts from 0."""

    connection: int
    mid: int
    topic: str
    payload: bytes
    qos: int
    retain: bool
    dup: bool
    properties: Properties

    @property
    def user(self) -> dict[str, str]:
        pairs = self.properties.get(USER, [])
        assert isinstance(pairs, list)
        return dict(pairs)

    @property
    def id(self) -> int | None:
        """The outbox id."""
        return int(self.user["id"]) if "id" in self.user else None


@dataclass
class Connected:
    """A CONNECT that the broker received."""

    client_id: str
    clean: bool
    keepalive: int
    version: int
    properties: Properties
    will_topic: str | None
    will_payload: bytes | None
    will_retain: bool
    username: str | None
    password: bytes | None


@dataclass
class Script:
    """How the broker behaves; may be changed at any time.

    puback: the reason code for a message, None for silence, an exception to hang up.
    delay: seconds before each PUBACK. deaf: pings stay unanswered.
    """

    connack: int = 0
    connack_properties: Properties = field(default_factory=dict)
    session_present: bool = False
    suback: int = 1
    delay: float = 0.0
    deaf: bool = False
    puback: Callable[[Published], int | None] = lambda _: 0


class HangUp(Exception):
    """Raised by a script's `puback`: end the connection, with a DISCONNECT if it has a code."""

    def __init__(self, code: int | None = None) -> None:
        super().__init__(code)
        self.code = code


class ScriptedBroker:
    """An MQTT broker that remembers everything and routes nothing."""

    def __init__(self, **script: object) -> None:
        self.script = Script(**script)  # type: ignore[arg-type]
        self.port = 0
        self.connects: list[Connected] = []
        self.published: list[Published] = []
        self.most_in_flight: list[int] = []
        self.subscriptions: list[dict[str, int]] = []
        self.acknowledged: list[int] = []
        self.goodbyes: list[int] = []
        self.closed = 0
        self._server: asyncio.Server | None = None
        self._peers: list[_Peer] = []

    async def __aenter__(self) -> "ScriptedBroker":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; again on the same port after `stop`."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self.drop()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = _Peer(self, writer)
        try:
            while True:
                head = (await reader.readexactly(1))[0]
                await peer.packet(head >> 4, head & 15, await _body(reader))
        except (asyncio.IncompleteReadError, ConnectionError, HangUp):
            pass
        finally:
            self.closed += 1
            peer.gone = True
            writer.close()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def ids(self) -> list[int]:
        """Outbox ids in the order in which they came."""
        return [message.id for message in self.published if message.id is not None]

    def remember(self, message: Published) -> None:
        self.published.append(message)

    def on(self, topic: str) -> list[Published]:
        return [message for message in self.published if message.topic == topic]

    def peer(self) -> "_Peer":
        return self._peers[-1]

    def drop(self) -> None:
        """Cut all connections without a word."""
        for peer in self._peers:
            if not peer.gone:
                peer.writer.transport.abort()

    def disconnect(self, code: int) -> None:
        """End the newest connection with a DISCONNECT."""
        self.peer().disconnect(code)

    def deliver(
        self,
        topic: str,
        payload: bytes = b"",
        *,
        mid: int = 1,
        retain: bool = False,
        properties: Properties | None = None,
    ) -> None:
        """Send a message at QoS 1 to the newest connection."""
        peer = self.peer()
        body = text(topic) + struct.pack("!H", mid)
        if peer.version == 5:
            body += packed(properties or {})
        peer.send(PUBLISH, 2 | retain, body + payload)


class _Peer:
    """One connection to the scripted broker."""

    def __init__(self, broker: ScriptedBroker, writer: asyncio.StreamWriter) -> None:
        self.broker = broker
        self.writer = writer
        self.version = 5
        self.number = -1
        self.gone = False
        self._in_flight: set[int] = set()

    def send(self, kind: int, flags: int, body: bytes) -> None:
        if not self.gone:
            self.writer.write(bytes([kind << 4 | flags]) + varint(len(body)) + body)

    async def packet(self, kind: int, flags: int, body: bytes) -> None:
        cursor = Cursor(body)
        if kind == CONNECT:
            self._connect(cursor)
        elif kind == PUBLISH:
            self._publish(flags, cursor)
        elif kind == SUBSCRIBE:
            self._subscribe(cursor)
        elif kind == PUBACK:
            self.broker.acknowledged.append(cursor.number(2))
        elif kind == PINGREQ and not self.broker.script.deaf:
            self.send(PINGRESP, 0, b"")
        elif kind == DISCONNECT:
            self.broker.goodbyes.append(body[0] if body else 0)
            raise HangUp

    def _connect(self, cursor: Cursor) -> None:
        script, broker = self.broker.script, self.broker
        assert cursor.text() == "MQTT"
        self.version = cursor.number(1)
        flags, keepalive = cursor.number(1), cursor.number(2)
        five = self.version == 5
        properties = cursor.properties() if five else {}
        client_id = cursor.text()
        will = bool(flags & 4)
        if will and five:
            cursor.properties()
        broker.connects.append(
            Connected(
                client_id=client_id,
                clean=bool(flags & 2),
                keepalive=keepalive,
                version=self.version,
                properties=properties,
                will_topic=cursor.text() if will else None,
                will_payload=cursor.bytes() if will else None,
                will_retain=bool(flags & 32),
                username=cursor.text() if flags & 128 else None,
                password=cursor.bytes() if flags & 64 else None,
            )
        )
        self.number = len(broker.connects) - 1
        broker.most_in_flight.append(0)
        broker._peers.append(self)
        answer = bytes([script.session_present and not script.connack, script.connack])
        self.send(CONNACK, 0, answer + (packed(script.connack_properties) if five else b""))

    def _publish(self, flags: int, cursor: Cursor) -> None:
        topic, qos = cursor.text(), flags >> 1 & 3
        mid = cursor.number(2) if qos else 0
        properties = cursor.properties() if self.version == 5 else {}
        message = Published(
            connection=self.number,
            mid=mid,
            topic=topic,
            payload=cursor.data,
            qos=qos,
            retain=bool(flags & 1),
            dup=bool(flags & 8),
            properties=properties,
        )
        self.broker.remember(message)
        if qos:
            self._in_flight.add(mid)
            most = self.broker.most_in_flight
            most[self.number] = max(most[self.number], len(self._in_flight))
            self._answer(message)

    def _answer(self, message: Published) -> None:
        script = self.broker.script
        try:
            code = script.puback(message)
        except HangUp as end:
            if end.code is not None:
                self.disconnect(end.code)
            raise
        if code is None:
            return
        if script.delay:
            asyncio.get_running_loop().call_later(script.delay, self.ack, message.mid, code)
        else:
            self.ack(message.mid, code)

    def ack(self, mid: int, code: int = 0) -> None:
        self._in_flight.discard(mid)
        body = struct.pack("!H", mid)
        self.send(PUBACK, 0, body + (bytes([code]) if code and self.version == 5 else b""))

    def _subscribe(self, cursor: Cursor) -> None:
        mid = cursor.number(2)
        five = self.version == 5
        if five:
            cursor.properties()
        filters = {}
        while cursor.data:
            name = cursor.text()
            filters[name] = cursor.number(1)
        self.broker.subscriptions.append(filters)
        codes = bytes([self.broker.script.suback]) * len(filters)
        self.send(SUBACK, 0, struct.pack("!H", mid) + (b"\0" if five else b"") + codes)

    def disconnect(self, code: int) -> None:
        self.send(DISCONNECT, 0, bytes([code, 0]))
        self.gone = True
        self.writer.close()


async def _body(reader: asyncio.StreamReader) -> bytes:
    size, shift = 0, 0
    while True:
        digit = (await reader.readexactly(1))[0]
        size |= (digit & 0x7F) << shift
        shift += 7
        if digit < 0x80:
            return await reader.readexactly(size)


# -- Mosquitto ----------------------------------------------------------------------------------


class Mosquitto:
    """A real broker on a port of its own; `start` after `kill` listens on the same port."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self.folder = folder
        self.lines = lines
        self.port = 0
        self.log = folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        for _ in range(20):
            port = self.port or free_port()
            if self._try(port):
                self.port = port
                return
        raise AssertionError(f"mosquitto does not start: {self.log.read_text()}")

    def _try(self, port: int) -> bool:
        config = self.folder / "mosquitto.conf"
        user = getpass.getuser()  # as root, Mosquitto would become a user who cannot read this
        settings = [
            f"user {user}",
            f"listener {port} 127.0.0.1",
            f"persistence_location {self.folder}/",
            *self.lines,
        ]
        config.write_text("\n".join(settings) + "\n")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [MOSQUITTO, "-v", "-c", str(config)], stdout=log, stderr=log
            )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return True
            time.sleep(0.02)
        self.kill()
        return False

    def kill(self) -> None:
        """SIGKILL: what is not on disk is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def mosquitto(folder: Path, *lines: str, anonymous: bool = True) -> Iterator[Mosquitto]:
    """A running Mosquitto with further lines of configuration."""
    broker = Mosquitto(folder, *lines, f"allow_anonymous {'true' if anonymous else 'false'}")
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def password_lines(folder: Path, *, username: str, password: str) -> list[str]:
    """Configuration for one user; Mosquitto refuses everybody else."""
    file = folder / "passwords"
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", str(file), username, password],
        check=True,
        capture_output=True,
    )
    file.chmod(0o644)
    return [f"password_file {file}"]


def certificates(folder: Path) -> dict[str, Path]:
    """A fresh authority (`ca`) and a server certificate for 127.0.0.1 (`cert`, `key`)."""
    ca, ca_key = folder / "ca.pem", folder / "ca.key"
    cert, key, request = folder / "cert.pem", folder / "cert.key", folder / "cert.csr"
    extensions = folder / "extensions"
    extensions.write_text("subjectAltName=IP:127.0.0.1\n")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    _openssl("req", "-x509", *curve, "-days", "3", "-subj", "/CN=Test authority",
             "-keyout", str(ca_key), "-out", str(ca))  # fmt: skip
    _openssl("req", *curve, "-subj", "/CN=127.0.0.1", "-keyout", str(key), "-out", str(request))
    _openssl("x509", "-req", "-in", str(request), "-CA", str(ca), "-CAkey", str(ca_key),
             "-CAcreateserial", "-days", "3", "-extfile", str(extensions),
             "-out", str(cert))  # fmt: skip
    key.chmod(0o644)
    return {"ca": ca, "cert": cert, "key": key}


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
