"""The gateway behind nginx, Caddy and HAProxy, by the configurations that are shipped."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack

import httpx
import pytest

from gateway.hub import Limits
from tests.events import stand, summary
from tests.processes import GatewayProcess
from tests.reverse_proxies import (
    KINDS,
    NAME,
    ReverseProxy,
    behind,
    stranger,
    until_answered,
    wss,
)
from tests.sse_conformance.server import Device, Server, told
from tests.wire_client import WireClient, new_epoch

MORE = """
[store]
commit_interval_ms = 1
[events]
max_clients_per_address = 6
[access]
trust_loopback = true
"""
LISTEN = f'hosts = ["{NAME}"]\n'
CREDENTIALS = {"user": "ada", "password": "correct horse battery"}
CLAIMS = [
    {},
    {"X-Forwarded-For": "127.0.0.1"},
    {"X-Real-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1", "X-Forwarded-Proto": "http"},
]


class Site:
    """A gateway that trusts its own machine, a proxy on it, and people elsewhere."""

    def __init__(self, gateway: GatewayProcess, proxy: ReverseProxy, elsewhere: str) -> None:
        self.gateway, self.proxy, self.elsewhere = gateway, proxy, elsewhere
        self.token = self.run("device", "add", "herald")
        self.run("user", "add", "ada", given=CREDENTIALS["password"])
        access = self.run("token", "add", "script")
        self.server: Server = behind(proxy, gateway, publisher=Herald(self), token=access)

    def run(self, *command: str, given: str = "") -> str:
        """A command of the gateway's; what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "gateway", *command, "--config", str(self.gateway.config)],
            input=given + "\n", check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout.strip()

    def device(self) -> WireClient:
        return wss(self.proxy, "herald", self.token)

    def script(self, **more: str) -> httpx.AsyncClient:
        """A client with an access token."""
        return self.client(**{**self.server.headers, **more})

    def client(self, source: str | None = None, **headers: str) -> httpx.AsyncClient:
        """A client from elsewhere."""

        async def name(request: httpx.Request) -> None:
            request.extensions["sni_hostname"] = NAME

        return httpx.AsyncClient(
            base_url=self.proxy.url,
            headers={"Host": self.proxy.host, **headers},
            transport=httpx.AsyncHTTPTransport(
                verify=False, local_address=source or self.elsewhere
            ),
            event_hooks={"request": [name]},
        )

    def browser(self, source: str | None = None) -> httpx.AsyncClient:
        """A client that says where its forms come from."""
        return self.client(source, Origin=f"https://{self.proxy.host}", Accept="text/html")


