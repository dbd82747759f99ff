"""The page over time: away, offline, in many tabs, on a slow network, with very many series."""

import json
import re
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.scripted import HELLO, NOW, joined, quiet, stream, watch
from tests.processes import PATIENCE_S, GatewayProcess, fleet

STATIC = Path(__file__).parents[2] / "gateway" / "static"
MOST = 100_000
"""Bytes until the first useful paint."""
TABS = 7
STREAMS = 4
SERIES = 1000
FRAMES = """seconds => new Promise((done) => {
    const times = [];
    const begin = performance.now();
    const note = (now) => {
        times.push(now);
        if (now - begin < seconds * 1000) requestAnimationFrame(note);
        else done(times.slice(1).map((t, i) => t - times[i]));
    };
    requestAnimationFrame(note);
})"""


@pytest.fixture
def own_gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway for one test only, with a device."""
    gateway = GatewayProcess(tmp_path)
    gateway.start()
    device = fleet(gateway, "--devices", "1", "--seed", "1")
    yield gateway
    device.terminate()
    device.wait(60)
    gateway.stop()


def open_page(page: Page, gateway: Any) -> None:
    page.goto(gateway.url)
    expect(page.locator("#connection")).to_have_text("live")
    expect(page.locator("series-tile .value").first).to_have_text(re.compile(r"\d"))


def cursors(page: Page) -> list[str]:
    """The cursors of requests for events from now on."""
    found: list[str] = []
    page.on(
        "request",
        lambda request: (
            found.append(request.url.partition("last_event_id=")[2])
            if "/events?" in request.url
            else None
        ),
    )
    return found


def test_after_a_long_absence_a_gap_is_told_and_the_values_are_right(
    page: Page, own_gateway: GatewayProcess
) -> None:
    """The longest absence: not even the gateway's log is the one that the page knew."""
    open_page(page, own_gateway)
    own_gateway.stop()
    expect(page.locator("#connection")).to_have_text("connection lost")
    shutil.rmtree(own_gateway.folder / "data")
    own_gateway.start()
    gap = page.locator('#banner [data-kind="gap"]')
    expect(gap).to_contain_text("missed", timeout=60_000)
    expect(page.locator("#connection")).to_have_text("live")
    page.wait_for_function(
        """async () => {
            const { series } = await (await fetch("api/latest")).json();
            const shown = (row) => document.querySelector(
                `series-tile[data-device="${row.dev}"][data-metric="${row.m}"] .reading`)?.title;
            return series.length > 0 && series.every((row) =>
                typeof row.value !== "number" || shown(row) === `${row.m} ${row.value} ${row.u}`);
        }""",
        timeout=60_000,
    )


def test_offline_is_told_soon_and_nothing_is_missed(page: Page, live_gateway: Any) -> None:
    watch(page)
    open_page(page, live_gateway)
    joined(page)
    page.context.set_offline(True)
    expect(page.locator("#connection")).to_have_text(re.compile("lost"))
    expect(page.locator('#banner [data-kind="connection"]')).to_be_visible()
    asked = cursors(page)
    page.context.set_offline(False)
    expect(page.locator("#connection")).to_have_text("live", timeout=60_000)
    assert re.fullmatch(r"[a-z0-9]+-\d+", asked[-1])
    expect(page.locator("#banner .notice")).to_have_count(0)


def test_seven_tabs_all_show_values(browser: Browser, live_gateway: Any) -> None:
    """A browser opens six connections to a host; if streams took them, the seventh would hang."""
    context = browser.new_context(viewport={"width": 600, "height": 400})
    tabs = [context.new_page() for _ in range(TABS)]
    for tab in tabs:
        tab.goto(live_gateway.url, wait_until="commit")
    for tab in tabs:
        expect(tab.locator("series-tile .value").first).to_have_text(re.compile(r"\d"))
        expect(tab.locator("#connection")).to_have_text(re.compile("live|polling"))
    expect(tabs[-1].locator("#connection")).to_have_text("live")
    states = settled(tabs)
    poor = tabs[states.index("polling")]
    expect(poor.locator("#banner")).to_contain_text("Other tabs of this page are live")
    for tab, state in zip(tabs, states, strict=True):
        if state == "live":
            tab.close()
    expect(poor.locator("#connection")).to_have_text("live")
    context.close()


