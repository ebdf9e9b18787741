"""Answers for a terminal: they fit 100 columns, stay aligned, and hold nothing that a terminal would obey."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest

from bridge.model import CircuitState, Event, Evidence, Snapshot, Status
from tests.history.snapshots import T0, circuit, snapshot, verdict
from tests.web.conftest import NOW, Site

WIDTH = 100
AT = T0 + 60.0
ESCAPES = "\x1b]0;owned\x07\x1b[31m"
AWKWARD = {
    "wide": "名前のとても長い提供者の名前です例",
    "right to left": "ספק שירותים ארוך מאוד",
    "override": "groq\u202egnp.exe\u2066",
    "control": f"groq{ESCAPES}\r\n\tx\x00\x85\x9b",
    "combining": "e\u0301" * 20,
    "emoji": "🔥" * 15,
    "emoji in colour": "❤\ufe0f" * 15,
    "Thai": "ผู้ให้บริการที่ดี",
    "no blank": "x" * 256,
    "line separators": "a\u2028b\u2029c\x0bd",
}
TABLES = ("providers", "circuits", "transitions", "explain")


def width(line: str) -> int:
    """Columns a terminal uses for a line."""
    return sum(
        0 if unicodedata.category(one) in ("Mn", "Me") else 2 if unicodedata.east_asian_width(one) in "WF" else 1
        for one in line
    )


def troubled(names: list[str]) -> tuple[Snapshot, list[Event]]:
    """A fleet whose providers have these names, every third with an open circuit, and every number known."""
    verdicts, circuits, events = [], [], []
    for number, name in enumerate(names):
        down = number % 3 == 0
        reason = "12 of 14 requests failed in 60 s (86%), after which the gateway said nothing more about it"
        verdicts.append(
            verdict(
                name,
                Status.DOWN if down else Status.HEALTHY,
                health_score=12.345678 + number,
                reported_health_score=100.0,
                circuit_breaker_state=float(down),
                open_circuits=float(down) * 10,
                circuits=10.0,
                error_rate=0.123456,
                availability=98.7654,
                latency_seconds=12.3456,
                latency_p95_seconds=123.456,
                request_rate=1234.567,
                evidence=[Evidence("status", 3.0, "status", "bridge", f"down: {reason}")],
            )
        )
        opened = T0 if down else None
        one = circuit(name, f"{name}/model", CircuitState.OPEN if down else CircuitState.CLOSED, reason=reason)
        circuits.append(replace(one, first_opened=opened, opens=(T0, T0 + 15) if down else ()))
        events.append(Event(AT, "circuit", name, f"{name}/model", "CLOSED", "OPEN", reason))
    return snapshot(AT, verdicts, circuits, rejected_lines=12), events


def tell(site: Site, names: list[str]) -> None:
    one, events = troubled(names)
    site.log.good(one, *events)


THIRTY = [f"provider-of-25-letters-{number:02d}" for number in range(30)]
assert {len(name) for name in THIRTY} == {25}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("names", [THIRTY, list(AWKWARD.values())], ids=["thirty", "awkward"])
def test_tables_fit_100_columns(empty: Site, table: str, names: list[str]) -> None:
    tell(empty, names)
    lines = empty.get(f"/query?target={table}&format=text").text.splitlines()
    assert len(lines) > len(names)
    assert [line for line in lines if width(line) > WIDTH] == []


@pytest.mark.parametrize("names", [THIRTY, list(AWKWARD.values())], ids=["thirty", "awkward"])
def test_series_fit_100_columns(empty: Site, names: list[str]) -> None:
    tell(empty, names)
    for target in ("provider_health_score", "model_circuit_breaker_state", "provider_status as {{provider}}"):
        lines = empty.client.get("/query", query_string={"target": target, "format": "text"}).text.splitlines()
        assert [line for line in lines if width(line) > WIDTH] == [], target


@pytest.mark.parametrize("names", [THIRTY, list(AWKWARD.values())], ids=["thirty", "awkward"])
def test_the_board_fits_100_columns(empty: Site, names: list[str]) -> None:
    tell(empty, names)
    assert [line for line in empty.get("/").text.splitlines() if width(line) > WIDTH] == []


def test_in_the_providers_table_every_provider_can_be_told_from_every_other(empty: Site) -> None:
    tell(empty, THIRTY)
    lines = empty.get("/query?target=providers&format=text").text.splitlines()[1:]
    names = [line.split()[0] for line in lines]
    assert len(set(names)) == len(THIRTY)


@pytest.mark.parametrize("name", AWKWARD.values(), ids=AWKWARD.keys())
def test_columns_stand_under_each_other_whatever_the_names_are(empty: Site, name: str) -> None:
    tell(empty, ["plain", name])
    title, *rows = empty.get("/query?target=providers&format=text").text.splitlines()
    for row in rows:
        begun = next(place for place, _ in enumerate(row) if width(row[:place]) == title.index("Status"))
        assert row[begun:].split()[0] in ("down", "healthy")


def test_a_name_is_not_broken_while_a_sentence_beside_it_can_be(empty: Site) -> None:
    model = "anthropic/claude-3-5-sonnet"
    status = Evidence("status", 2.0, "status", "bridge", "degraded: 1 of 4 circuits OPEN, " * 3)
    open_circuits = Evidence("open circuits", 1.0, "of 4", "circuit_breaker_state (gatewayz-data)")
    one = circuit("openrouter", model, CircuitState.OPEN, first_opened=T0, opens=(T0,))
    event = Event(AT, "circuit", "openrouter", model, "HALF_OPEN", "CLOSED", "reported by the gateway")
    told = Event(AT, "status", "openrouter", "", "degraded", "healthy", "no circuit OPEN, score 100.0")
    empty.log.good(
        snapshot(AT, [verdict("openrouter", Status.DEGRADED, evidence=[status, open_circuits])], [one]), event, told
    )
    for table in ("explain", "circuits", "transitions"):
        assert model in empty.get(f"/query?target={table}&format=text&from=now-1h").text, table


def test_columns_stand_under_their_titles(site: Site) -> None:
    title, *rows = site.get("/query?target=providers&format=text").text.splitlines()
    for heading, cells in (("Status", ["down", "degraded", "healthy"]), ("Circuit", ["OPEN", "OPEN", "CLOSED"])):
        column = title.index(heading)
        assert [row[column:].split()[0] for row in rows] == cells
    end = title.index("Score") + len("Score")
    assert [row[:end].split()[-1] for row in rows] == ["25.0", "86.0", "98.9"], "numbers stand under the title's end"


@pytest.mark.parametrize("name", AWKWARD.values(), ids=AWKWARD.keys())
@pytest.mark.parametrize("path", [*(f"/query?target={table}&format=text" for table in TABLES), "/"])
def test_nothing_in_an_answer_makes_a_terminal_do_anything(empty: Site, name: str, path: str) -> None:
    tell(empty, [name])
    text = empty.get(path).text
    bad = {c for c in text if c != "\n" and (unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs", "Co"))}
    assert bad == set()


def test_a_message_from_the_gateway_is_made_safe_too(site: Site) -> None:
    site.log.failed(NOW - 1, message=f"<html>{ESCAPES}\r\n\u202e")
    for path in ("/", "/query?target=providers&format=text"):
        text = site.get(path).text
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_the_board_has_its_three_answers_before_the_table_worst_first(site: Site) -> None:
    text = site.get("/").text
    now, opened, data, table = (text.index(word) for word in ("Now ", "Open ", "Data ", "Provider "))
    assert now < opened < data < table
    assert "down: groq; degraded: openrouter" in text
    assert "groq / llama-3.1-8b: OPEN for 35s, since 2027-01-15 08:00:30 UTC" in text
    assert "5s old (2027-01-15 08:01:00 UTC): 3 providers, 6 circuits" in text
    names = [line.split()[0] for line in text[table:].splitlines()[1:4]]
    assert names == ["groq", "openrouter", "openai"]


def test_what_is_not_known_is_a_dash_and_never_a_zero(empty: Site) -> None:
    empty.log.good(snapshot(AT, [verdict("new", Status.UNKNOWN)]))
    row = empty.get("/query?target=providers&format=text").text.splitlines()[1].split()
    assert row[:2] == ["new", "unknown"]
    assert set(row[2:-1]) == {"-"}


def test_states_are_words_in_text(site: Site) -> None:
    text = site.client.get(
        "/query",
        query_string={"target": ['provider_status{provider="groq"}', "fleet_open_circuits"], "format": "text"},
    ).text
    assert " down " in text
    text = site.client.get("/query", query_string={"target": "model_circuit_breaker_state", "format": "text"}).text
    assert {"OPEN", "CLOSED"} <= set(text.split())


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ('provider_health_score{provder="x"}', "! provider_health_score has no label 'provder'; what it has: provider"),
        ('circuits{status="OPEN"}', "! circuits has no label 'status'; what it has: provider, model, state"),
        ('gateway_up{provider="x"}', "! gateway_up has no label 'provider'; it has none"),
    ],
)
def test_who_asks_for_a_label_that_is_not_there_is_told(site: Site, target: str, told: str) -> None:
    text = site.client.get("/query", query_string={"target": target, "format": "text"}).text
    assert told in text.splitlines()
    assert "no label" not in site.get('/query?target=circuits{state="HALF_OPEN"}&format=text').text


def test_a_bad_target_among_others_is_told_in_a_line(site: Site) -> None:
    text = site.get("/query?target=gateway_up&target=gateway_down&format=text").text
    assert "! gateway_down: unknown metric" in text
    assert "gateway_up" in text.splitlines()[-1]
