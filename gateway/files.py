"""The files of the page: read once at the start, compressed once, checked by their content."""

import gzip
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path

from aiohttp import web

TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
WORTH = 0.9
"""Compress what becomes smaller than this share."""

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def file(path: Path) -> Answer:
    """What answers a request for a file whose suffix is in `TYPES`."""
    plain = path.read_bytes()
    packed = gzip.compress(plain, mtime=0)
    if len(packed) > WORTH * len(plain):
        packed = b""
    headers = {
        "Content-Type": TYPES[path.suffix],
        "Cache-Control": "no-cache",
        "Vary": "Accept-Encoding",
    }
    if headers["Content-Type"].startswith("text/"):
        headers["Content-Type"] += "; charset=utf-8"
    tag = sha256(plain).hexdigest()[:16]

    async def answer(request: web.Request) -> web.Response:
        zipped = bool(packed) and "gzip" in request.headers.get("Accept-Encoding", "")
        # The two forms are different bytes, so they have different tags (RFC 9110, 8.8.3.3).
        form = {"ETag": f'"{tag}-gzip"', "Content-Encoding": "gzip"} if zipped else {}
        found = headers | {"ETag": f'"{tag}"'} | form
        if any(known.value in (tag, f"{tag}-gzip", "*") for known in request.if_none_match or ()):
            found.pop("Content-Encoding", None)
            return web.Response(status=304, headers=found)
        return web.Response(body=packed if zipped else plain, headers=found)

    return answer
