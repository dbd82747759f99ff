"""The answer around the stream: headers, methods, versions of HTTP, refusals."""

import asyncio

import httpx
import pytest

from tests.processes import GatewayProcess
from tests.sse_conformance.server import Server, ours


@pytest.mark.case(9)
async def test_the_headers_come_before_anything_happens(server: Server) -> None:
    async with server.ask() as stream:
        await stream.answer()
        assert stream.code == 200
        kind, _, parameters = stream.headers["content-type"].partition(";")
        assert kind.strip().lower() == "text/event-stream"
        assert parameters.strip().lower() in {"", "charset=utf-8"}


@pytest.mark.case(10)
async def test_head_gets_headers_and_no_stream(server: Server) -> None:
    async with server.ask(method="HEAD", headers={"Connection": "close"}) as stream:
        await stream.answer()
        assert stream.code in {200, 405}
        async with asyncio.timeout(server.patience):
            assert await stream.reader.read() == b""


@pytest.mark.case(10)
@pytest.mark.parametrize("method", ["PUT", "OPTIONS"])
async def test_other_methods_get_an_answer_that_ends(server: Server, method: str) -> None:
    async with server.ask(method=method, headers={"Content-Length": "0"}) as stream:
        await stream.answer()
        assert stream.code < 500
        assert "event-stream" not in stream.headers.get("content-type", "")


@pytest.mark.case(10)
async def test_a_client_of_http_1_0_gets_no_chunks(server: Server) -> None:
    async with server.ask(version="1.0") as stream:
        await stream.answer()
        assert "transfer-encoding" not in stream.headers
        await server.settle(stream)
        assert await server.cause(stream, 2)


@pytest.mark.case(12)
async def test_a_client_that_takes_gzip_gets_the_stream_as_it_is(server: Server) -> None:
    async with server.ask(headers={"Accept-Encoding": "gzip, deflate, br"}) as stream:
        await stream.answer()
        assert stream.headers.get("content-encoding", "identity") == "identity"
        await server.settle(stream)
        assert await server.cause(stream, 2)


@pytest.mark.case(13)
async def test_no_cache_keeps_the_stream(server: Server) -> None:
    async with server.ask() as stream:
        await stream.answer()
        assert stream.headers["cache-control"].startswith(("no-store", "no-cache"))


@pytest.mark.case(9, 13)
async def test_nothing_between_may_hold_the_stream_back(gateway: GatewayProcess) -> None:
    async with ours(gateway).ask(query="device=nobody") as stream:
        await stream.answer()
        assert stream.headers["cache-control"] == "no-store, no-transform"
        assert stream.headers["x-accel-buffering"] == "no"
        assert stream.headers["x-content-type-options"] == "nosniff"


@pytest.mark.case(11)
async def test_what_is_wrong_with_a_request_is_said_by_name(gateway: GatewayProcess) -> None:
    foreign = {"Origin": "http://evil.example"}
    async with httpx.AsyncClient(base_url=gateway.url) as client:
        answers = [
            await client.get("/events?colour=red"),
            await client.get("/events?window=10"),
            await client.get("/events", headers={"Host": "evil.example"}),
            await client.get("/events", headers=foreign),
            await client.post("/api/devices/d1/commands", json={"op": 1}, headers=foreign),
        ]
    said = [(answer.status_code, answer.json()["error"]["parameter"]) for answer in answers]
    assert said == [
        (400, "colour"),
        (400, "window"),
        (421, "Host"),
        (403, "Origin"),
        (403, "Origin"),
    ]


@pytest.mark.case(33)
async def test_who_leaves_at_any_moment_disturbs_nobody(server: Server) -> None:
    async with server.ask() as witness:
        await server.settle(witness)
        first, *_ = await server.cause(witness, 20)
        for turn in range(30):
            async with server.ask(cursor=first.id if turn % 2 else None) as stream:
                if turn > 5:  # before the headers, in the snapshot, in the replay
                    await stream.reader.read(turn * 60)
        assert await server.cause(witness, 3)


@pytest.mark.case(28)
async def test_who_does_not_read_holds_nobody_up(publishing: Server) -> None:
    """More happens than fits into any buffer on the way to somebody who takes nothing."""
    server = publishing
    async with server.ask() as witness, server.ask(paused=True) as idle:
        await server.settle(witness)
        for _ in range(10):
            async with asyncio.timeout(4 * server.patience):
                assert len(await server.cause(witness, 40, size=12_000)) >= 40
        idle.writer.transport.abort()
