"""The status page: what the board says, for browsers, with nothing in it that a browser would obey."""

from __future__ import annotations

import gzip
import re
import shutil
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import pytest
from werkzeug.test import TestResponse

from benchmarks import history
from bridge.history.store import Store
from bridge.model import CircuitState, Event, Evidence, Key, Status
from tests.history.snapshots import T0, circuit, snapshot, verdict
from tests.web.conftest import NOW, Site

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
HOSTILE = {
    "markup": "<script>alert(1)</script>",
    "an attribute": '"onmouseover="alert(1)',
    "an entity": "&lt;b&gt;'\"",
    "a template": "{{ 7*7 }}{% raw %}",
    "slashes": "a//b/../c",
    "a dot": ".",
    "dots": "..",
    "line breaks": "a\nb\r\u2028c",
    "direction": "groq\u202egnp.exe",
    "right to left": "ספק",
    "long": "x" * 300,
    "percent": "100%25?x=1#y",
    "a slash first": "/a",
}

FRAME = {"html", "head", "body", "meta", "title", "link", "script", "header", "main", "footer", "noscript", "button"}
TEXT = {"p", "h1", "h2", "b", "bdi", "a", "em", "ul", "li", "section", "div", "span", "small", "time", "svg", "path"}
TABLE = {"table", "thead", "tbody", "tr", "th", "td", "caption", "figure", "figcaption"}
ELEMENTS = FRAME | TEXT | TABLE


def page(site: Site, path: str = "/") -> str:
    response = site.get(path, Accept=BROWSER)
    assert response.mimetype == "text/html"
    return response.text


