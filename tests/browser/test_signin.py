"""Signing in and out in a real browser, and what the page shows when a sign-in ends."""

import re
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.processes import GatewayProcess, fleet

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with the user ada, and a device that sends."""
    gateway = GatewayProcess(tmp_path_factory.mktemp("gateway"))
    command(gateway, "user", "add", "ada", given=f"{PASSWORD}\n")
    gateway.start()
    devices = fleet(gateway, "--devices", "1", "--seed", "1")
    yield gateway
    devices.terminate()
    devices.wait(60)
    gateway.stop()


def command(gateway: GatewayProcess, *arguments: str, given: str = "") -> None:
    subprocess.run(
        [sys.executable, "-m", "gateway", *arguments, "--config", str(gateway.config)],
        input=given.encode(),
        check=True,
        capture_output=True,
    )


def sign_in(page: Page, gateway: GatewayProcess, password: str = PASSWORD) -> None:
    """By keyboard alone, from wherever the page has put the focus."""
    if urlsplit(page.url).netloc != urlsplit(gateway.url).netloc:
        page.goto(gateway.url)
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type("ada")
    page.keyboard.press("Tab")
    page.keyboard.type(password)
    page.keyboard.press("Enter")


def test_signing_in_and_out(page: Page, guarded: GatewayProcess) -> None:
    wrong: list[str] = []
    page.on("console", lambda m: wrong.append(m.text) if "Security Policy" in m.text else None)
    sign_in(page, guarded, "wrong horse")
    expect(page.get_by_role("alert")).to_have_text("The name or the password is wrong.")
    expect(page.get_by_label("Name")).to_have_value("ada")
    expect(page.get_by_label("Password")).to_be_focused()
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("#connection")).to_have_text(re.compile("live"))
    expect(page.locator("series-tile .value").first).not_to_have_text("–")
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Sign out ada").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto(guarded.url)
    expect(page.get_by_label("Password")).to_be_visible()
    assert wrong == []


def test_a_sign_in_that_ends_asks_for_a_new_one_and_not_again_and_again(
    page: Page, guarded: GatewayProcess
) -> None:
    sign_in(page, guarded)
    expect(page.locator("#connection")).to_have_text(re.compile("live"))
    page.clock.install()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    command(guarded, "user", "sign-out", "ada")
    notice = page.locator("#banner .notice")
    expect(notice).to_contain_text("You are signed out")
    expect(page.locator("#connection")).to_have_text(re.compile("signed out"))
    page.clock.run_for(120_000)
    assert asked.count("/events") == 0
    expect(notice).to_have_count(1)
    notice.get_by_role("link", name="Sign in").click()
    sign_in(page, guarded)
    expect(page.locator("#connection")).to_have_text(re.compile("live"))
    expect(page.locator("#banner .notice")).to_have_count(0)


def test_a_page_that_was_away_learns_that_it_is_signed_out(
    page: Page, guarded: GatewayProcess
) -> None:
    sign_in(page, guarded)
    expect(page.locator("#connection")).to_have_text(re.compile("live"))
    guarded.stop()
    expect(page.locator("#connection")).not_to_have_text(re.compile("live"))
    command(guarded, "user", "sign-out", "ada")
    guarded.start()
    expect(page.locator("#banner .notice")).to_contain_text("You are signed out")
    other = page.context.new_page()
    sign_in(other, guarded)
    expect(other.locator("#connection")).to_have_text(re.compile("live"))
    page.bring_to_front()
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#connection")).to_have_text(re.compile("live"))


def test_the_form_works_without_javascript(browser: Browser, guarded: GatewayProcess) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(guarded.url)
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    context.close()


def test_who_follows_a_link_from_another_site_is_signed_in_still(
    page: Page, guarded: GatewayProcess
) -> None:
    sign_in(page, guarded)
    expect(page.locator("#connection")).to_have_text(re.compile("live"))
    page.route(
        "http://elsewhere.example/",
        lambda route: route.fulfill(
            body=f'<a href="{guarded.url}">the gateway</a>', content_type="text/html"
        ),
    )
    page.goto("http://elsewhere.example/")
    page.get_by_role("link").click()
    expect(page.locator("#connection")).to_have_text(re.compile("live"))


@pytest.mark.parametrize("size", [(360, 640), (1280, 800)])
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_the_form_fits_and_follows_the_systems_colours(
    page: Page, guarded: GatewayProcess, size: tuple[int, int], colours: str
) -> None:
    page.emulate_media(color_scheme=colours)
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.goto(f"{guarded.url}/login")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert page.evaluate("document.documentElement.dataset.theme") == colours
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == colours
