"""aiohttp alone: receives messages and acknowledges every so many, as little as a server can do."""

import asyncio
import sys

import cbor2
from aiohttp import WSMsgType, web

PORT, EVERY = int(sys.argv[1]), int(sys.argv[2])


async def serve(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(protocols=("sensorlink.v1",), compress=False)
    await socket.prepare(request)
    await socket.receive()  # HELLO
    await socket.send_bytes(cbor2.dumps({0: 2}))
    await socket.receive()  # SCHEMA
    count = 0
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            count += 1
            if count % EVERY == 0:
                await socket.send_bytes(cbor2.dumps({0: 3, 2: count}))
    return socket


def main() -> None:
    app = web.Application()
    app.router.add_get("/link", serve)
    asyncio.set_event_loop(asyncio.new_event_loop())
    web.run_app(app, host="127.0.0.1", port=PORT, print=None, access_log=None)


main()
