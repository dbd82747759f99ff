"""The doors to the network."""

import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from gateway.listening import AT_ONCE, bind, listen


@pytest.fixture
async def runner() -> AsyncIterator[web.AppRunner]:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    yield runner
    await runner.cleanup()


async def test_every_address_of_a_host_answers(runner: web.AppRunner) -> None:
    sockets = await bind("localhost", 0)
    places = {one.getsockname()[:2] for one in sockets}
    await listen(runner, sockets, tls=None)
    assert {address[:2] for address in runner.addresses} == places
    async with aiohttp.ClientSession() as http:
        for host, port in places:
            shown = f"[{host}]" if ":" in host else host
            async with http.get(f"http://{shown}:{port}/") as answer:
                assert await answer.text() == "hello"


async def test_many_may_wait_while_a_few_are_let_in(runner: web.AppRunner) -> None:
    sockets = await bind("127.0.0.1", 0)
    await listen(runner, sockets, tls=None)
    place = sockets[0].getsockname()
    clients = [socket.create_connection(place, timeout=20) for _ in range(8 * AT_ONCE)]
    for client in clients:  # nobody was let in so far: the event loop had no turn
        client.close()


async def test_an_address_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"in use.*127\.0\.0\.1.*{port}"):
            await bind("127.0.0.1", port)
