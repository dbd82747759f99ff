"""httpx-sse, as a script would use it."""

import httpx
import httpx_sse
import pytest

from tests.sse_conformance.server import Server


@pytest.mark.case(4, 15)
async def test_httpx_sse_reads_what_was_published_and_resumes(publishing: Server) -> None:
    server = publishing
    async with server.ask() as witness:
        await server.settle(witness)
        seen = await server.cause(witness, 4)
    headers = server.headers | {"Last-Event-ID": seen[0].id}
    async with (
        httpx.AsyncClient(timeout=server.patience, verify=False) as client,
        httpx_sse.aconnect_sse(client, "GET", server.url, headers=headers) as source,
    ):
        found = []
        async for event in source.aiter_sse():
            if event.event not in server.own:
                found.append((event.id, event.event, event.data))
            if len(found) == len(seen) - 1:
                break
    assert found == [(event.id, event.name, event.data) for event in seen[1:]]
