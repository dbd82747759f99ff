"""Who may look, and for how long: a stream outlives nobody's leave."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.processes import GatewayProcess
from tests.sse_conformance.conftest import run
from tests.sse_conformance.server import Passing, Server, ours

PASSWORD = "correct horse battery"


@pytest.mark.case(11, 22)
async def test_without_its_header_nobody_is_let_in(server: Server) -> None:
    if not server.headers:
        pytest.skip("needs --header")
    await assert_refused(Server(server.url), "1")


@pytest.mark.case(11, 22, 37)
async def test_a_stream_ends_when_its_leave_is_taken_away(passing: Passing) -> None:
    """And neither the cursor nor anything else opens it again."""
    server = passing.server
    async with server.ask() as stream:
        await server.settle(stream)
        seen = await server.cause(stream, 2)
        await passing.revoke()
        async with asyncio.timeout(server.patience):
            with suppress(EOFError, ConnectionError):
                while True:
                    await stream.next()
    await assert_refused(server, seen[-1].id)
    if passing.everybody.headers:
        await assert_refused(Server(server.url), seen[-1].id)


async def assert_refused(server: Server, cursor: str) -> None:
    for asked in (None, cursor):
        async with server.ask(cursor=asked) as stream:
            await stream.answer()
            assert stream.code in {401, 403}


@pytest.mark.case(37)
async def test_nothing_that_happens_afterwards_is_told(script: Passing) -> None:
    server = script.server
    async with server.ask() as stream:
        await server.settle(stream)
        await script.revoke()
        await server.publish("a secret")
        rest = await stream.rest()
    assert rest[-1].json == {"v": 1, "reason": "auth"}
    assert not any("a secret" in event.data for event in rest)


@pytest.mark.case(37)
async def test_a_sign_in_that_expires_ends_its_busy_stream(only_ours: None, tmp_path: Path) -> None:
    """It is looked at again while events go on, and not only once nothing happens."""
    gateway = GatewayProcess(
        tmp_path, more='[access]\nsession = "3s"\n[store]\ncommit_interval_ms = 1\n'
    )
    run(gateway, "user", "add", "ada", given=PASSWORD)
    await asyncio.to_thread(gateway.start)
    async with httpx.AsyncClient(base_url=gateway.url) as client:
        await client.post("/login", data={"user": "ada", "password": PASSWORD})
        expires = (await client.get("/api/session")).json()["expires"]
        cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    server = ours(gateway)
    server.headers = {"Cookie": cookie}
    async with server.ask() as stream:

        async def publish() -> None:
            while True:
                await server.publish(*map(str, range(16)))

        busy = asyncio.create_task(publish())
        *events, bye = await stream.rest()
        busy.cancel()
    assert (bye.name, bye.json["reason"]) == ("bye", "auth")
    assert time.time() * 1000 >= expires - 1000  # not at once
    assert sum(event.name == "alert" for event in events) > 16
    await assert_refused(server, events[-1].id or "1")
    gateway.kill()
