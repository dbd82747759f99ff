"""The page for everyone: what axe-core finds, on a phone and on a desk, light and dark."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.scripted import (
    HELLO,
    NOW,
    answer,
    device,
    quiet,
    reading,
    serve_history,
    stream,
    summary,
)

AXE = Path(__file__).parent / "node" / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
FOUND = """async (tags) => {
    const { violations } = await axe.run(document, { runOnly: tags });
    return violations.map(({ id, nodes }) => [id, nodes[0].html]);
}"""
HOT = {
    "v": 1, "dev": "d-2", "m": "temperature", "source": "rule", "name": "too-hot", "state": "open",
    "n": 12, "since": NOW - 5000, "detail": {"value": 36.2, "above": 35}, "t": NOW,
}  # fmt: skip
LOSS = {"from": 4, "to": 9, "reason": 1, "readings": 300, "t": NOW - 60_000, "epoch": "0011"}
VIEWS = {
    "#/": "#attention .trouble-card",
    "#/device/d-2": "device-view h2",
    "#/series/d-2/temperature": "series-view canvas",
}
SPACING = "* { line-height: 1.5 !important; letter-spacing: .12em !important; word-spacing: .16em }"
"""WCAG 1.4.12 wants nothing to be lost by that."""
CLIPPED = """() => [...document.querySelectorAll("series-tile")]
    .filter((tile) => tile.scrollHeight > tile.clientHeight + 1).length"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_nothing_keeps_anybody_out(
    browser: Browser, plain_gateway: Any, width: int, theme: Any
) -> None:
    assert AXE.exists(), "make tools installs it"
    size = {"width": width, "height": 800}
    context = browser.new_context(viewport=size, color_scheme=theme, bypass_csp=True)
    page = context.new_page()
    devices = [device("d-1"), device("d-2", lost_readings=300, losses=[LOSS])]
    told = [
        reading(20 + i, dev=f"d-{i}", metric=m) for i in (1, 2) for m in ("flow", "temperature")
    ]
    events = [*told, summary(low=20, high=22, dev="d-2"), ("alert", HOT)]
    body = stream(HELLO, *events)
    page.route("**/events?*", lambda r: r.fulfill(body=body, content_type="text/event-stream"))
    quiet(page, devices)
    page.route("**/api/session", lambda r: answer(r, {"user": "ada", "expires": NOW}))
    serve_history(page, lambda _: {"points": [[NOW - 9000, 20.5], [NOW - 1000, 22.5]]})
    for address, mark in VIEWS.items():
        page.goto("about:blank")
        page.goto(f"{plain_gateway.url}/{address}")
        expect(page.locator(mark).first).to_be_visible()
        expect(page.get_by_role("button", name="Sign out ada")).to_be_visible()
        page.evaluate(AXE.read_text())
        assert page.evaluate(FOUND, RULES) == [], address
        page.add_style_tag(content=SPACING)
        assert page.evaluate("document.documentElement.scrollWidth") == width, address
        assert page.evaluate(CLIPPED) == 0, address
    context.close()
