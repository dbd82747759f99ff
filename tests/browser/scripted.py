"""A stream and an API that a test writes down, for what is rare beside a real gateway."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from playwright.sync_api import Page, Route, expect

Event = tuple[str, dict[str, Any]]

NOW = 1_732_380_000_000
HELLO: Event = ("hello", {
    "v": 1, "epoch": "k1", "oldest": "k1-1", "newest": "k1-9", "heartbeat_s": 15, "now": NOW,
    "gateway": "Test gateway",
})  # fmt: skip


def reading(
    value: Any, *, dev: str = "d-1", metric: str = "temperature", unit: str = "Cel", t: int = NOW
) -> Event:
    row = {"v": 1, "dev": dev, "m": metric, "u": unit, "t": t, "value": value, "clock": "device"}
    return "reading", row


def summary(*, low: float, high: float, t0: int = NOW - 10_000, **more: Any) -> Event:
    """Of a window of 10 s; `more` replaces keys of the payload."""
    mean = (low + high) / 2
    return "summary", {
        "v": 1, "dev": "d-1", "m": "temperature", "u": "Cel", "w": "10s", "t0": t0,
        "t1": t0 + 10_000, "n": 10, "mean": mean, "min": low, "max": high, "std": 0.1,
        "p50": mean, "p95": high, "first": low, "last": high, **more,
    }  # fmt: skip


def status(dev: str, state: str, **more: Any) -> Event:
    return "status", {"v": 1, "dev": dev, "state": state, "t": NOW - 60_000, **more}


def device(name: str, **more: Any) -> dict[str, Any]:
    """A row of /api/devices."""
    return {
        "id": name, "state": "online", "since": NOW - 60_000, "until": None, "last_seen": NOW,
        "epoch": "00112233445566aa", "committed": 17, "window": 32, "lost_readings": 0,
        "losses": [], "rejected": 0, "clock_error_ms": 1.5, "schemas": [], "config_version": None,
        **more,
    }  # fmt: skip


def stream(*events: Event, retry: int = 600_000) -> str:
    blocks = [
        f"event: {name}\nid: k1-{number}\ndata: {json.dumps(payload)}\n\n"
        for number, (name, payload) in enumerate(events, 1)
    ]
    return f": ok\nretry: {retry}\n\n" + "".join(blocks)


WATCH = """
const Plain = EventSource;
window.EventSource = class extends Plain {
    constructor(url) {
        super(url);
        const { dataset } = document.documentElement;
        super.addEventListener("snapshot", (event) => { dataset.cursor = event.lastEventId; });
    }
};
"""


def watch(page: Page) -> None:
    """Before the page is opened: let `joined` know of its cursor."""
    page.add_init_script(WATCH)


def joined(page: Page) -> None:
    """Wait until the page has a cursor: it has one only with the end of its first snapshot."""
    expect(page.locator("html")).to_have_attribute("data-cursor", re.compile("-"))


def answer(route: Route, payload: dict[str, Any]) -> None:
    route.fulfill(json={"v": 1, **payload})


def script(page: Page, *events: Event, devices: Sequence[dict[str, Any]] = ()) -> None:
    """Serve these events, then end; of the API, only the devices are known."""
    body = stream(HELLO, *events)
    page.route("**/events?*", lambda r: r.fulfill(body=body, content_type="text/event-stream"))
    quiet(page, devices)


def quiet(page: Page, devices: Sequence[dict[str, Any]] = ()) -> None:
    page.route("**/api/latest", lambda r: answer(r, {"now": NOW, "series": []}))
    page.route("**/api/devices", lambda r: answer(r, {"devices": list(devices)}))
    page.route("**/api/summaries?*", lambda r: answer(r, {"summaries": [], "next": None}))


def serve_history(page: Page, points: Callable[[dict[str, str]], dict[str, Any]]) -> list[Any]:
    """Answer /api/history with what `points(query)` gives; the queries asked so far."""
    asked: list[dict[str, str]] = []

    def serve(route: Route) -> None:
        pairs = route.request.url.partition("?")[2].split("&")
        asked.append(dict(pair.split("=", 1) for pair in pairs))
        row = {"dev": "d-1", "m": "temperature", "u": "Cel", "step": None, "gaps": []}
        answer(route, row | points(asked[-1]))

    page.route("**/api/history?*", serve)
    return asked
