"""sse-starlette as its documentation has it: a queue for each listener."""

import asyncio
import sys
from collections.abc import AsyncIterator

import uvicorn
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

QUEUES: set[asyncio.Queue[str]] = set()


async def events(_: Request) -> EventSourceResponse:
    queue: asyncio.Queue[str] = asyncio.Queue()
    QUEUES.add(queue)

    async def stream() -> AsyncIterator[dict[str, str]]:
        try:
            yield {"comment": "ok"}
            while True:
                yield {"data": await queue.get()}
        finally:
            QUEUES.discard(queue)

    return EventSourceResponse(stream())


async def publish(request: Request) -> Response:
    body = (await request.body()).decode()
    for queue in QUEUES:
        queue.put_nowait(body)
    return Response(status_code=204)


app = Starlette(
    routes=[Route("/events", events), Route("/publish", publish, methods=["POST"])],
)
uvicorn.run(
    app,
    host="127.0.0.1",
    port=int(sys.argv[1]),
    log_level="error",
    backlog=4096,
    timeout_graceful_shutdown=1,
)
