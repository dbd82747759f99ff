"""What is wrong comes first, is marked where it is, and can be followed to its cause."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.scripted import (
    HELLO,
    NOW,
    answer,
    device,
    quiet,
    reading,
    script,
    serve_history,
    status,
    stream,
    summary,
)

HOT = {
    "v": 1, "dev": "d-2", "m": "temperature", "source": "rule", "name": "too-hot", "state": "open",
    "n": 12, "since": NOW - 5000, "detail": {"value": 36.2, "above": 35}, "text": "open the roof",
    "t": NOW,
}  # fmt: skip
CONTRAST = """() => {
    const parse = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = (rgb) => {
        const [r, g, b] = rgb.map((c) => c / 255)
            .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const [r, g, b, a = 1] = parse(getComputedStyle(at).backgroundColor);
            if (a === 1) return [r, g, b];
        }
        return [255, 255, 255];
    };
    const found = [];
    for (const element of document.querySelectorAll("body *")) {
        const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        const unseen = !element.checkVisibility() || element.closest(".unseen, thead, .skip");
        if (!own || unseen) continue;
        const style = getComputedStyle(element);
        const pair = [light(parse(style.color).slice(0, 3)), light(ground(element))];
        const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
        if (ratio < 4.5) found.push([element.textContent.trim().slice(0, 30), ratio.toFixed(2)]);
    }
    return found;
}"""
TARGETS = """() => [...document.querySelectorAll("button, summary, input, label:has(input)")]
    .filter((element) => element.checkVisibility() && !element.matches("label input"))
    .map((element) => [element.textContent.trim() || element.id, element.getBoundingClientRect()])
    .filter(([, { width, height }]) => width < 24 || height < 24).map(([name]) => name)"""


def sick(page: Page) -> None:
    """Two healthy devices, one that was lost, one with an alert, one with a silent series."""
    names = ["d-1", "d-2", "d-3", "d-4", "d-5"]
    rows = [device(name, state="lost" if name == "d-3" else "online") for name in names]
    quiet_since = NOW - 300_000
    script(
        page,
        *[reading(20 + i, dev=name) for i, name in enumerate(names) if name != "d-4"],
        reading(3, dev="d-4", metric="flow"),
        reading(4, dev="d-4", t=quiet_since),
        summary(low=3, high=4, t0=quiet_since - 10_000, dev="d-4"),
        *[status(name, "lost" if name == "d-3" else "online") for name in names],
        ("alert", HOT),
        devices=rows,
    )  # fmt: skip


def test_what_is_wrong_stands_first_and_is_marked(page: Page, plain_gateway: Any) -> None:
    sick(page)
    page.goto(plain_gateway.url)
    attention = page.locator("#attention")
    expect(attention.get_by_role("status")).to_have_text("Needs attention: 3 faults")
    cards = attention.locator(".trouble-card")
    expect(cards).to_have_text(
        [
            re.compile(r"d-2.*temperature: too-hot \(open the roof; value 36.2, above 35\)"),
            re.compile("d-3.*lost for 1 min"),
            re.compile("d-4.*temperature silent for 5 min"),
        ]
    )
    expect(page.locator("#board .group h2")).to_have_text(["d-2", "d-3", "d-4", "d-1", "d-5"])
    tile = page.locator('series-tile[data-device="d-2"]')
    expect(tile.locator(".trouble")).to_have_text("open the roof")
    expect(tile.locator(".trouble svg")).to_be_visible()  # not by colour alone
    cards.get_by_role("link", name="temperature silent").click()
    expect(page.locator("series-view .trouble")).to_have_text(re.compile("silent for 5 min"))


def test_a_device_that_just_woke_up_gets_its_time_to_speak(page: Page, plain_gateway: Any) -> None:
    """It sleeps longer than its series are quiet while it is awake."""
    asleep_since, woke = NOW - 300_000, NOW - 1000
    script(
        page,
        reading(4, t=asleep_since),
        summary(low=3, high=4, w="1m", t0=asleep_since - 60_000, t1=asleep_since, n=2),
        status("d-1", "online", t=woke),
        devices=[device("d-1", since=woke)],
    )
    page.goto(plain_gateway.url)
    expect(page.locator('series-tile[data-device="d-1"]')).to_contain_text("stale")
    expect(page.locator("#attention").get_by_role("status")).to_have_text("The device is well")


def test_a_device_that_is_well_again_goes_back_to_its_place(page: Page, plain_gateway: Any) -> None:
    bodies = [
        stream(HELLO, reading(1, dev="d-1"), reading(2, dev="d-2"), ("alert", HOT), retry=50),
        stream(HELLO, ("alert", {**HOT, "state": "closed", "t": NOW + 1})),
    ]
    served: list[str] = []

    def serve(route: Route) -> None:
        served.append(route.request.url)
        if len(served) == 2:
            expect(page.locator("#board .group h2")).to_have_text(["d-2", "d-1"])
        body = bodies[min(len(served), 2) - 1]
        route.fulfill(body=body, content_type="text/event-stream")

    page.route("**/events?*", serve)
    quiet(page, [device("d-1"), device("d-2")])
    page.goto(plain_gateway.url)
    expect(page.locator("#attention").get_by_role("status")).to_have_text("All 2 devices are well")
    expect(page.locator("#board .group h2")).to_have_text(["d-1", "d-2"])
    expect(page.locator("#alerts tbody tr").first).to_contain_text("closed")


@pytest.mark.parametrize("place", ["#attention", "#alerts"])
def test_an_alert_is_acknowledged(page: Page, plain_gateway: Any, place: str) -> None:
    sick(page)
    posted: list[str] = []

    def serve(route: Route) -> None:
        posted.append(f"{route.request.method} {route.request.url.rpartition('/api/')[2]}")
        answer(route, {**HOT, "state": "acknowledged", "by": "ann", "t": NOW + 1})

    page.route("**/api/alerts/*/ack", serve)
    page.goto(plain_gateway.url)
    button = page.get_by_role("button", name="Acknowledge too-hot of d-2")
    expect(button).to_have_count(2)
    page.locator(place).get_by_role("button", name="Acknowledge too-hot of d-2").click()
    row = page.locator("#alerts tbody tr", has_text="too-hot")
    expect(row).to_have_text([re.compile("acknowledged.*seen by ann", re.DOTALL)])
    expect(button).to_have_count(0)
    assert posted == ["POST alerts/12/ack"]
    expect(page.locator("#attention .trouble-card")).to_have_text(
        [re.compile("d-3"), re.compile("d-4"), re.compile("d-2.*acknowledged")]
    )


@pytest.mark.parametrize("place", ["#attention", "#alerts"])
def test_acknowledging_by_keyboard_keeps_the_place(
    page: Page, plain_gateway: Any, place: str
) -> None:
    sick(page)
    told = {**HOT, "state": "acknowledged", "by": "ann", "t": NOW + 1}
    page.route("**/api/alerts/*/ack", lambda route: answer(route, told))
    page.goto(plain_gateway.url)
    button = page.locator(place).get_by_role("button", name="Acknowledge too-hot of d-2")
    button.focus()
    page.keyboard.press("Enter")
    expect(button).to_have_count(0)
    assert "d-2" in page.evaluate("document.activeElement.textContent")
    assert page.evaluate("document.activeElement.localName") == "a"


def test_what_is_wrong_with_the_gateway_itself_is_acknowledged(
    page: Page, plain_gateway: Any
) -> None:
    own = {"v": 1, "dev": "gw-1", "source": "gateway", "since": NOW, "t": NOW}
    full = {**own, "name": "disk", "state": "full", "n": 4, "text": "the disk is full"}
    clock = {**own, "name": "clock", "state": "wrong", "n": 5, "text": "the clock is not believed"}
    script(page, reading(1), ("alert", full), ("alert", clock))
    store = {"bytes": 1, "free": 1, "time_to_full_s": None, "state": "full", "written_per_day": 0}
    page.route("**/api/devices", lambda r: answer(r, {"devices": [device("d-1")], "store": store}))
    seen = {**full, "state": "acknowledged", "by": "ann", "t": NOW + 1}
    page.route("**/api/alerts/4/ack", lambda route: answer(route, seen))
    page.goto(plain_gateway.url)
    causes = page.locator("#attention .trouble-card li > :first-child")
    expect(causes).to_have_text(
        ["the disk is full: devices wait", "clock (the clock is not believed)"]
    )
    page.locator("#attention").get_by_role("button", name="Acknowledge disk").click()
    expect(causes).to_have_text(
        ["the disk is full: devices wait, acknowledged", "clock (the clock is not believed)"]
    )


def test_an_alert_that_is_over_stands_once_and_asks_for_nothing(
    page: Page, plain_gateway: Any
) -> None:
    over = {**HOT, "state": "closed", "until": NOW + 1, "t": NOW + 1}
    told = {"v": 1, "dev": "d-2", "source": "device", "name": 7, "t": NOW}
    script(page, reading(1), ("alert", HOT), ("alert", told), ("alert", over))
    page.goto(plain_gateway.url)
    rows = page.locator("#alerts tbody tr")
    expect(rows).to_have_text([re.compile("too-hot.*closed", re.DOTALL), re.compile("7.*told")])
    expect(page.get_by_role("button", name="Acknowledge")).to_have_count(0)


@pytest.mark.parametrize(("reason", "faults"), [("slow", 1), ("epoch", 0)])
def test_alerts_outlast_a_gap_unless_a_snapshot_follows_it(
    page: Page, plain_gateway: Any, reason: str, faults: int
) -> None:
    """A gap in the middle of a stream is about summaries alone: nothing else is told again."""
    gap = {"v": 1, "reason": reason, "asked": "k1-1", "resume": "k1-9", "oldest": "k1-1"}
    script(page, ("alert", HOT), ("gap", {**gap, "missed": 3}), devices=[device("d-2")])
    page.goto(plain_gateway.url)
    expect(page.locator("#attention")).to_be_visible()
    expect(page.locator('#banner [data-kind="gap"]')).to_be_visible()
    expect(page.locator("#attention .trouble-card")).to_have_count(faults)


def test_losses_and_rejections_of_a_device_are_listed(page: Page, plain_gateway: Any) -> None:
    loss = {"from": 4, "to": 9, "reason": 1, "readings": 300, "t": NOW - 60_000, "epoch": "0011"}
    bad = {"epoch": "0011", "seq": 3, "code": 6, "reason": "infinite", "t": NOW, "body": "a100"}
    row = device("d-1", lost_readings=300, losses=[loss], rejected=1)
    script(page, reading(1), devices=[row])
    page.route("**/devices/d-1/losses", lambda r: answer(r, {"losses": [loss], "next": None}))
    page.route("**/devices/d-1/rejected", lambda r: answer(r, {"rejected": [bad], "next": None}))
    page.goto(plain_gateway.url)
    expect(page.locator("#attention .trouble-card")).to_contain_text("300 readings lost in 1 gap")
    page.locator("#devices").get_by_role("link", name="d-1").click()
    expect(page.locator('[data-part="losses"]')).to_contain_text("its queue overflowed")
    expect(page.locator('[data-part="rejected"]')).to_contain_text("infinite")


def test_the_broker_and_what_waits_for_it_are_told(page: Page, plain_gateway: Any) -> None:
    script(page, reading(1))
    broker = {
        "connected": False, "waiting": 1200, "bytes": 30_000, "oldest": NOW, "full_in_s": None,
        "dropped": 7,
    }  # fmt: skip
    store = {"bytes": 1, "free": 1, "time_to_full_s": None, "state": "plenty", "written_per_day": 1}
    told = {"devices": [device("d-1")], "store": store, "broker": broker}
    page.route("**/api/devices", lambda r: answer(r, told))
    page.goto(plain_gateway.url)
    expect(page.locator("#broker")).to_contain_text(
        re.compile(r"not connected\s+waiting 1\D?200 \(30\.0 kB\)\s+7 given up")
    )
    expect(page.locator("#attention .trouble-card")).to_contain_text("the MQTT broker is not")


def test_a_revision_is_put_in_its_place(page: Page, plain_gateway: Any) -> None:
    revised = summary(low=50, high=60, t0=NOW - 30_000, rev=2)
    bodies = [stream(HELLO, summary(low=1, high=2), retry=50), stream(HELLO, revised)]
    served: list[str] = []

    def serve(route: Route) -> None:
        served.append(route.request.url)
        if len(served) == 2:
            expect(page.locator("series-view tbody tr")).to_have_count(3)
        route.fulfill(body=bodies[min(len(served), 2) - 1], content_type="text/event-stream")

    def points(asked: dict[str, str]) -> dict[str, Any]:
        if int(asked["to"]) - int(asked["from"]) < 60_000:
            return {"points": [[NOW - 25_000, 55]]}
        return {"points": [[NOW - 35_000, 1], [NOW - 25_000, 2], [NOW - 15_000, 3]]}

    page.route("**/events?*", serve)
    quiet(page)
    asked = serve_history(page, points)
    page.goto(f"{plain_gateway.url}/#/series/d-1/temperature?from={NOW - 3_600_000}&to={NOW}")
    rows = page.locator("series-view tbody tr .number")
    expect(rows).to_have_text([re.compile("^3"), re.compile("^55"), re.compile("^1")])
    assert (int(asked[-1]["from"]), int(asked[-1]["to"])) == (NOW - 30_000, NOW - 20_000 + 1)


def test_a_hole_is_left_open_and_a_declared_loss_told(page: Page, plain_gateway: Any) -> None:
    times = [*range(0, 60_000, 1000), *range(300_000, 360_000, 1000)]
    begin = NOW - 600_000
    gap = [begin + 59_000, begin + 299_000, 1]
    told = {"points": [[begin + t, t % 7] for t in times], "gaps": [gap]}
    script(page, reading(1))
    serve_history(page, lambda _: told)
    page.goto(f"{plain_gateway.url}/#/series/d-1/temperature?from={begin}&to={NOW}")
    expect(page.locator('[data-part="losses"]')).to_contain_text("its queue overflowed")
    expect(page.locator(".u-over")).to_be_visible()
    columns = page.evaluate(
        """async ({ points, gaps }) => {
            const { columns } = await import("./span.js");
            return columns(points, { step: null, gaps, regular: true });
        }""",
        told,
    )
    assert columns[1].count(None) == 1
    assert columns[1].index(None) == 60
    assert columns[0][60] == (begin + (59_000 + 300_000) / 2) / 1000


def test_text_has_contrast_and_controls_have_size(page: Page, plain_gateway: Any) -> None:
    """WCAG 2.2: 1.4.3 and 2.5.8, in every view, light and dark."""
    page.emulate_media(reduced_motion="reduce")
    sick(page)
    serve_history(page, lambda _: {"points": [[NOW - 1000, 1], [NOW, 2]]})
    for view in ("", "#/device/d-2", "#/series/d-2/temperature"):
        page.goto(f"{plain_gateway.url}/{view}")
        expect(page.locator("series-tile .trouble:visible").first).to_have_text("open the roof")
        for colours in ("light", "dark"):
            page.emulate_media(color_scheme=colours)
            expect(page.locator("html")).to_have_attribute("data-theme", colours)
            assert page.evaluate(CONTRAST) == [], (view, colours)
        assert page.evaluate(TARGETS) == [], view