def settled(tabs: list[Page]) -> list[str]:
    """What the tabs say of their connections, once just so many are live as may be."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        states = [tab.locator("#connection").inner_text() for tab in tabs]
        if states.count("live") == STREAMS and states.count("polling") == TABS - STREAMS:
            return states
        tabs[-1].wait_for_timeout(50)
    raise AssertionError(states)


def throttled(context: BrowserContext, page: Page) -> dict[str, int]:
    """A slow line; counts the bytes that it carried."""
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    session.send(
        "Network.emulateNetworkConditions",
        {
            "offline": False,
            "latency": 150,
            "downloadThroughput": 60_000,
            "uploadThroughput": 20_000,
        },
    )
    carried = {"bytes": 0}

    def count(event: dict[str, Any]) -> None:
        carried["bytes"] += max(0, int(event["encodedDataLength"]))

    session.on("Network.responseReceived", lambda event: count(event["response"]))
    session.on("Network.dataReceived", count)
    return carried


def test_the_first_values_need_little_of_a_slow_network(page: Page, live_gateway: Any) -> None:
    carried = throttled(page.context, page)
    page.goto(live_gateway.url, wait_until="commit")
    expect(page.locator("series-tile .value").first).to_have_text(re.compile(r"\d"))
    assert 10_000 < carried["bytes"] < MOST
    print("bytes until the first values:", carried["bytes"])


def test_all_modules_are_preloaded() -> None:
    """Otherwise a slow network asks once more for each level of imports."""

    def reach(name: str, found: set[str]) -> set[str]:
        if name not in found:
            found.add(name)
            text = (STATIC / name).read_text()
            for other in re.findall(r'from "\./([\w-]+\.js)"', text):
                reach(other, found)
        return found

    page = (STATIC / "index.html").read_text()
    preloaded = re.findall(r'rel="modulepreload" href="([\w-]+\.js)"', page)
    assert sorted(preloaded) == sorted(reach("app.js", set()) - {"app.js"})


def thousand(page: Page, each: int) -> None:
    """A stream with a thousand series, `each` of a device, each of them told anew four times."""

    def rows(t0: int) -> list[dict[str, Any]]:
        return [
            {
                "v": 1, "dev": f"device-{i // each}", "m": f"metric-{i % each}", "u": "Cel",
                "w": "10s",
                "t0": t0, "t1": t0 + 10_000, "n": 10, "mean": i + 0.5, "min": i, "max": i + 1,
                "std": 0.1, "p50": i, "p95": i, "first": i, "last": i,
            }
            for i in range(SERIES)
        ]  # fmt: skip

    empty = {"v": 1, "status": [], "alerts": []}
    events: list[Any] = [HELLO]
    first = rows(NOW - 50_000)
    for at in range(0, SERIES, 200):
        chunk = first[at : at + 200]
        events.append(("snapshot", {**empty, "summaries": chunk, "more": at + 200 < SERIES}))
    for turn in range(4):
        events += [("summary", row) for row in rows(NOW - 40_000 + 10_000 * turn)]
    body = stream(*events)
    page.route("**/events?*", lambda r: r.fulfill(body=body, content_type="text/event-stream"))
    quiet(page)


@pytest.mark.parametrize("each", [20, SERIES], ids=["50 devices", "one device"])
def test_a_thousand_series_are_drawn_and_scrolled(
    page: Page, plain_gateway: Any, each: int
) -> None:
    thousand(page, each)
    page.goto(plain_gateway.url)
    expect(page.locator("#total-series")).to_have_text(re.compile(r"1\D?000"))
    expect(page.locator("series-tile").last).to_be_attached()
    page.evaluate("() => scrollTo(0, 0)")
    page.evaluate("() => setInterval(() => scrollBy(0, 90), 16)")
    frames = sorted(page.evaluate(FRAMES, 1.5))
    assert frames
    drawn = page.locator("series-tile:has(.value)").count()
    assert 0 < drawn < SERIES, "only what is in view is drawn"
    page.locator("series-tile").last.scroll_into_view_if_needed()
    expect(page.locator("series-tile .value").last).to_have_text(re.compile(r"\d"))
    middle, late = frames[len(frames) // 2], frames[int(len(frames) * 0.99)]
    print(json.dumps({"frames": len(frames), "median_ms": middle, "p99_ms": late}))


def test_files_of_the_page_are_compressed(plain_gateway: Any) -> None:
    request = urllib.request.Request(plain_gateway.url, headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
