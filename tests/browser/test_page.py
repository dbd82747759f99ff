"""The live page in a real browser, beside a real gateway to which a device pushes readings.

`live_gateway` has `url`, `stop()` (shuts the gateway down) and `start()` (the same gateway again,
on the same port and data).
"""

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from tests.browser.scripted import joined, watch

LIVE = re.compile("live")
PHONES = [(360, 740), (390, 844)]


def open_page(page: Page, gateway: Any) -> None:
    page.goto(gateway.url)
    expect(page.locator("#connection")).to_have_text(LIVE)
    expect(page.locator("series-tile .value").first).not_to_have_text("–")


def values(page: Page) -> list[str]:
    return page.locator("series-tile .value").all_inner_texts()


def cursor(request: Request) -> str | None:
    """The cursor of a request for events, from its header or else its query."""
    asked = parse_qs(urlsplit(request.url).query).get("last_event_id", [None])[0]
    return request.all_headers().get("last-event-id") or asked


def requests_for_events(page: Page) -> list[Request]:
    found: list[Request] = []
    page.on("request", lambda r: found.append(r) if urlsplit(r.url).path == "/events" else None)
    return found


def test_tiles_appear_and_their_values_change(page: Page, live_gateway: Any) -> None:
    open_page(page, live_gateway)
    before = values(page)
    page.wait_for_function(
        """before => [...document.querySelectorAll("series-tile .value")]
            .some((value, i) => value.innerText !== before[i])""",
        arg=before,
    )


def test_totals_tell_how_many_series_there_are(page: Page, live_gateway: Any) -> None:
    open_page(page, live_gateway)
    page.wait_for_function(
        """() => Number(document.getElementById("total-series").innerText)
            === document.querySelectorAll("series-tile").length"""
    )


def test_only_one_stream_is_open(page: Page, live_gateway: Any) -> None:
    found = requests_for_events(page)
    open_page(page, live_gateway)
    assert len(found) == 1
    kinds = parse_qs(urlsplit(found[0].url).query)["kind"]
    assert set(kinds) == {"summary", "status", "alert", "reading"}


def test_nothing_is_wrong_in_the_console(page: Page, live_gateway: Any) -> None:
    wrong: list[str] = []
    page.on("console", lambda m: wrong.append(m.text) if m.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    open_page(page, live_gateway)
    expect(page.locator("#devices tbody tr").first).to_be_visible()
    assert wrong == []


def test_no_request_leaves_the_gateway(page: Page, live_gateway: Any) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    open_page(page, live_gateway)
    expect(page.locator("#devices tbody tr").first).to_be_visible()
    home = urlsplit(live_gateway.url).netloc
    assert {urlsplit(url).netloc for url in asked} == {home}


def test_devices_are_listed_with_their_presence(page: Page, live_gateway: Any) -> None:
    open_page(page, live_gateway)
    row = page.locator("#devices tbody tr", has=page.locator('[data-state="online"]')).first
    expect(row.locator(".presence")).to_have_text("online")
    expect(row.locator(".presence svg.icon")).to_be_visible()
    expect(row.locator(".seen")).to_have_text(re.compile("ago|just now"))
    expect(row.locator(".committed")).to_have_text(re.compile(r"\d"))
    device = row.get_attribute("data-device")
    heading = page.get_by_role("region", name=device, exact=True).get_by_role("heading", level=2)
    expect(heading).to_have_text(device or "")


def test_a_stopped_gateway_is_told_and_the_cursor_sent_when_it_is_back(
    page: Page, live_gateway: Any
) -> None:
    watch(page)
    open_page(page, live_gateway)
    joined(page)
    found = requests_for_events(page)
    notice = page.locator('#banner [data-kind="connection"]')
    expect(notice).to_have_count(0)

    live_gateway.stop()
    expect(notice).to_be_visible()
    expect(notice).to_have_text(re.compile(r"since \d\d:\d\d:\d\d"))
    expect(page.locator("#connection")).to_have_text("connection lost")

    live_gateway.start()
    expect(page.locator("#connection")).to_have_text(LIVE, timeout=60_000)
    expect(notice).to_have_count(0)
    assert re.fullmatch(r"[a-z0-9]+-\d+", cursor(found[-1]) or "")
    expect(page.locator('#banner [data-kind="gap"]')).to_have_count(0)


def test_a_gap_is_told_until_it_is_closed(page: Page, live_gateway: Any) -> None:
    page.route("**/events?*", lambda route: route.continue_(url=f"{route.request.url}&{OLD}"))
    open_page(page, live_gateway)
    notice = page.locator('#banner [data-kind="gap"]')
    expect(notice).to_have_text(re.compile("missed"))
    notice.get_by_role("button").click()
    expect(notice).to_have_count(0)


OLD = "last_event_id=another-1"


def test_pausing_holds_the_picture_still(page: Page, live_gateway: Any) -> None:
    open_page(page, live_gateway)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#connection")).to_have_text(re.compile("paused at"))
    page.evaluate("() => new Promise(requestAnimationFrame)")
    before = values(page)
    page.evaluate(
        """() => new Promise((done) => {
            let left = 8;
            const source = new EventSource("events?kind=reading");
            source.addEventListener("reading", () => --left || (source.close(), done()));
        })"""
    )
    assert values(page) == before
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#connection")).to_have_text("live")


def test_colours_follow_the_system_unless_chosen(page: Page, live_gateway: Any) -> None:
    def ground() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    page.emulate_media(color_scheme="light")
    open_page(page, live_gateway)
    light = ground()
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("light => getComputedStyle(document.body).backgroundColor !== light",
                           arg=light)  # fmt: skip
    page.get_by_role("radio", name="Light").check()
    assert ground() == light
    page.reload()
    expect(page.get_by_role("radio", name="Light")).to_be_checked()
    assert ground() == light


@pytest.mark.parametrize(("width", "height"), PHONES)
def test_a_phone_never_scrolls_sideways(
    browser: Browser, live_gateway: Any, width: int, height: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": height}, is_mobile=True)
    page = context.new_page()
    open_page(page, live_gateway)
    expect(page.locator("#devices tbody tr").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    context.close()


def test_every_control_has_a_name_and_a_visible_focus(page: Page, live_gateway: Any) -> None:
    open_page(page, live_gateway)
    page.keyboard.press("Tab")
    pause = page.get_by_role("button", name="Pause")
    for _ in range(5):
        if pause.evaluate("element => element === document.activeElement"):
            break
        page.keyboard.press("Tab")
    expect(pause).to_be_focused()
    assert pause.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
    unnamed = page.get_by_role("button", name=re.compile("^$"))
    expect(unnamed).to_have_count(0)
