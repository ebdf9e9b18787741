"""GET /annotations: the same events by URL, for Infinity, spreadsheets and curl."""

from __future__ import annotations

import csv
import io

import pytest

from bridge.model import Event
from tests.history.snapshots import T0, snapshot, verdict
from tests.web.conftest import Site

RANGE = "from=1800000000000&to=1800000300000"
COLUMNS = ["time", "timeEnd", "title", "text", "tags", "id", "newState"]
EVIL = "=<img src=x onerror=alert(1)>"


def test_json_is_what_grafana_is_answered(site: Site) -> None:
    by_url = site.get(f"/annotations?{RANGE}&query=circuit,status").get_json()
    span = {"from": "2027-01-15T08:00:00.000Z", "to": "2027-01-15T08:05:00.000Z"}
    by_post = site.post("/annotations", {"annotation": {"query": "circuit,status"}, "range": span}).get_json()
    assert by_url == [{key: value for key, value in event.items() if key != "annotation"} for event in by_post]
    assert len(by_url) == 4


def test_rows_are_flat_with_times_as_iso_8601_and_tags_in_one_text(site: Site) -> None:
    rows = site.get(f"/annotations?{RANGE}&query=circuit&format=rows").get_json()
    assert [list(row) for row in rows] == [COLUMNS] * 2
    assert all(type(cell) is str for row in rows for cell in row.values())
    assert rows[0]["time"] == "2027-01-15T08:00:30.000Z"
    assert rows[0]["timeEnd"] == "2027-01-15T08:01:05.000Z"
    assert rows[0]["tags"] == "circuit,groq,llama-3.1-8b,OPEN"


def test_csv_has_the_same_cells_and_its_header_even_when_empty(site: Site) -> None:
    response = site.get(f"/annotations?{RANGE}&query=circuit&format=csv")
    assert response.content_type == "text/csv; charset=utf-8"
    header, *lines = csv.reader(io.StringIO(response.text, newline=""), strict=True)
    assert header == COLUMNS
    rows = site.get(f"/annotations?{RANGE}&query=circuit&format=rows").get_json()
    assert lines == [list(row.values()) for row in rows]
    assert site.get("/annotations?query=roster&format=csv").text == ",".join(COLUMNS) + "\r\n"
    assert site.get("/annotations?query=roster&format=rows").get_json() == []


def test_text_is_for_people(site: Site) -> None:
    lines = site.get(f"/annotations/?{RANGE}&query=circuit&format=text").text.splitlines()
    assert lines[0].split() == ["From", "To", "What", "Why"]
    assert lines[1].startswith("08:00:30 08:01:05 groq / llama-3.1-8b: circuit OPEN")


def test_a_variable_of_several_values_picks_them(site: Site) -> None:
    path = f"/annotations?{RANGE}&format=rows&query=circuit%7Bprovider%3D~%22%7Bgroq%2Copenai%7D%22%7D"
    assert [row["tags"].split(",")[1] for row in site.get(path).get_json()] == ["groq"]


def test_without_a_range_it_is_the_last_day(site: Site) -> None:
    assert site.get("/annotations?query=circuit").get_json() != []
    assert site.get("/annotations?query=circuit&to=1700000000").get_json() == []


def test_names_are_no_markup_and_no_formula(empty: Site) -> None:
    empty.log.good(snapshot(T0 + 60, [verdict(EVIL)]), Event(T0 + 60, "status", EVIL, "", "healthy", "down", EVIL))
    for wanted in ("json", "rows", "csv"):
        shown = empty.get(f"/annotations?query=all&format={wanted}").text
        assert "<" not in shown
        assert "&lt;img src=x onerror=alert(1)&gt;" in shown
    _, line = csv.reader(io.StringIO(empty.get("/annotations?query=all&format=csv").text, newline=""), strict=True)
    assert line[2].startswith("'=")
    assert EVIL in empty.get("/annotations?query=all&format=text").text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("query=circus", "did you mean 'circuit'"),
        ("format=xml", "json, text, rows, csv"),
        ("from=yesterday", "yesterday"),
        ("from=now&to=now-1h", "from is after to"),
    ],
)
def test_a_mistake_is_a_400_that_says_what_would_be_right(site: Site, arguments: str, said: str) -> None:
    response = site.get(f"/annotations?{arguments}")
    assert response.status_code == 400
    assert said in response.text


def test_a_tag_with_a_comma_stays_one_tag_where_tags_are_one_text(empty: Site) -> None:
    """Grafana splits a frame's tags at commas; an array it takes as it is."""
    name = "a,b, c"
    vanished = Event(T0, "roster", name, "", "present", "absent", "")
    empty.log.good(snapshot(T0, [verdict("x")]), vanished)
    path = f"/annotations?{RANGE}&query=roster"
    [event] = empty.get(path).get_json()
    assert event["tags"] == ["roster", name, "absent"]
    [row] = empty.get(f"{path}&format=rows").get_json()
    assert row["tags"].split(",") == ["roster", "a;b; c", "absent"]
    [frame] = empty.query({"target": "roster", "refId": "Anno"}, range={"from": T0 * 1000, "to": (T0 + 60) * 1000})
    assert frame["rows"][0][4].split(",") == ["roster", "a;b; c", "absent"]