class Words(HTMLParser):
    """A page's text, its links and its elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.links: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        self.text += " " if tag in ("td", "th", "li", "p") else ""
        if tag == "a":
            self.links.append(dict(attributes)["href"] or "")

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def plain(self) -> str:
        return " ".join(self.text.split())


def section(html: str, name: str) -> str:
    found = re.search(rf'<section id="{name}">(.*?)</section>', html, re.DOTALL)
    assert found, name
    return Words(found[1]).plain


class TestWhoGetsIt:
    @pytest.mark.parametrize(
        ("path", "headers", "mimetype"),
        [
            ("/", {"Accept": BROWSER}, "text/html"),
            ("/", {"Accept": "*/*"}, "text/plain"),
            ("/", {}, "text/plain"),
            ("/", {"Accept": "application/json, text/plain, */*"}, "application/json"),
            ("/", {"Content-Type": "application/json"}, "application/json"),
            ("/", {"Accept": "text/html;q=0.5, application/json"}, "application/json"),
            ("/", {"Accept": "text/html;q=0"}, "text/plain"),
            ("/?format=text", {"Accept": BROWSER}, "text/plain"),
            ("/?format=json", {"Accept": BROWSER}, "application/json"),
            ("/providers", {"Accept": BROWSER}, "text/html"),
            ("/providers", {}, "application/json"),
            ("/providers?format=text", {"Accept": BROWSER}, "text/plain"),
            ("/providers/groq", {"Accept": BROWSER}, "text/html"),
            ("/providers/groq", {"Accept": "*/*"}, "application/json"),
            ("/providers/groq?format=json", {"Accept": BROWSER}, "application/json"),
        ],
    )
    def test_browsers_do_and_others_get_what_they_got(
        self, site: Site, path: str, headers: dict[str, str], mimetype: str
    ) -> None:
        response = site.get(path, **headers)
        assert (response.status_code, response.mimetype) == (200, mimetype)
        assert "Accept" in response.headers["Vary"]

    def test_nothing_but_its_own_style_and_script_may_run(self, site: Site) -> None:
        for path in ("/", "/providers/groq", "/providers/nobody"):
            policy = site.get(path, Accept=BROWSER).headers["Content-Security-Policy"]
            rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
            assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == "'none'"
            assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
            html = page(site, path)
            assert not re.search(r"<style|<script(?! src=)|\sstyle=|\son\w+=", html)
            assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", html), "nothing comes from elsewhere"

    def test_it_is_compressed_for_who_takes_that(self, site: Site) -> None:
        packed = site.get("/", **{"Accept": BROWSER, "Accept-Encoding": "gzip, br"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed.get_data()).decode() == page(site)
        for refused in ("", "identity", "gzip;q=0"):
            plain = site.get("/", **{"Accept": BROWSER, "Accept-Encoding": refused})
            assert "Content-Encoding" not in plain.headers
            assert "Accept-Encoding" in plain.headers["Vary"]

    def test_its_files_may_be_kept_as_long_as_they_are_the_same(self, site: Site) -> None:
        files = re.findall(r'(?:href|src)="(static/[^"]+)"', page(site))
        assert len(files) == 2
        for file in files:
            response = site.get(f"/{file}")
            assert response.status_code == 200
            assert "immutable" in response.headers["Cache-Control"]
            assert site.get(f"/{file}0").headers["Cache-Control"] == "no-store", "another version's"
        assert site.get("/static/app.py").status_code == 404
        assert site.get("/static/..%2Foncall.py").status_code == 404


class TestTheThreeAnswers:
    def test_who_is_degraded_and_whether_it_is_one_model_or_all(self, site: Site) -> None:
        told = section(page(site), "now")
        assert "down groq its only model, llama-3.1-8b; its circuit is OPEN; down for 35s" in told
        assert "degraded openrouter one model of 4: openai/gpt-4o; 1 of 4 circuits OPEN; degraded for 20s" in told

    def test_which_breakers_are_open_since_when_and_why(self, site: Site) -> None:
        told = section(page(site), "breakers")
        assert "OPEN groq / llama-3.1-8b for 35s, since 08:00:30 (reported by the gateway)" in told
        assert "OPEN openrouter / openai/gpt-4o for 20s, since 08:00:45" in told
        assert "flapping" not in told

    @pytest.mark.parametrize(
        ("opens", "told"),
        [
            ((T0 - 10.0, T0), "flapping: opened 2 times in 24 h"),
            ((T0 - 7200.0, T0), "since 08:00:00, opened 2 times in 24 h"),
        ],
    )
    def test_whether_they_are_flapping(self, empty: Site, opens: tuple[float, ...], told: str) -> None:
        one = circuit("x", "m", CircuitState.OPEN, first_opened=T0, opens=opens)
        empty.log.good(snapshot(NOW - 5, [verdict("x", Status.DOWN)], [one]))
        assert told in section(page(empty), "breakers")
        assert told.replace("08:00:00", "2027-01-15 08:00:00 UTC") in empty.get("/").text.replace("\n        ", " ")

    def test_whether_it_is_a_blip(self, site: Site) -> None:
        told = section(page(site), "incidents")
        assert "down groq ongoing for 35s, too early to say; down: its circuit is OPEN" in told
        assert "degraded openrouter ongoing for 20s, too early to say; degraded: 1 of 4 circuits OPEN" in told
        for number in range(5, 31):
            statuses = {"openai": Status.DEGRADED if number == 6 else Status.HEALTHY, "groq": Status.DOWN}
            site.log.good(snapshot(T0 + 15.0 * number, [verdict(name, status) for name, status in statuses.items()]))
        site.now = T0 + 15.0 * 30 + 1
        told = section(page(site), "incidents")
        assert "down groq ongoing for 7m01s, regression; down" in told
        assert "degraded openai blip, 15s, over 5m46s ago; degraded" in told
        assert "degraded openrouter ongoing for 30s, too early to say" in told, (
            "it is absent, and not yet lost sight of"
        )

    def test_the_board_says_so_too(self, site: Site) -> None:
        told = site.get("/").text
        assert "\nBlip? groq: ongoing for 35s, too early to say; down: its circuit is OPEN\n" in told
        assert "\n      openrouter: ongoing for 20s, too early to say; degraded: 1 of 4 circuits OPEN\n" in told
        site.log.good(snapshot(NOW, [verdict("openai"), verdict("groq"), verdict("openrouter")]))
        assert "\nBlip? groq: recovering, too early to say, 35s, healthy since 0s ago; down: " in site.get("/").text

    def test_the_board_says_so_when_there_was_none(self, empty: Site) -> None:
        assert "Blip?" not in empty.get("/").text
        empty.log.good(snapshot(NOW - 5, [verdict("x")]))
        assert "\nBlip? no incident in the last 24 h\n" in empty.get("/").text

    def test_the_board_says_of_a_fleet_that_it_is_one(self, empty: Site) -> None:
        empty.log.good(snapshot(NOW - 5, [verdict(f"p{number}", Status.DOWN) for number in range(100)]))
        told = empty.get("/").text
        assert told.count("ongoing") == 1
        assert "\nBlip? the fleet: ongoing for 5s, too early to say; down: 100 of 100 at once: look at the" in told
        assert "down the fleet ongoing for 5s" in section(page(empty), "incidents")

    def test_the_board_says_of_many_only_the_first(self, empty: Site) -> None:
        well = [verdict(f"q{number}") for number in range(99)]
        empty.log.good(snapshot(NOW - 5, [*(verdict(f"p{number}", Status.DOWN) for number in range(20)), *well]))
        told = empty.get("/").text
        assert told.count("ongoing") == 8
        assert "\n      and 12 more, see /incidents?from=now-24h&format=text\n" in told

    def test_a_history_that_cannot_be_read_costs_the_board_this_answer_alone(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        monkeypatch.setattr(Store, "incidents", broken)
        answer = site.get("/")
        assert answer.status_code == 200
        assert "Blip? not known: the recorded history cannot be read just now" in answer.text
        assert "down: groq" in answer.text

    def test_what_comes_back_again_and_again_is_recurring(self, empty: Site) -> None:
        for number in range(60):
            status = Status.DEGRADED if number % 25 == 0 else Status.HEALTHY
            empty.log.good(snapshot(T0 + 15.0 * number, [verdict("x", status)]))
        empty.now = T0 + 15.0 * 60
        assert "recurring: the 3rd within 24 h" in section(page(empty), "incidents")

    def test_models_that_fail_are_named_where_no_breaker_is_open(self, empty: Site) -> None:
        rates = {Key("x", "good"): 0.01, Key("x", "bad"): 0.45, Key("y", "other"): 1.0}
        empty.log.good(snapshot(NOW - 5, [verdict("x", Status.DEGRADED)], model_error_rates=rates))
        assert "errors in one model of 2: bad 45%" in section(page(empty), "now")
        assert "x: errors in one model of 2: bad 45%" in empty.get("/").text

    def test_when_all_is_well_it_says_so(self, empty: Site) -> None:
        empty.log.good(snapshot(NOW - 5, [verdict("x"), verdict("y")]))
        html = page(empty)
        assert "all 2 providers with data are healthy" in section(html, "now")
        assert "No breaker is open" in section(html, "breakers")
        assert "<title>all well" in html

    def test_a_fleet_that_is_down_altogether_does_not_fill_the_page(self, empty: Site) -> None:
        names = [f"p{number}" for number in range(100)]
        circuits = [circuit(name, "m", CircuitState.OPEN, first_opened=T0) for name in names]
        empty.log.good(snapshot(NOW - 5, [verdict(name, Status.DOWN) for name in names], circuits))
        html = page(empty)
        for name in ("now", "breakers"):
            assert "and 92 more" in section(html, name)
        assert section(html, "incidents").count("ongoing") == 1
        board = empty.get("/").text
        assert "and 88 more, see the table" in board


class TestTheTable:
    def test_it_says_what_the_board_says(self, site: Site) -> None:
        board = [line.split() for line in site.get("/?format=text").text.splitlines() if re.match("groq |op", line)]
        rows = re.findall(r'<tr class="\w+">(.*?)</tr>', page(site), re.DOTALL)
        cells = [[Words(cell).plain for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]
        assert [row[0] for row in cells] == [words[0] for words in board] == ["groq", "openrouter", "openai"]
        for words, row in zip(board, cells, strict=True):
            assert row[1].split()[0] == words[1]
            assert row[2] == words[2]
            assert row[4] == words[3]
            assert row[5].split()[0] == words[4]
            assert row[5].split()[1:4] == words[5:8]
            assert row[6:12] == words[-6:]
        assert cells[0][1:3] == ["down 35s", "25.0"]
        assert cells[0][5] == "OPEN 1 of 1 35s"

    def test_each_row_has_its_trend_and_says_it_in_words_too(self, site: Site) -> None:
        html = page(site)
        trends = re.findall(r'<svg class="spark"[^>]*role="img"><title>(.*?)</title><path d="(.*?)"/></svg></td>', html)
        assert len(trends) == 3
        assert trends[0][0] == "lowest 25.0, 5s ago; not healthy for 35s in 1 incident in 24 h"
        assert trends[2][0].startswith("lowest 98.5, 1m05s ago; no incident in 24 h")
        assert all(d.count("M") == 2 for _, d in trends), "the failed poll is a break"
        assert "Trend, 15 min" in html

    def test_what_is_not_known_is_a_dash_and_never_a_zero(self, empty: Site) -> None:
        empty.log.good(snapshot(NOW - 5, [verdict("new", Status.UNKNOWN)]))
        row = re.search(r'<tr class="unknown">(.*?)</tr>', page(empty), re.DOTALL)
        assert row
        cells = [Words(cell).plain for cell in re.findall(r"<td[^>]*>(.*?)</td>", row[1])]
        assert cells[0] == "unknown"
        assert set(cells[1:2] + cells[3:-1]) == {"-"}
        assert "<path" not in row[1]

    def test_the_last_changes_stand_below_newest_first(self, site: Site) -> None:
        told = section(page(site), "changes")
        assert told.index("healthy → degraded") < told.index("healthy → down") < told.index("down → up")
        assert "the gateway" in told

    def test_old_changes_have_their_date(self, empty: Site) -> None:
        event = Event(T0 - 36_000.0, "status", "x", "", "healthy", "down", "so it was")
        empty.log.good(snapshot(T0 - 36_000.0, [verdict("x")]), event)
        assert "01-14 22:00:00 x healthy → down so it was" in section(page(empty), "changes")


class TestWithoutCurrentData:
    def test_before_the_first_poll(self, empty: Site) -> None:
        html = page(empty)
        assert "no poll yet: the bridge has just started" in html
        assert "There are no numbers to show yet" in html
        assert "No providers yet" in html

    def test_a_gateway_that_never_answered(self, empty: Site) -> None:
        empty.log.failed(NOW - 5, message="connection refused")
        assert "gateway unreachable since 2027-01-15 08:01:00 UTC (5s): connection refused" in page(empty)

    def test_a_gateway_that_just_failed_leaves_its_numbers(self, site: Site) -> None:
        site.log.failed(NOW - 1)
        html = page(site)
        assert "gateway unreachable since" in html
        assert "its numbers still count" in html
        assert "down: groq" in html

    @pytest.mark.parametrize("path", ["/", "/providers/groq"])
    def test_stale_numbers_are_not_shown(self, site: Site, path: str) -> None:
        site.log.failed(NOW - 1)
        site.now += 60
        html = page(site, path)
        words = Words(re.sub(r"<title>.*?</title>", "", html)).plain  # a trend's words say when it was
        assert "too old to count as now, so every status is unknown and no number is shown" in words
        assert not re.search(r"\b(98\.9|86\.0|12\.50|0\.80s|1\.90s|99)\b", words)
        assert "No current data" in words or "unknown" in words
        assert '<b class="s down">down' not in html.replace(section(html, "changes"), "").split('id="changes"')[0]

    def test_the_trend_stays_and_ends_where_knowledge_does(self, site: Site) -> None:
        site.now += 400
        paths = re.findall(r'<path d="([^"]*)"', page(site))
        assert len(paths) >= 3
        for d in paths:
            moves = [int(x) for x in re.findall(r"[Mhl](-?\d+)", d)]
            assert moves[0] < 60


class TestOneProvider:
    def test_every_number_and_where_it_comes_from(self, site: Site) -> None:
        html = page(site, "/providers/groq")
        words = Words(html).plain
        assert "its only model, llama-3.1-8b; its circuit is OPEN; down for 35s" in words
        for row in site.get("/providers/groq").get_json()["rows"]:
            for cell in (row[1], row[6], row[7]):
                assert " ".join(str(cell).split()) in words
        assert "set aside: contradicted" in section(html, "evidence")

    def test_its_circuits_and_its_own_changes_alone(self, site: Site) -> None:
        html = page(site, "/providers/openrouter")
        assert section(html, "circuits").count("CLOSED") == 3
        changes = section(html, "changes")
        assert "openai/gpt-4o CLOSED → OPEN reported by the gateway" in changes
        assert "llama" not in changes

    def test_how_score_errors_and_latency_went(self, site: Site) -> None:
        told = section(page(site, "/providers/openai"), "charts")
        for words in (
            "Health score, 1 h: now 98.9; lowest 98.5",
            "Error rate, 24 h: now 1.0%",
            "Latency, p95, 1 h: now 1.90s",
        ):
            assert words in told
        assert "Error rate" not in section(page(site, "/providers/groq"), "charts"), "never known"

    def test_an_unknown_one_is_a_404_that_names_the_nearest(self, site: Site) -> None:
        response = site.get("/providers/opnai", Accept=BROWSER)
        assert (response.status_code, response.mimetype) == (404, "text/html")
        assert '<a href="../providers/openai">' in response.text
        assert "no provider has a name" in site.get("/providers/zzz", Accept=BROWSER).text.lower()
        assert site.get("/providers/opnai", Accept="application/json").get_json()["error"]["code"] == "not_found"


class TestHostileNames:
    @pytest.fixture
    def hostile(self, empty: Site) -> Callable[[str], Site]:
        def tell(name: str) -> Site:
            one = replace(circuit(name, name, CircuitState.OPEN, first_opened=T0, reason=name), opens=(T0, T0 + 1))
            said = [Evidence("status", 3.0, "status", name, f"down: {name}"), Evidence(name, 1.0, name, name, name)]
            empty.log.good(
                snapshot(NOW - 5, [verdict(name, Status.DOWN, health_score=1.0, evidence=said)], [one]),
                Event(NOW - 5, "circuit", name, name, "CLOSED", "OPEN", name),
            )
            return empty

        return tell

    @pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
    def test_are_text_and_nothing_else(self, hostile: Callable[[str], Site], name: str) -> None:
        site = hostile(name)
        for path in ("/", *self._links(site)):
            html = page(site, path)
            elements = Words(html).elements
            assert sum(tag == "script" for tag, _ in elements) == 1
            assert {tag for tag, _ in elements} <= ELEMENTS
            assert not [name for _, attributes in elements for name in attributes if name.startswith("on")]
            assert "49" not in html.split("<h1>")[1].split("</h1>")[0]
            assert not re.search("[\u202a-\u202e\u2066-\u2069\u2028\r]", html)

    @pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
    def test_have_a_page_that_their_link_leads_to(self, hostile: Callable[[str], Site], name: str) -> None:
        site = hostile(name)
        [link] = set(self._links(site))
        assert "/../" not in f"{link}/"
        response = site.get(link, Accept=BROWSER)
        assert response.status_code == 200
        assert "Every number behind the verdict" in response.text

    @staticmethod
    def _links(site: Site) -> list[str]:
        return [f"/{link}" for link in Words(page(site)).links if link.startswith("providers/")]


class TestBehindAPathPrefix:
    @pytest.mark.parametrize("name", ["groq", "a/b", "a//b", ".."])
    def test_every_link_stays_below_it(self, empty: Site, name: str) -> None:
        empty.log.good(snapshot(NOW - 5, [verdict(name)]))
        base = "http://host/deep/prefix/"
        [link] = {link for link in Words(page(empty)).links if link.startswith("providers/")}
        for path in ("", "providers", link):
            html = page(empty, f"/{path}")
            targets = [*Words(html).links, *re.findall(r'(?:src|href)="([^"]*static/[^"]*)"', html)]
            for target in targets:
                assert urljoin(base + path, target).startswith(base), (path, target)
            assert any(urljoin(base + path, target).startswith(f"{base}static/") for target in targets)


class TestTheBoardsHints:
    @pytest.mark.parametrize(
        ("host", "shown"),
        [
            ("bridge.internal:5050", "http://bridge.internal:5050/"),
            ("[::1]:5050", "http://[::1]:5050/"),
            ("x'$(reboot)", "http://localhost:5050/"),
            ("x\u202ey", "http://localhost:5050/"),
        ],
    )
    def test_use_the_host_that_was_asked_if_it_is_one(self, site: Site, host: str, shown: str) -> None:
        environ = {"HTTP_HOST": host.encode().decode("latin-1")}
        response: TestResponse = site.client.get("/", environ_overrides=environ)
        if response.status_code == 400:
            return
        hints = response.text.partition("Go deeper")[2]
        assert hints.count(f"curl '{shown}") == 3
        assert "reboot" not in response.text

    def test_can_be_typed_as_they_stand(self, site: Site) -> None:
        for url in re.findall(r"curl 'http://localhost(/[^']*)'", site.get("/").text):
            assert site.get(url).status_code == 200

    def test_name_nobody_whose_name_a_shell_would_read(self, empty: Site) -> None:
        empty.log.good(snapshot(NOW - 5, [verdict("a'; reboot", Status.DOWN)]))
        assert "/providers/NAME?format=text" in empty.get("/").text


class TestItsCost:
    """With 24 hours of history at 15 s."""

    @pytest.mark.parametrize(
        ("providers", "seconds", "kilobytes"), [(30, 0.05, 60), (300, 0.6, 450)], ids=["30 providers", "300 providers"]
    )
    def test_it_is_cheap(
        self, sites: Callable[..., Site], tmp_path: Path, providers: int, seconds: float, kilobytes: int
    ) -> None:
        hours = 24 if providers == 30 else 3
        made = history.write(tmp_path / "made", providers=providers, seconds=hours * 3600.0, polled_seconds=60.0)
        shutil.copytree(made.data_dir, tmp_path / "data")
        site = sites()
        site.now = made.end + 1
        page(site)  # reads the history for the first time
        spent = []
        for number in range(1, 6):
            site.app.extensions["bridge"].trends._key = ()  # as after another poll
            site.now = made.end + 1 + number / 10
            began = time.thread_time()
            response = site.get("/", **{"Accept": BROWSER, "Accept-Encoding": "gzip"})
            spent.append(time.thread_time() - began)
            assert response.status_code == 200
        assert min(spent) < seconds, spent
        weight = len(gzip.decompress(response.get_data()))
        assert weight < kilobytes * 1000
        assert len(response.get_data()) < weight / 4
