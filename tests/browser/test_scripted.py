"""The live page beside a stream that is written down here: what is rare beside a real gateway."""

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.scripted import (
    HELLO,
    NOW,
    answer,
    joined,
    quiet,
    reading,
    script,
    stream,
    summary,
    watch,
)


def test_values_are_shown_in_units_of_people(page: Page, plain_gateway: Any) -> None:
    script(
        page,
        reading(21.43),
        reading(101_325, metric="pressure", unit="Pa"),
        reading(64.5, metric="humidity", unit="%RH"),
        reading(True, metric="door", unit="/"),
        reading("night", metric="tariff", unit=""),
    )
    page.goto(plain_gateway.url)
    shown = {
        metric: page.locator(f'series-tile[data-metric="{metric}"] .reading')
        for metric in ("temperature", "pressure", "humidity", "door", "tariff")
    }
    expect(shown["temperature"]).to_contain_text(re.compile(r"21\.43\s+°C"))
    expect(shown["pressure"]).to_contain_text(re.compile(r"1\s?013\s+hPa"))
    expect(shown["humidity"]).to_contain_text(re.compile(r"64\.5\s+% RH"))
    expect(shown["door"]).to_contain_text("open")
    expect(shown["tariff"]).to_contain_text("night")


def test_the_highest_revision_of_a_window_is_kept(page: Page, plain_gateway: Any) -> None:
    script(
        page,
        summary(low=1, high=2),
        summary(low=3, high=4, rev=3),
        summary(low=5, high=6, rev=2),
    )
    page.goto(plain_gateway.url)
    expect(page.locator("series-tile")).to_have_count(1)
    expect(page.locator("series-tile .extent")).to_have_text("3 – 4")


def test_an_older_reading_never_replaces_a_newer_one(page: Page, plain_gateway: Any) -> None:
    script(page, reading(5, t=NOW), reading(4, t=NOW - 1000), reading(1, metric="end"))
    page.goto(plain_gateway.url)
    expect(page.locator('[data-metric="end"] .value')).to_have_text("1")
    expect(page.locator('[data-metric="temperature"] .value')).to_have_text("5")


def test_names_and_texts_are_never_markup(page: Page, plain_gateway: Any) -> None:
    script(page, reading("<img src=x>", metric="note", unit="<b>"))
    page.goto(plain_gateway.url)
    expect(page.locator("series-tile .value")).to_have_text("<img src=x>")
    expect(page.locator("series-tile img")).to_have_count(0)


def test_a_value_turns_grey_after_three_expected_intervals(page: Page, plain_gateway: Any) -> None:
    page.clock.install()
    script(page, summary(low=1, high=2), reading(2))
    page.goto(plain_gateway.url)
    tile = page.locator("series-tile")
    expect(tile.locator(".value")).to_have_text("2")
    expect(tile.locator(".old")).to_be_hidden()
    page.clock.fast_forward(5000)
    expect(tile.locator(".old")).to_be_visible()
    expect(tile.locator(".age")).to_have_text(re.compile(r"\d s"))


@pytest.mark.parametrize("width", [320, 360])
def test_a_stale_value_can_be_read_on_a_phone(page: Page, plain_gateway: Any, width: int) -> None:
    """Its number is not cut for the sign that says how old it is."""
    page.set_viewport_size({"width": width, "height": 800})
    pair = [reading(17.07, unit="%RH", metric=name, t=NOW - 300_000) for name in ("a", "b")]
    script(
        page, *pair, *[summary(low=17, high=17.2, m=name, t0=NOW - 310_000) for name in ("a", "b")]
    )
    page.goto(plain_gateway.url)
    tile = page.locator("series-tile").first
    expect(tile).to_have_class(re.compile("stale"))
    value = tile.locator(".value")
    expect(value).to_have_text(re.compile("17.07"))
    assert value.evaluate("element => element.scrollWidth <= element.clientWidth")


