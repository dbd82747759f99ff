"""A WebSocket handler with sqlite-utils: a row for each reading, answered after the commit."""

import json
import sys

import sqlite_utils
from aiohttp import WSMsgType, web


async def serve(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    table = request.app["database"]["reading"]
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            found = json.loads(message.data)
            rows = [
                {"series": found["d"], "t": found["t"] + n, "v": v}
                for n, v in enumerate(found["v"])
            ]
            table.insert_all(rows)
            await socket.send_str("{}")
    return socket


def main() -> None:
    database = sqlite_utils.Database(sys.argv[2])
    database.enable_wal()
    database.execute("PRAGMA synchronous = FULL")
    app = web.Application()
    app["database"] = database
    app.router.add_get("/in", serve)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)


main()
