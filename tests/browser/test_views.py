"""The views of a device and of a series, beside a real gateway with devices that push."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, Request, expect

from tests.browser.scripted import NOW, reading, script, serve_history

SERIES = "#/series/greenhouse-1/temperature"


def open_series(page: Page, gateway: Any, query: str = "?span=5m") -> Locator:
    """The chart's area, with readings on it."""
    page.goto(f"{gateway.url}/{SERIES}{query}")
    expect(page.locator('[data-part="range"]')).to_have_text(re.compile("readings"))
    area = page.locator(".u-over")
    expect(area).to_be_visible()
    return area


def asks_for(ms: tuple[float, float]) -> Callable[[Request], bool]:
    """Whether a request is one for readings over a stretch of so many milliseconds."""

    def asks(request: Request) -> bool:
        parts = urlsplit(request.url)
        query = parse_qs(parts.query)
        if parts.path != "/api/history":
            return False
        return ms[0] < int(query["to"][0]) - int(query["from"][0]) < ms[1]

    return asks


def length(page: Page) -> float:
    """Milliseconds that the address asks for; 0 while the chart follows the present."""
    query = parse_qs(urlsplit(page.evaluate("location.hash.slice(1)")).query)
    return float(query["to"][0]) - float(query["from"][0]) if "from" in query else 0


def test_a_tile_leads_to_its_series_and_back(page: Page, live_gateway: Any) -> None:
    page.goto(live_gateway.url)
    page.get_by_role("link", name="temperature").first.click()
    heading = page.get_by_role("heading", name="temperature", level=2)
    expect(heading).to_be_focused()
    newest = page.locator("series-view tbody tr th").first
    expect(newest).to_have_text(re.compile(r"\d\d:\d\d:\d\d"))
    before = newest.inner_text()
    expect(newest).not_to_have_text(before)
    page.get_by_role("link", name="Overview", exact=True).last.click()
    expect(page.locator("series-view")).to_have_count(0)
    expect(page.locator("#board series-tile").first).to_be_visible()


def test_dragging_zooms_in_and_a_double_click_out(page: Page, live_gateway: Any) -> None:
    area = open_series(page, live_gateway, "?span=1h")
    box = area.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.6, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, middle, steps=4)
    with page.expect_request(asks_for((900_000, 1_260_000))):
        page.mouse.up()
    zoomed = length(page)
    assert 0.25 < zoomed / 3_600_000 < 0.35
    expect(page.locator("series-view")).not_to_have_attribute("aria-busy", "true")
    before = page.evaluate("location.hash")
    area.dblclick()
    page.wait_for_function("before => location.hash !== before", arg=before)
    assert length(page) > 1.5 * zoomed


def test_fingers_pinch_and_move_the_chart(browser: Browser, live_gateway: Any) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True
    )
    page = context.new_page()
    box = open_series(page, live_gateway, "?span=1h").bounding_box()
    assert box is not None
    hand = context.new_cdp_session(page)
    y = box["y"] + box["height"] / 2

    def touch(kind: str, *shares: float) -> None:
        points = [
            {"x": box["x"] + box["width"] * share, "y": y, "id": i}
            for i, share in enumerate(shares)
        ]
        hand.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 0.4, 0.6)
    touch("touchMove", 0.35, 0.65)
    touch("touchMove", 0.3, 0.7)
    touch("touchEnd")
    page.wait_for_function("() => location.hash.includes('from=')")
    pinched = length(page)
    assert 0.4 < pinched / 3_600_000 < 0.65
    before = page.evaluate("location.hash")
    touch("touchStart", 0.3)
    touch("touchMove", 0.5)
    touch("touchMove", 0.6)
    touch("touchEnd")
    page.wait_for_function("before => location.hash !== before", arg=before)
    assert abs(length(page) - pinched) < 5
    context.close()


def test_the_chart_is_used_by_keyboard_alone(page: Page, live_gateway: Any) -> None:
    open_series(page, live_gateway)
    chart = page.locator('[data-part="chart"]')
    expect(chart).to_have_attribute("aria-label", re.compile("Chart of temperature, 5 min: .*°C"))
    chart.focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator('[data-part="readout"]')).to_have_text(re.compile(r"\d\d:\d\d.*°C"))
    page.keyboard.press("+")
    page.wait_for_function("() => location.hash.includes('from=')")
    assert abs(length(page) - 150_000) < 5
    page.keyboard.press("End")
    page.wait_for_function("() => !location.hash.includes('from=')")
    expect(page.get_by_role("button", name="Now")).to_have_attribute("aria-pressed", "true")


@pytest.mark.parametrize(("per_step", "steps"), [(3, 1), (30_000, 0)])
def test_what_is_few_is_drawn_as_it_is_and_what_is_many_as_least_and_greatest(
    page: Page, plain_gateway: Any, per_step: int, steps: int
) -> None:
    """per_step: readings; steps: requests for the readings themselves that follow the first."""
    script(page, reading(1))

    def points(asked: dict[str, str]) -> dict[str, Any]:
        if "step" not in asked:
            return {"points": [[NOW - 1000, 5]]}
        return {"points": [[NOW - 60_000, 1, 2, 3, per_step]], "step": int(asked["step"])}

    asked = serve_history(page, points)
    page.goto(f"{plain_gateway.url}/#/series/d-1/temperature?from={NOW - 3_600_000}&to={NOW}")
    how = "every reading" if steps else "least, mean and greatest per 5 s"
    expect(page.locator('[data-part="how"]')).to_have_text(how)
    head = "TimeValue" if steps else "FromMeanLeastGreatestReadings"
    expect(page.locator("series-view thead")).to_have_text(head)
    assert ["step" in query for query in asked] == [True, False][: 1 + steps]


def test_a_command_is_sent_and_what_became_of_it_shown(page: Page, live_gateway: Any) -> None:
    page.goto(f"{live_gateway.url}/#/device/greenhouse-1")
    expect(page.locator('[data-fact="committed message"] dd')).to_have_text(re.compile(r"\d"))
    expect(page.locator("device-view series-tile .value").first).to_have_text(re.compile(r"\d"))
    page.get_by_label("Operation").fill("relay")
    arguments = page.get_by_label("Arguments (JSON)")
    arguments.fill("{on}")
    page.get_by_role("button", name="Send").click()
    problem = page.locator("command-box").get_by_role("alert")
    expect(problem).to_contain_text("The arguments are not JSON")
    arguments.fill('{"on": true}')
    page.keyboard.press("Enter")
    expect(problem).to_be_empty()
    expect(page.get_by_role("log")).to_contain_text("done")
    expect(page.get_by_role("log")).to_contain_text("on true")
