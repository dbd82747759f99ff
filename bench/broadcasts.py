"""The servers of an event stream, and plans for bench/load/listen.c: who asks, who publishes."""

import base64
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cbor2

from bench import peers, plans
from bench.peers import HERE, PYTHON, Peer

STAMP = b"@" + b"0" * 19
SIZE = 200
"""Bytes of what is told, so that an event comes to about 300."""

NGINX = """\
load_module /usr/lib/nginx/modules/ngx_nchan_module.so;
user root;
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 100000000;
  nchan_max_reserved_memory 256M;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /events {{ nchan_subscriber eventsource; nchan_channel_id bench;
      nchan_subscriber_first_message newest; }}
    location = /publish {{ nchan_publisher; nchan_channel_id bench; nchan_message_timeout 5s; }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A plan of listen.c. prelude: what the publisher says first, and whether it is answered."""

    port: int
    request: bytes
    message: bytes
    prelude: list[tuple[bytes, bool]] = field(default_factory=list)
    seq: tuple[int, int] = (0, 0)

    def write(self, file: Path) -> None:
        stamp = self.message.index(b"@") + 1
        with file.open("wb") as sink:
            sink.write(struct.pack("<IIIII", self.port, *self.seq, stamp, len(self.prelude)))
            parts = [(self.request, False), (self.message, False), *self.prelude]
            sink.writelines(struct.pack("<II", waits, len(raw)) + raw for raw, waits in parts)


def _get(port: int, path: str) -> bytes:
    lines = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n\r\n"
    return lines.encode()


def of_gateway(port: int) -> Broadcast:
    """EVENTs of a device, which the gateway stores and then shows as alerts."""
    told = STAMP + b"." * (SIZE - len(STAMP))
    event = cbor2.dumps({0: 18, 1: plans.SEQ, 2: "note", 3: told.decode()})
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = (
        f"GET /link HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: sensorlink.v1\r\n\r\n"
    )
    hello = {0: 1, 2: [1, 0], 3: "herald", 4: os.urandom(8), 5: 1, 6: 0}
    message = _websocket(event)
    return Broadcast(
        port,
        _get(port, "/events?kind=alert&snapshot=0"),
        message,
        prelude=[(upgrade.encode(), True), (_websocket(cbor2.dumps(hello)), True)],
        seq=(message.index(struct.pack(">I", plans.SEQ)), 4),
    )


def of_publisher(port: int) -> Broadcast:
    """Events that are posted to a server, which passes them on."""
    told = STAMP + b"." * (SIZE + 60 - len(STAMP))
    head = f"POST /publish HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(told)}\r\n"
    return Broadcast(port, _get(port, "/events"), head.encode() + b"\r\n" + told)


def _websocket(payload: bytes) -> bytes:
    """A frame of a client; the mask is 0, so that listen.c can patch what is in it."""
    assert 126 <= len(payload) < 65536 or len(payload) < 126
    long = len(payload) >= 126
    size = b"\xfe" + struct.pack(">H", len(payload)) if long else bytes([0x80 | len(payload)])
    return b"\x82" + size + bytes(4) + payload


def nchan() -> Peer:
    """nginx with nchan, one worker."""

    def prepare(folder: Path, port: int) -> Sequence[str]:
        config = folder / "nginx.conf"
        config.write_text(NGINX.format(folder=folder, port=port))
        return ["/usr/sbin/nginx", "-c", str(config), "-p", str(folder)]

    return Peer("nginx + nchan", False, prepare)


def _script(name: str, file: str) -> Peer:
    path = str(HERE / "servers" / file)
    return Peer(name, False, lambda _, port: [PYTHON, path, str(port)])


def sse_starlette() -> Peer:
    return _script("sse-starlette, uvicorn", "starlette_events.py")


def raw() -> Peer:
    """The limit of asyncio: one write of shared bytes for each client."""
    return _script("bare asyncio", "raw_events.py")


def gateway() -> Peer:
    return peers.gateway()
