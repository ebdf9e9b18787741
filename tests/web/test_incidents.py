"""``GET /incidents`` in every format, and what the other faces say of incidents."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import Any

import pytest

from bridge.model import Status
from tests.history.snapshots import T0, snapshot, verdict
from tests.web.conftest import NOW, Site

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
EVIL = "<img src=x onerror=alert(1)>"


def rows(site: Site, asked: str = "") -> list[dict[str, Any]]:
    response = site.get(f"/incidents?format=rows{asked}")
    assert response.status_code == 200
    found: list[dict[str, Any]] = response.get_json()
    return found


def test_rows_have_one_an_incident_the_newest_first(site: Site) -> None:
    found = rows(site)
    assert [(row["Provider"], row["Status"], row["Start"]) for row in found] == [
        ("openrouter", "degraded", "2027-01-15T08:00:45.000Z"),
        ("groq", "down", "2027-01-15T08:00:30.000Z"),
    ]
    assert {(row["Phase"], row["Kind"], row["End"]) for row in found} == {("ongoing", "too early to say", None)}


def test_csv_and_json_and_text_say_the_same(site: Site) -> None:
    found = rows(site)
    lines = list(csv.DictReader(site.get("/incidents?format=csv").text.splitlines()))
    assert [line["Provider"] for line in lines] == [row["Provider"] for row in found]
    table = site.get("/incidents").get_json()
    assert [column["text"] for column in table["columns"]] == list(found[0])
    text = site.get("/incidents?format=text").text
    assert "openrouter degraded ongoing" in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_browser_gets_a_page(site: Site) -> None:
    response = site.get("/incidents", Accept=BROWSER)
    assert (response.status_code, response.mimetype) == (200, "text/html")
    assert "Incidents of the last 7 days" in response.text
    assert 'href="providers/groq"' in response.text
    assert "its circuit is OPEN" in response.text
    assert site.get("/incidents?from=now-1d", Accept=BROWSER).text.count("Incidents of 2027-01-14") == 1


def test_names_on_the_page_are_obeyed_by_nobody(empty: Site) -> None:
    empty.log.good(snapshot(NOW - 5, [verdict(EVIL, Status.DOWN)]))
    for path in ("/incidents", "/"):
        assert "<img" not in empty.get(path, Accept=BROWSER).text
        assert "&lt;img" in empty.get(path, Accept=BROWSER).text


def test_the_range_can_be_chosen_and_is_seven_days_otherwise(site: Site) -> None:
    for number in range(5, 30):
        site.log.good(snapshot(T0 + 15.0 * number, [verdict("groq"), verdict("openrouter")]))
    site.now += 6 * 86_400
    assert len(rows(site)) == 2
    assert rows(site, "&from=now-1d") == []
    site.now += 2 * 86_400
    assert rows(site) == []


@pytest.mark.parametrize(
    ("asked", "says"), [("&from=yesterday", "is not a time"), ("&from=now&to=now-1h", "from is after")]
)
def test_a_range_that_is_wrong_is_told(site: Site, asked: str, says: str) -> None:
    response = site.get(f"/incidents?format=rows{asked}")
    assert response.status_code == 400
    assert says in response.text


def test_before_the_first_poll_there_are_none(empty: Site) -> None:
    assert rows(empty) == []
    assert "None." in empty.get("/incidents", Accept=BROWSER).text


def test_the_json_summary_tells_those_that_are_not_over(site: Site) -> None:
    [groq, openrouter] = site.get("/", Accept="application/json").get_json()["incidents"]
    assert (groq["provider"], groq["phase"], groq["kind"]) == ("groq", "ongoing", "too early to say")
    assert openrouter["told"] == "ongoing for 20s, too early to say; degraded: 1 of 4 circuits OPEN"
    site.now += 600
    assert [one["phase"] for one in site.get("/?format=json").get_json()["incidents"]] == ["not known"] * 2


def test_a_providers_page_tells_its_incidents_its_uptime_and_its_last_success(site: Site) -> None:
    seen = [replace(verdict("groq", Status.DOWN), last_success=T0), verdict("openrouter")]
    site.log.good(snapshot(NOW, seen))
    page = site.get("/providers/groq", Accept=BROWSER).text
    assert "ongoing for 35s, too early to say; down: its circuit is OPEN" in page
    assert "openrouter" not in page
    assert '<th scope="row">24h</th><td class="n">30.00</td><td class="n">30.00</td><td class="n">50s</td>' in page
    assert "The last poll that brought a request that succeeded was at <time" in page