def test_the_page_says_how_to_start_a_first_device(page: Page, plain_gateway: Any) -> None:
    script(page)
    page.goto(plain_gateway.url)
    link = plain_gateway.url.replace("http", "ws", 1).rstrip("/") + "/link"
    expect(page.locator("#empty")).to_be_visible()
    expect(page.locator("#start-command")).to_have_text(f"simulate host --url {link}")
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_the_filter_leaves_matching_series(page: Page, plain_gateway: Any) -> None:
    script(page, *[reading(n, metric=f"m{n}") for n in range(20)])
    page.goto(plain_gateway.url)
    page.get_by_role("searchbox").fill("d-1 M7")
    expect(page.locator("series-tile:visible")).to_have_count(1)
    expect(page.locator("#matches")).to_have_text("1 of 20 series")


def test_values_are_polled_when_no_stream_gets_through(page: Page, plain_gateway: Any) -> None:
    page.clock.install()
    quiet(page)
    row = {"dev": "d-1", "m": "power", "u": "W", "t": NOW, "value": 7, "clock": "device"}
    page.route("**/events?*", lambda route: None)
    page.route(
        "**/api/latest", lambda r: answer(r, {"now": NOW, "series": [{**row, "summary": None}]})
    )
    page.goto(plain_gateway.url)
    expect(page.locator("#connection")).to_have_text("connecting")
    page.clock.fast_forward(11_000)
    expect(page.locator("series-tile .value")).to_have_text("7")
    expect(page.locator("#connection")).to_have_text("polling")
    expect(page.locator("#banner")).to_contain_text("every 5 seconds")


def test_a_closed_stream_is_made_anew_with_the_cursor(page: Page, plain_gateway: Any) -> None:
    """An ended stream is resumed by the browser; after an HTTP error the page has to."""
    asked: list[str] = []

    def serve(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) == 2:
            route.fulfill(status=502, body="bad gateway")
        else:
            body = stream(HELLO, reading(len(asked)), retry=10 if len(asked) == 1 else 600_000)
            route.fulfill(body=body, content_type="text/event-stream")

    quiet(page)
    page.route("**/events?*", serve)
    page.goto(plain_gateway.url)
    expect(page.locator("series-tile .value")).to_have_text("3")
    assert len(asked) == 3
    assert parse_qs(urlsplit(asked[2]).query)["last_event_id"] == ["k1-2"]


def test_a_silent_stream_is_given_up_after_three_heartbeats(page: Page, plain_gateway: Any) -> None:
    watch(page)
    page.clock.install()
    page.goto(plain_gateway.url)
    expect(page.locator("#connection")).to_have_text("live")
    joined(page)
    page.route("**/events?*", lambda route: None)
    with page.expect_request("**/events?*last_event_id=*"):
        page.clock.fast_forward(120_000)
    expect(page.locator("#connection")).to_have_text("connection lost")


def test_a_hidden_page_lets_go_of_its_stream(page: Page, plain_gateway: Any) -> None:
    watch(page)
    page.clock.install()
    page.goto(plain_gateway.url)
    expect(page.locator("#connection")).to_have_text("live")
    joined(page)
    look = """hidden => {
        Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(look, True)
    page.clock.fast_forward(6000)
    expect(page.locator("#connection")).to_have_text("resting")
    with page.expect_request("**/events?*last_event_id=*"):
        page.evaluate(look, False)
    expect(page.locator("#connection")).to_have_text("live")
    expect(page.locator("#banner .notice")).to_have_count(0)


@pytest.mark.parametrize(
    ("state", "left", "shown", "warning"),
    [
        ("plenty", None, "does not grow", ""),
        ("short", 7200, "full in 2 h", "little room left"),
        ("full", 259_200, "full in 3 d", "disk full: devices wait"),
    ],
)
def test_the_footer_tells_of_the_disk(
    page: Page, plain_gateway: Any, state: str, left: int | None, shown: str, warning: str
) -> None:
    script(page)
    store = {"bytes": 1_500_000, "free": 9 * 10**9, "time_to_full_s": left, "state": state}
    told = {"devices": [], "store": store | {"written_per_day": 400_000_000}}
    page.route("**/api/devices", lambda r: answer(r, told))
    page.goto(plain_gateway.url)
    footer = page.locator("#store")
    expect(footer).to_contain_text(
        re.compile(r"store 1\.5 MB\s+free 9\.0 GB\s+written a day 400\.0 MB")
    )
    expect(footer.locator("#store-left")).to_have_text(shown)
    expect(footer.locator("#store-state")).to_have_text(warning)
