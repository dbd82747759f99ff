"""Coming back: after a cursor, each event once and in order, whoever wrote the server."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import pytest

from tests.proxies import Proxy
from tests.sse_conformance.node_clients import listening
from tests.sse_conformance.server import Server, told
from tests.sse_conformance.stream import Stream
from tests.sse_parser import Event

ODD_CURSORS = [
    "0",
    "-1",
    "nonsense",
    "9" * 30,
    "99999999999999999999-1",
    "other-epoch-5",
    "x" * 3000,
    "é",
    "☃",
    "a b",
    '{"offset":1}',
    "%00",
]


JOINS = 40


@asynccontextmanager
async def cutting(server: Server) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy that cuts connections, and the URL of the stream behind it."""
    where = urlsplit(server.url)
    if where.scheme != "http" or where.hostname not in {"127.0.0.1", "localhost"}:
        pytest.skip("connections are cut on this machine and without TLS only")
    async with Proxy(where.port or 80) as proxy:
        yield proxy, where._replace(netloc=f"127.0.0.1:{proxy.port}").geturl()


async def history(server: Server, count: int, *, size: int = 0) -> list[Event]:
    """Events that have happened by now."""
    async with server.ask() as witness:
        await server.settle(witness)
        return await server.cause(witness, count, size=size)


@pytest.mark.case(15)
@pytest.mark.parametrize("known", [1, 3, 7], ids=["early", "middle", "last but one"])
async def test_a_cursor_brings_what_followed_it(server: Server, known: int) -> None:
    seen = await history(server, 8)
    async with server.ask(cursor=seen[known - 1].id) as again:
        assert told(await server.take(again, len(seen) - known)) == told(seen[known:])


@pytest.mark.case(15)
async def test_after_the_newest_cursor_only_news_come(publishing: Server) -> None:
    seen = await history(publishing, 3)
    async with publishing.ask(cursor=seen[-1].id) as again, publishing.ask() as witness:
        await publishing.settle(witness)
        found = await publishing.take(again, 1)
        assert found[0].id not in {event.id for event in seen}


@pytest.mark.case(15)
async def test_a_cursor_in_the_query_does_as_well_and_the_header_wins(server: Server) -> None:
    if server.cursor_parameter is None:
        pytest.skip("needs --cursor-parameter")
    seen = await history(server, 6)
    async with server.ask(by_query=seen[1].id) as again:
        assert told(await server.take(again, 4)) == told(seen[2:6])
    async with server.ask(cursor=seen[3].id, by_query=seen[0].id) as again:
        assert told(await server.take(again, 2)) == told(seen[4:6])


@pytest.mark.case(16)
@pytest.mark.parametrize("cursor", ODD_CURSORS, ids=range(len(ODD_CURSORS)))
async def test_a_cursor_that_means_nothing_ends_no_stream(server: Server, cursor: str) -> None:
    """Any status but 200 would end a browser's EventSource for good."""
    async with server.ask(cursor=cursor) as stream:
        await stream.answer()
        assert stream.code == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        await server.settle(stream)
        assert await server.cause(stream, 1)


@pytest.mark.case(16)
async def test_an_empty_cursor_is_none(server: Server) -> None:
    async with server.ask(cursor="") as stream:
        await server.settle(stream)
        assert await server.cause(stream, 1)


@pytest.mark.case(17)
async def test_whoever_joins_while_much_happens_gets_each_event_once(publishing: Server) -> None:
    server, dice = publishing, random.Random(7)
    async with server.ask() as witness:
        await server.settle(witness)
        seen = await server.cause(witness, 4)
        end = f"the end of {seen[0].id}."
        joined: list[tuple[int, list[Event]]] = []

        async def until_the_end(stream: Stream) -> list[Event]:
            found = await server.take(stream, 1)
            while end not in found[-1].data:
                found += await server.take(stream, 1)
            return found

        async def join() -> None:
            await asyncio.sleep(dice.random() * 0.4)
            known = dice.randrange(len(seen))
            async with server.ask(cursor=seen[known].id) as stream:
                joined.append((known, await until_the_end(stream)))

        async def publish() -> None:
            for _ in range(12):
                seen.extend(await server.cause(witness, 10))
            await server.publish(end)
            seen.extend(await until_the_end(witness))

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(publish())
            for _ in range(JOINS):
                tasks.create_task(join())
        for known, found in joined:
            assert told(found) == told(seen[known + 1 :])


@pytest.mark.case(18)
async def test_a_stream_cut_anywhere_goes_on_from_the_last_whole_event(server: Server) -> None:
    """Each connection is reset after a random number of bytes, within events and between."""
    dice = random.Random(3)
    seen = await history(server, 40, size=300)
    async with cutting(server) as (proxy, url):
        proxy.budgets = iter(lambda: dice.randint(600, 6000), 0)
        cursor, found = seen[0].id, []
        while len(found) < len(seen) - 1 and proxy.connections < 999:
            async with server.ask(cursor=cursor, url=url) as stream:
                with suppress(EOFError, OSError):
                    while len(found) < len(seen) - 1:
                        found += await server.take(stream, 1)
                        cursor = found[-1].id
        assert told(found) == told(seen[1:])
        assert proxy.connections > 1


@pytest.mark.case(39)
async def test_an_eventsource_of_another_make_misses_nothing(publishing: Server) -> None:
    """The connection is reset, things happen, and EventSource comes back by itself."""
    server = publishing
    async with cutting(server) as (proxy, url), server.ask() as witness:
        await server.settle(witness)
        (first, *_) = await server.cause(witness, 1)
        async with listening(url, headers=server.headers, names=[first.name]) as listener:
            await listener.until("open")
            before = await server.cause(witness, 2)
            shown = []
            while not shown or shown[-1][2] != before[-1].id:
                shown.append(await listener.until(first.name))
            await proxy.stop()
            missed = await server.cause(witness, 3)
            await proxy.start()
            await listener.until("open")
            wanted = [event for event in missed if event.name == first.name]
            again = [await listener.until(first.name) for _ in wanted]
        assert again == [[event.name, event.data, event.id] for event in wanted]
