"""The shipped configurations of reverse proxies, run as they are but for names, ports and files."""

import asyncio
import contextlib
import random
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import aiohttp

from tests.events import PATIENCE
from tests.processes import PATIENCE_S, GatewayProcess, free_port
from tests.sse_conformance.server import Device, Server, ours
from tests.wire_client import WireClient

CONFIG = Path(__file__).parents[1] / "config" / "proxy"
NAME = "gateway.example"
KINDS = ("nginx", "caddy", "haproxy")


@cache
def certificate(folder: Path) -> tuple[Path, Path]:
    """A chain and a key for NAME, signed by themselves."""
    chain, key = folder / "cert.pem", folder / "cert.key"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    made += ["-nodes", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    subprocess.run([*made, "-keyout", key, "-out", chain], check=True, capture_output=True)
    return chain, key


@contextlib.contextmanager
def stranger() -> Iterator[str]:
    """An address of this machine that is not its loopback: clients from there look like others."""
    address = f"198.18.{random.randrange(256)}.{random.randrange(1, 255)}"
    change = partial(subprocess.run, check=True)
    change(["ip", "address", "add", f"{address}/32", "dev", "lo"])
    try:
        yield address
    finally:
        change(["ip", "address", "delete", f"{address}/32", "dev", "lo"])


class ReverseProxy:
    """One of KINDS before a port of this machine; `change` may turn more of its configuration."""

    def __init__(
        self,
        kind: str,
        folder: Path,
        target: int,
        *,
        change: Callable[[str], str] = lambda text: text,
    ) -> None:
        self.kind, self.folder, self.target = kind, folder, target
        self.port = free_port()
        self._change = change

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def host(self) -> str:
        return f"{NAME}:{self.port}"

    @property
    def log(self) -> Path:
        """What it printed; HAProxy a line for each request."""
        return self.folder / "requests"

    @contextlib.contextmanager
    def running(self) -> Iterator["ReverseProxy"]:
        command = self._command()
        with (self.folder / "errors").open("ab") as errors, self.log.open("ab") as log:
            process = subprocess.Popen(command, stderr=errors, stdout=log)
        try:
            self._wait(process)
            yield self
        finally:
            process.kill()
            process.wait(PATIENCE_S)

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            assert process.poll() is None, (self.folder / "errors").read_text()
            time.sleep(0.02)
        raise AssertionError(f"{self.kind} does not listen")

    def _command(self) -> list[str]:
        prepare = {"nginx": self._nginx, "caddy": self._caddy, "haproxy": self._haproxy}
        return prepare[self.kind]()

    def _shipped(self, name: str, **replaced: str) -> str:
        text = (CONFIG / name).read_text().replace("127.0.0.1:8080", f"127.0.0.1:{self.target}")
        for old, new in replaced.items():
            assert old in text, old
            text = text.replace(old, new)
        return self._change(text)

    def _nginx(self) -> list[str]:
        chain, key = certificate(self.folder)
        site = self._shipped(
            "nginx.conf",
            **{
                "listen 443": f"listen 127.0.0.1:{self.port}",
                "/etc/ssl/gateway.example.pem": str(chain),
                "/etc/ssl/gateway.example.key": str(key),
            },
        )
        temporary = "\n".join(
            f"{what}_temp_path {self.folder}/{what};"
            for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        path = self.folder / "nginx.conf"
        path.write_text(
            f"user root; daemon off; master_process off; "
            f"pid {self.folder}/nginx.pid; worker_processes 1;\n"
            f"error_log stderr; events {{}}\nhttp {{ access_log off; {temporary}\n"
            f"gzip on; gzip_types *; gzip_proxied any; gzip_min_length 0;\n{site}}}\n"
        )
        return ["nginx", "-p", str(self.folder), "-c", str(path), "-e", "stderr"]

    def _caddy(self) -> list[str]:
        chain, key = certificate(self.folder)
        site = self._shipped(
            "Caddyfile",
            **{
                "\n{\n": "\n{\n\tadmin off\n\tauto_https disable_redirects\n",
                f"\n{NAME} {{": f"\nhttps://{self.host} {{",
                "/etc/ssl/gateway.example.pem": str(chain),
                "/etc/ssl/gateway.example.key": str(key),
            },
        )
        path = self.folder / "Caddyfile"
        path.write_text(site)
        return ["env", f"HOME={self.folder}", "caddy", "run", "--config", str(path)]

    def _haproxy(self) -> list[str]:
        chain, key = certificate(self.folder)
        both = self.folder / "both.pem"
        both.write_text(chain.read_text() + key.read_text())
        site = self._shipped(
            "haproxy.cfg",
            **{
                "bind :443": f"bind 127.0.0.1:{self.port}",
                "/etc/haproxy/gateway.example.pem": str(both),
            },
        )
        path = self.folder / "haproxy.cfg"
        path.write_text(
            "global\n    log stdout format raw local0\n"
            "defaults\n    log global\n    compression algo gzip\n"
            "    compression type text/html application/json text/event-stream\n"
            f"    option httplog\n{site}"
        )
        return ["haproxy", "-db", "-f", str(path)]


def behind(
    proxy: ReverseProxy, gateway: GatewayProcess, *, publisher: Device, token: str
) -> Server:
    """The gateway's stream as it is seen through a proxy, with an access token."""
    server = ours(gateway)
    server.url = proxy.url + "/events"
    server.headers = {"Host": proxy.host, "Authorization": f"Bearer {token}"}
    server.publisher = publisher
    return server


def wss(proxy: ReverseProxy, device: str, token: str) -> WireClient:
    """A device that connects through a proxy, over TLS."""

    class Local(aiohttp.abc.AbstractResolver):
        async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[dict]:
            found = {"hostname": host, "host": "127.0.0.1", "port": port, "family": family}
            return [found | {"proto": 0, "flags": 0}]

        async def close(self) -> None: ...

    def session() -> aiohttp.ClientSession:
        trust = ssl.create_default_context(cafile=str(certificate(proxy.folder)[0]))
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust, resolver=Local(), family=2)
        )

    return WireClient(f"wss://{proxy.host}/link", device, token=token, http=session)


async def until_answered(server: Server) -> None:
    """Wait until the gateway behind the proxy is there again."""
    async with asyncio.timeout(4 * PATIENCE):
        while True:
            async with server.ask(query="device=nobody") as stream:
                with contextlib.suppress(EOFError):
                    await stream.next()
                    return
            await asyncio.sleep(0.05)