class Herald(Device):
    """Publishes through the proxy."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.gateway, "herald")
        self._site = site

    def _client(self) -> WireClient:
        return self._site.device()


@pytest.fixture(scope="module", params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path_factory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp(request.param)
    gateway = GatewayProcess(folder, more=MORE, auth="token")
    text = gateway.config.read_text().replace("[listen]\n", "[listen]\n" + LISTEN)
    gateway.config.write_text(text)
    gateway.start()
    before = ReverseProxy(request.param, folder, gateway.port)
    with before.running() as proxy, stranger() as elsewhere:
        yield Site(gateway, proxy, elsewhere)
    gateway.stop()


async def test_events_are_not_held_back(site: Site) -> None:
    """Each comes through before the next one happens, for clients that take gzip too."""
    server = site.server
    async with server.ask(headers={"Accept-Encoding": "gzip, br, zstd"}) as stream:
        await stream.until("snapshot")
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["cache-control"] == "no-store, no-transform"
        assert "content-encoding" not in stream.headers
        for _ in range(5):
            assert await server.cause(stream, 1)


async def test_a_cursor_resumes_through_it(site: Site) -> None:
    server = site.server
    async with server.ask() as witness:
        seen = await server.cause(witness, 6)
    async with server.ask(cursor=seen[1].id) as stream:
        assert told(await server.take(stream, 4)) == told(seen[2:6])
    async with server.ask(by_query=seen[3].id) as stream:
        assert told(await server.take(stream, 2)) == told(seen[4:6])


async def test_a_device_pushes_over_wss_and_is_acknowledged(site: Site) -> None:
    async with wss(site.proxy, "herald", site.token) as device:
        await device.hello(new_epoch())
        await device.schema()
        await device.send({0: 16, 1: 1, 2: 1, 3: 1_700_000_000_000, 5: [21.5], 7: 0})
        assert (await device.acked(1))[2] == 1


@pytest.mark.parametrize("claim", CLAIMS)
async def test_who_comes_from_elsewhere_is_not_taken_for_this_machine(
    site: Site, claim: dict[str, str]
) -> None:
    """Whatever he claims; on the machine itself nobody has to sign in."""
    assert await asyncio.to_thread(site.gateway.get, "/api/devices")
    async with site.client(**claim) as client:
        for path in ("/", "/events", "/api/devices", "/api/session", "/metrics"):
            assert (await client.get(path)).status_code == 401, path
        assert (await client.get("/healthz")).status_code == 200


async def test_devices_need_their_token(site: Site) -> None:
    async with site.script() as client:
        assert (await client.get("/link")).status_code in {400, 401, 426}
    with pytest.raises(Exception, match="401"):
        async with wss(site.proxy, "herald", "wrong"):
            pass


async def test_people_sign_in_and_their_streams_end_with_it(site: Site) -> None:
    async with site.browser() as client:
        form = await client.get("/")
        assert (form.status_code, '<form method="post"' in form.text) == (401, True)
        wrong = await client.post("/login", data={**CREDENTIALS, "password": "wrong horse"})
        assert wrong.status_code == 401
        answer = await client.post("/login", data=CREDENTIALS)
        assert (answer.status_code, answer.headers["location"]) == (303, "./")
        cookie = answer.headers["set-cookie"]
        assert re.search("; HttpOnly", cookie)
        assert re.search("; Secure", cookie)
        assert re.search("; SameSite=Strict", cookie)
        assert (await client.get("/api/session")).json()["user"] == "ada"
        kept = {"Host": site.proxy.host, "Cookie": cookie.partition(";")[0]}
        visitor = Server(site.server.url, headers=kept)
        async with visitor.ask(source=site.elsewhere) as stream:
            await stream.until("snapshot")
            assert (await client.post("/logout")).status_code == 303
            assert (await stream.until("bye"))[-1].json == {"v": 1, "reason": "auth"}
            assert await stream.rest() == []
        async with visitor.ask(source=site.elsewhere) as stream:
            assert (await stream.answer()).code == 401  # for good, and not "retry" as at a restart


async def test_a_stream_ends_when_its_token_is_revoked(site: Site) -> None:
    token = await asyncio.to_thread(site.run, "token", "add", "passing")
    shown = {"Host": site.proxy.host, "Authorization": f"Bearer {token}"}
    async with Server(site.server.url, headers=shown).ask(source=site.elsewhere) as stream:
        await stream.until("snapshot")
        await asyncio.to_thread(site.run, "token", "revoke", "passing")
        assert (await stream.until("bye"))[-1].json["reason"] == "auth"


async def test_attempts_count_for_the_address_that_they_come_from(site: Site) -> None:
    """Nobody can lock others out, nor try on by claiming to be somebody else."""
    wrong = {"user": "nobody", "password": "wrong horse"}
    with stranger() as guesser:
        async with site.browser(guesser) as client:
            claims = [{"X-Forwarded-For": f"192.0.2.{n}"} for n in range(12)]
            tried = [await client.post("/login", data=wrong, headers=claim) for claim in claims]
    assert tried[-1].status_code == 429
    async with site.browser() as client:
        assert (await client.post("/login", data=CREDENTIALS)).status_code == 303


async def test_the_page_and_the_api_are_there(site: Site) -> None:
    async with site.script() as client:
        page = await client.get("/")
        assert (page.status_code, page.headers["content-encoding"]) == (200, "gzip")
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert (await client.get("/api/devices")).json()["devices"][0]["id"] == "herald"


async def test_only_its_own_name_and_origin_are_known(site: Site) -> None:
    order = {"op": "relay"}
    path = "/api/devices/herald/commands"
    async with site.script(Host="evil.example") as client:
        answer = await client.get("/api/devices")
        assert answer.status_code == 421 or not answer.content
    async with site.script(Origin=f"https://{site.proxy.host}") as client:
        assert (await client.post(path, json=order)).status_code == 202
    async with site.script(Origin="https://evil.example") as client:
        assert (await client.post(path, json=order)).status_code == 403


async def test_each_client_counts_for_its_own_address(site: Site) -> None:
    """What a client claims of itself is not believed."""
    server, claim = site.server, {"X-Forwarded-For": "9.9.9.9"}
    async with AsyncExitStack() as stack:
        for expected in ["hello"] * 6 + ["bye"]:
            asked = server.ask(source="127.0.0.2", headers=claim)
            stream = await stack.enter_async_context(asked)
            assert (await stream.next()).name == expected
        async with server.ask(source="127.0.0.3", headers=claim) as stream:
            assert (await stream.next()).name == "hello"


async def test_a_restart_ends_the_stream_cleanly_and_the_cursor_goes_on(site: Site) -> None:
    """While the gateway is away an EventSource is told to come again, not an error."""
    server = site.server
    async with server.ask() as stream:
        seen = await server.cause(stream, 2)
        assert await asyncio.to_thread(site.gateway.stop) == 0
        assert [event.name for event in await stream.rest()][-1] == "bye"
        assert stream.parser.raw.endswith(b"\n\n")
    async with site.script() as client:
        answer = await client.get("/events")
        assert (answer.status_code, answer.text) == (200, "retry: 3000\n\n")
        assert answer.headers["content-type"] == "text/event-stream"
        assert (await client.get("/api/devices")).status_code in {502, 503}
    await asyncio.to_thread(site.gateway.start)
    await until_answered(server)
    async with server.ask(cursor=seen[0].id) as stream:
        await server.publish("after")
        found = await server.take(stream, 2)
        while server.text(found[-1]) != "after":
            found += await server.take(stream, 1)
        assert told(found[:1]) == told(seen[1:2])


async def test_http_2_is_offered(site: Site) -> None:
    url = f"https://{site.proxy.host}/healthz"
    call = ["curl", "-sko", "/dev/null", "-w", "%{http_version}", url]
    call += ["--resolve", f"{site.proxy.host}:127.0.0.1"]
    process = await asyncio.create_subprocess_exec(*call, stdout=asyncio.subprocess.PIPE)
    assert (await process.communicate())[0] == b"2"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_quiet_stream_outlives_the_timeout_of_a_proxy(kind: str, tmp_path) -> None:
    """Heartbeats every 0.3 s and a timeout of 1 s, instead of 15 s and 60 s."""

    def hasty(text: str) -> str:
        return text.replace("60s", "1s")

    async with stand([summary(1)], limits=Limits(heartbeat=0.3)) as there:
        proxy = ReverseProxy(kind, tmp_path, there.port, change=hasty)
        with proxy.running():
            server = Server(proxy.url + "/events")
            server.headers = {"Host": proxy.host}
            async with server.ask(query="device=nobody") as stream:
                for _ in range(6):
                    await stream.until("heartbeat")
