"""The status page in a real browser: it shows what the board says, keeps itself new, and does nothing else.

``UPDATE_SCREENSHOTS=1`` writes the screenshots into docs/screenshots.
"""

from __future__ import annotations

import os
import re
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.service import day
from tests.service.harness import PROJECT, Gateway, Service, running, wait_until
from tests.services import require

pytestmark = pytest.mark.service

DESKTOP, PHONE = (1280, 800), (390, 844)
MAX_SCREENSHOT_BYTES = 200_000
HOSTILE = {
    "quotes": 'it\'s "quoted" \\',
    "markup": "<script>window.owned = 1</script><img src=x onerror='window.owned = 1'>",
    "slashes": "a//b/../c",
    "dots": "..",
    "line break": "two\nlines",
    "right to left": "ספק שירותים",
    "override": "groq\u202egnp.exe",
    "long": "x" * 250,
    "template": "{{ 7 * 7 }}",
    "query": "a?b=c#d%20e",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, without a window."""
    path = require("chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-lcd-text"])
        yield started
        started.close()


class Tab:
    """A page of the browser, and everything it did beside showing: requests, messages, mistakes, dialogs."""

    def __init__(self, browser: Browser, base: str, size: tuple[int, int], **options: Any) -> None:
        width, height = size
        self.context = browser.new_context(viewport={"width": width, "height": height}, **options)
        self.page: Page = self.context.new_page()
        self.base = base
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))

    def open(self, path: str = "/") -> Page:
        self.page.goto(self.base + path)
        return self.page

    def scrolls_sideways(self) -> bool:
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))

    def assert_kept_to_itself(self) -> None:
        assert self.complaints == []
        assert [url for url in self.requests if not url.startswith((self.base + "/", "data:"))] == []


Open = Callable[..., Tab]


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Opens tabs: ``opened(service, PHONE, color_scheme="dark")``."""
    tabs: list[Tab] = []

    def open_tab(service: Service, size: tuple[int, int] = DESKTOP, **options: Any) -> Tab:
        tabs.append(Tab(browser, f"http://127.0.0.1:{service.port}", size, **options))
        return tabs[-1]

    yield open_tab
    for tab in tabs:
        tab.context.close()


@contextmanager
def serving(folder: Path, gateway: Gateway, **environment: str) -> Iterator[Service]:
    service = Service(folder, {"GATEWAYZ_API_URL": gateway.url, **environment})
    try:
        yield service.start()
    finally:
        service.kill()


@contextmanager
def fleet(folder: Path, moment: day.Moment) -> Iterator[tuple[Service, Gateway]]:
    """The demo's fleet with a day behind it, at this moment."""
    now = time.time()
    day.write(folder / "data", now, moment)
    with running(day.gateway(now, moment)) as gateway, serving(folder, gateway, STALE_AFTER="5s") as service:
        wait_until(lambda: service.summary()["status"] == "ok", "the first poll")
        yield service, gateway


@pytest.fixture(scope="module")
def incident(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """groq is down, one of openrouter's models flaps, and earlier there was more."""
    with fleet(tmp_path_factory.mktemp("incident"), day.INCIDENT) as (service, _):
        yield service


@pytest.fixture(scope="module")
def hostile(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Every name that could do harm, and all of them down."""
    folder = tmp_path_factory.mktemp("hostile")
    with running(exposition(list(HOSTILE.values()))) as gateway, serving(folder, gateway) as service:
        wait_until(lambda: service.summary()["status"] == "ok", "the first poll")
        yield service


def exposition(names: list[str]) -> bytes:
    """Everyone is down: what can be shown of a name is shown."""

    def quoted(name: str) -> str:
        return name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    lines = [f'health_score{{provider="{quoted(name)}"}} 12.0' for name in names]
    for name in names:
        labels = f'provider="{quoted(name)}",model="{quoted(name)}"'
        lines += [f'circuit_breaker_state{{{labels},state="{state}"}} {int(state == "open")}' for state in STATES]
    return ("\n".join([*lines, "gatewayz_data_scrape_success 1"]) + "\n").encode()


STATES = ("open", "closed", "half_open")


def as_of(page: Page) -> str:
    found = re.search(r"As of (\S+ \S+)", page.inner_text("footer"))
    assert found
    return found[1]


def wait_for_refresh(page: Page) -> None:
    before = as_of(page)
    wait_until(lambda: as_of(page) != before, "the page refreshes itself", 10)


class TestWhatItShows:
    def test_is_what_the_board_says(self, incident: Service, opened: Open) -> None:
        tab = opened(incident)
        page = tab.open()
        board = incident.get("/").text
        headline = re.search(r"^Now +(.*)$", board, re.MULTILINE)
        assert headline
        assert page.inner_text("h1") == headline[1] == "down: groq; degraded: openrouter"
        assert "all 3 models; every circuit is OPEN" in page.inner_text("#now")
        assert "one model of 4: anthropic/claude-3-5-sonnet" in page.inner_text("#now")
        assert "flapping" not in page.inner_text("#breakers"), "one outage, however often it was tried"
        assert "flapping" not in board
        table = board[board.index("\nProvider") :].split("\nGo deeper")[0].splitlines()[2:]
        rows = page.locator("table.providers tbody tr").all_inner_texts()
        assert [row.split()[0] for row in rows] == [line.split()[0] for line in table if line]
        for row, line in zip(rows, table, strict=False):
            assert row.split()[1] == line.split()[1]
            assert line.split()[2] in row.split()
        tab.assert_kept_to_itself()

    def test_a_click_explains_a_provider(self, incident: Service, opened: Open) -> None:
        tab = opened(incident)
        page = tab.open()
        page.locator("table.providers").get_by_role("link", name="groq").click()
        expect(page.locator("h1")).to_contain_text("groq")
        rows = incident.get("/providers/groq").json["rows"]
        shown = page.inner_text("#evidence")
        for row in rows:
            assert row[1] in shown
            assert row[7] in shown
        assert page.locator("#circuits tbody tr").count() == 3
        page.get_by_role("link", name="All providers").click()
        expect(page.locator("table.providers")).to_be_visible()
        tab.assert_kept_to_itself()

    def test_it_fits_a_phone(self, incident: Service, opened: Open) -> None:
        tab = opened(incident, PHONE)
        for path in ("/", "/providers/groq", "/providers/grok"):
            tab.open(path)
            assert not tab.scrolls_sideways(), path

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("path", ["/", "/providers/groq"])
    def test_everything_can_be_read_in_light_and_dark(
        self, incident: Service, opened: Open, scheme: str, path: str
    ) -> None:
        page = opened(incident, color_scheme=scheme).open(path)
        assert page.evaluate(TOO_FAINT) == []

    def test_it_makes_sense_without_eyes_and_without_colours(self, incident: Service, opened: Open) -> None:
        page = opened(incident).open()
        table = page.get_by_role("table", name="Providers, worst first")
        assert table.get_by_role("columnheader").count() == 12
        groq = table.get_by_role("row").nth(1)
        assert groq.get_by_role("rowheader").inner_text() == "groq"
        assert "down" in groq.inner_text()
        assert "OPEN" in groq.inner_text()
        assert "not healthy for" in (groq.get_by_role("img").first.text_content() or "")
        shapes = page.evaluate(
            "['down', 'degraded', 'healthy', 'unknown'].map(kind => {const b = document.createElement('b');"
            " b.className = 's ' + kind; document.body.append(b); return getComputedStyle(b, '::before').content})"
        )
        assert len(set(shapes)) == 4
        levels = page.evaluate("[...document.querySelectorAll('h1,h2')].map(h => h.tagName)")
        assert levels[0] == "H1"
        assert levels.count("H1") == 1
        assert page.evaluate("document.documentElement.lang") == "en"

    def test_a_keyboard_reaches_every_provider(self, incident: Service, opened: Open) -> None:
        page = opened(incident).open()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "pause"
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "groq"
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile("/providers/groq$"))


class TestItKeepsItselfNew:
    def test_without_losing_the_readers_place(self, incident: Service, opened: Open) -> None:
        tab = opened(incident, PHONE)
        page = tab.open()
        page.evaluate("window.sameDocument = true")
        link = page.locator("table.providers a").nth(15)
        link.focus()
        page.evaluate("scrollTo(0, 1500)")
        place = page.evaluate("scrollY")
        focused = page.evaluate("document.activeElement.textContent")
        for _ in range(2):
            wait_for_refresh(page)
        assert page.evaluate("window.sameDocument") is True
        assert abs(page.evaluate("scrollY") - place) <= 40, "texts above may have grown by a line"
        assert page.evaluate("document.activeElement.textContent") == focused
        tab.assert_kept_to_itself()

    def test_and_shows_what_is_new(self, tmp_path: Path, opened: Open) -> None:
        with running(exposition(["acme"])) as gateway, serving(tmp_path, gateway) as service:
            wait_until(lambda: service.summary()["status"] == "ok", "the first poll")
            page = opened(service).open()
            expect(page.locator("h1")).to_have_text("down: acme")
            gateway.answer = exposition(["acme", "bolt"])
            expect(page.locator("h1")).to_have_text("down: acme, bolt", timeout=10_000)
            expect(page).to_have_title(re.compile("2 down"))
            expect(page.locator("#said")).to_have_text("2 down")

    def test_a_bridge_that_does_not_answer_makes_an_old_page(self, tmp_path: Path, opened: Open) -> None:
        with running(exposition(["acme"])) as gateway, serving(tmp_path, gateway) as service:
            wait_until(lambda: service.summary()["status"] == "ok", "the first poll")
            page = opened(service).open()
            service.kill()
            expect(page.locator("#lost")).to_contain_text("not refreshed since", timeout=10_000)
            expect(page.locator("body")).to_have_class("old")
            service.start()
            expect(page.locator("#lost")).to_be_hidden(timeout=10_000)
            expect(page.locator("body")).not_to_have_class("old")

    def test_it_can_be_paused(self, incident: Service, opened: Open) -> None:
        page = opened(incident).open()
        page.get_by_role("button", name="Pause").click()
        before = as_of(page)
        page.wait_for_timeout(2500)
        assert as_of(page) == before
        page.get_by_role("button", name="resume").click()
        wait_until(lambda: as_of(page) != before, "it goes on", 5)

    def test_without_javascript_it_is_the_same_page(self, incident: Service, opened: Open) -> None:
        tab = opened(incident, java_script_enabled=False)
        page = tab.open()
        expect(page.locator("h1")).to_have_text("down: groq; degraded: openrouter")
        assert page.locator("table.providers tbody tr").count() == 29
        expect(page.locator("#pause")).to_be_hidden()
        expect(page.locator("#lost")).to_be_hidden()
        page.get_by_role("link", name="Reload").click()
        expect(page.locator("h1")).to_be_visible()
        page.locator("table.providers").get_by_role("link", name="groq").click()
        expect(page.locator("#evidence")).to_contain_text("health score")
        tab.assert_kept_to_itself()


class TestHostileNames:
    def test_are_shown_as_text_and_do_nothing(self, hostile: Service, opened: Open) -> None:
        tab = opened(hostile, PHONE)
        page = tab.open()
        shown = page.locator("table.providers tbody th").all_inner_texts()
        assert len(shown) == len(HOSTILE)
        for name in (HOSTILE["quotes"], HOSTILE["markup"], HOSTILE["slashes"], "..", HOSTILE["right to left"]):
            assert name in shown
        assert "two\\nlines" in shown
        assert "groq\\u202egnp.exe" in shown
        assert not tab.scrolls_sideways()
        wait_for_refresh(page)
        assert page.evaluate("typeof window.owned") == "undefined"
        tab.assert_kept_to_itself()

    @pytest.mark.parametrize("number", range(len(HOSTILE)))
    def test_lead_to_their_own_page(self, hostile: Service, opened: Open, number: int) -> None:
        tab = opened(hostile, PHONE)
        page = tab.open()
        link = page.locator("table.providers tbody th a").nth(number)
        name = link.inner_text()
        link.click()
        expect(page.locator("h1 bdi")).to_have_text(name)
        expect(page.locator("#evidence")).to_contain_text("health score")
        assert page.evaluate("getComputedStyle(document.querySelector('#pause')).borderRadius") == "6px", "it has style"
        assert not tab.scrolls_sideways()
        assert page.evaluate("typeof window.owned") == "undefined"
        page.get_by_role("link", name="All providers").click()
        expect(page.locator("table.providers")).to_be_visible()
        tab.assert_kept_to_itself()


class TestScreenshots:
    """Taken on every run; ``UPDATE_SCREENSHOTS=1`` keeps them in docs/screenshots."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        update = os.environ.get("UPDATE_SCREENSHOTS") == "1"
        folder = PROJECT / "docs" / "screenshots" if update else tmp_path
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @pytest.mark.parametrize(
        ("name", "path", "size", "scheme"),
        [
            ("incident", "/", DESKTOP, "light"),
            ("incident-dark", "/", DESKTOP, "dark"),
            ("incident-phone", "/", PHONE, "light"),
            ("provider", "/providers/groq", (1280, 1000), "light"),
        ],
    )
    def test_of_an_incident(
        self, incident: Service, opened: Open, folder: Path, name: str, path: str, size: tuple[int, int], scheme: str
    ) -> None:
        tab = opened(incident, size, color_scheme=scheme)
        tab.open(path)
        take(tab.page, folder / f"{name}.png", size)

    def test_of_a_good_day_and_of_a_gateway_that_is_down(self, tmp_path: Path, opened: Open, folder: Path) -> None:
        with fleet(tmp_path / "well", day.WELL) as (service, gateway):
            page = opened(service).open()
            assert page.inner_text("h1").startswith("all 29 providers")
            take(page, folder / "healthy.png", DESKTOP)
            gateway.answer = "error"
            expect(page.locator("h1")).to_have_text("No current data", timeout=15_000)
            expect(page.locator(".banner")).to_contain_text("gateway unreachable since")
            assert "100.0" not in page.locator("table.providers").inner_text()
            take(page, folder / "gateway-down.png", DESKTOP)


def take(page: Page, file: Path, size: tuple[int, int]) -> None:
    """A screenshot that is as large as it should be, shows something, and is not heavy."""
    content = page.screenshot(path=file)
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", content[16:24]) == size
    assert len(content) < MAX_SCREENSHOT_BYTES
    data, at = b"", 8
    while at < len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        data += content[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += length + 12
    pixels = zlib.decompress(data)
    line = len(pixels) // size[1]
    assert len({pixels[start : start + line] for start in range(0, len(pixels), line)}) > size[1] / 4, "it is not blank"


TOO_FAINT = """
() => {
  const parse = (text) => text.match(/[0-9.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((c) => c / 255)
    .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || element.closest("svg")) continue;
    const levels = [light(parse(getComputedStyle(element).color)), light(ground(element))].sort((a, b) => b - a);
    const ratio = (levels[0] + 0.05) / (levels[1] + 0.05);
    if (ratio < 4.5) faint.push(`${element.textContent.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return faint;
}
"""
