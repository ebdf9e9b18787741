"""The tables of incidents and uptimes, asked as a client asks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge.health.incidents import Watch
from bridge.history.store import Latest, Store
from bridge.model import FLEET, Incident, Poll, Status
from bridge.queries import incidents
from bridge.queries.answer import Ask, Request, answer
from bridge.queries.budget import Budget
from bridge.queries.series import Steps
from bridge.queries.timerange import TimeRange
from bridge.queries.view import View
from tests.history.snapshots import INTERVAL, T0, incident, memory_of, snapshot, verdict

DAY = 86_400.0


@pytest.fixture
def store(tmp_path: Path) -> Iterable[Store]:
    made = Store(tmp_path, retention_seconds=7 * DAY)
    yield made
    made.close()


def tell(store: Store, at: float, *told: Incident, **watched: Any) -> View:
    """Write a good poll down that brought these; what is known at its time."""
    lasting = tuple(one for one in told if not one.over)
    seen = replace(snapshot(at, [verdict("groq", request_rate=1.0)]), incidents=lasting)
    watch = Watch(told=told, incidents={one.provider: one for one in lasting}, **watched)
    poll = Poll(at, INTERVAL, "ok", "", 0.1, steady=at)
    store.append(poll, failing_since=None, snapshot=seen, memory=replace(memory_of(seen), watch=watch))
    return View(at, store.latest(), 45.0)


def rows(store: Store, view: View, target: str, span: TimeRange | None = None) -> list[dict[str, Any]]:
    [found] = answer(Request((Ask(target),), span, Steps(1, 0.0)), view, store, None, Budget())
    assert found.table is not None, found.error
    titles = [column.title for column in found.table.columns]
    return [dict(zip(titles, row, strict=True)) for row in found.table.rows]


def test_an_incident_is_a_row_with_all_there_is_to_know(store: Store) -> None:
    one = incident(
        "groq", T0 + 100, 720, requests=1030.0, failed=412.0, affected=("a", "b"), reached=2, among=3, number=4
    )
    [row] = rows(store, tell(store, T0 + 900, one), "incidents")
    assert row == {
        "Start": (T0 + 100) * 1000,
        "End": (T0 + 820) * 1000,
        "Provider": "groq",
        "Status": "down",
        "Phase": "over",
        "Kind": "regression",
        "Number": 4,
        "Bad for": 720.0,
        "Failed": 412.0,
        "Requests": 1030.0,
        "Affected": "a, b",
        "Among": 3,
        "Cause": "12 of 80 requests failed in 2 min (15 %)",
        "Told": "12 of 80 requests failed in 2 min (15 %); 2 of 3 models: a, b; 412 of 1,030 requests failed;"
        " recurring: the 4th within 24 h",
        "Fleet incident": None,
        "Recurring": "recurring",
        "Pages": "yes",
    }


def test_what_lasts_has_no_end_and_is_longer_by_the_time_since_the_poll(store: Store) -> None:
    view = replace(tell(store, T0 + 60, incident("groq", T0, 60, lasts=True)), now=T0 + 67)
    [row] = rows(store, view, "incidents")
    assert (row["End"], row["Phase"], row["Kind"], row["Bad for"]) == (None, "ongoing", "too early to say", 67.0)


def test_once_the_data_is_stale_nobody_knows_whether_it_lasts(store: Store) -> None:
    view = replace(tell(store, T0 + 60, incident("groq", T0, 60, lasts=True)), now=T0 + 200)
    [row] = rows(store, view, "incidents")
    assert (row["Phase"], row["Bad for"]) == ("not known", 60.0)


def test_the_newest_stands_first_and_parts_of_the_fleets_under_it(store: Store) -> None:
    names = ("a", "b", "c", "d")
    fleet = incident(FLEET, T0 + 100, 60, affected=names, reached=4, among=6)
    parts = [incident(name, T0 + 100 + place, 60, fleet=T0 + 100, pages=False) for place, name in enumerate(names)]
    view = tell(store, T0 + 900, incident("before", T0, 60), fleet, *parts, incident("between", T0 + 101.5, 60))
    found = rows(store, view, "incidents")
    assert [row["Provider"] for row in found] == ["between", "the fleet", "a", "b", "c", "d", "before"]
    assert {row["Fleet incident"] for row in found[2:6]} == {(T0 + 100) * 1000}
    assert [row["Pages"] for row in found[:3]] == ["yes", "yes", "no"]
    assert [row["Provider"] for row in rows(store, view, 'incidents{provider="b"}')] == ["the fleet", "b"]


def test_rows_are_chosen_by_provider_status_and_phase(store: Store) -> None:
    degraded = incident("openai", T0 + 800, 60, peak=Status.DEGRADED, lasts=True)
    view = tell(store, T0 + 860, incident("groq", T0, 60), degraded)
    for target, names in {
        'incidents{provider=~"o.*"}': ["openai"],
        'incidents{status="down"}': ["groq"],
        'incidents{phase="ongoing"}': ["openai"],
        'incidents{phase!="ongoing",status="degraded"}': [],
    }.items():
        assert [row["Provider"] for row in rows(store, view, target)] == names, target


def test_a_range_holds_those_that_overlap_it_and_without_one_it_is_seven_days(store: Store) -> None:
    view = tell(store, T0 + 8 * DAY, incident("old", T0, 60), incident("groq", T0 + 2 * DAY, 60))
    assert [row["Provider"] for row in rows(store, view, "incidents")] == ["groq"]
    assert [row["Provider"] for row in rows(store, view, "incidents", TimeRange(T0 + 60, T0 + 90))] == ["old"]


def test_one_that_the_log_does_not_hold_yet_is_told_all_the_same(store: Store) -> None:
    view = tell(store, T0, incident("groq", T0 - 60, 60, lasts=True))
    assert view.latest is not None
    assert view.latest.snapshot is not None
    newer = replace(view.latest.snapshot, at=T0 + 15, incidents=(incident("groq", T0 - 60, 75, lasts=True),))
    unwritten = Latest(1, view.latest.poll, newer, None, None, "the disk is full")
    [row] = rows(store, View(T0 + 15, unwritten, 45.0), "incidents")
    assert row["Bad for"] == 75.0


def test_uptime_is_a_row_a_provider_and_span(store: Store) -> None:
    tell(store, T0, passed={})
    tell(store, T0 + 90_000, passed={"groq": Status.DOWN}, known_seconds=1.0, unknown_seconds=30.0)
    view = tell(store, T0 + 180_000, passed={"groq": Status.HEALTHY}, known_seconds=99_999.0)
    found = rows(store, view, 'uptime{provider="groq"}')
    assert [row["Span"] for row in found] == ["24h", "7d", "30d"]
    assert found[1] == {
        "Provider": "groq",
        "Span": "7d",
        "Uptime": 99.99,
        "Healthy": 99.99,
        "Known for": 100_000.0,
        "Unknown for": 30.0,
        "Degraded for": 0.0,
        "Down for": 1.0,
    }, "what is not all of it is not rounded up to it"
    [row] = rows(store, view, "providers")
    assert row["Uptime 7d"] == 99.99
    assert row["Uptime 24h"] == 100.0


def test_the_last_success_of_a_provider_is_known_where_it_is_counted(store: Store) -> None:
    seen = snapshot(T0, [replace(verdict("groq"), last_success=T0 - 20), verdict("xai")])
    poll = Poll(T0, INTERVAL, "ok", "", 0.1, steady=T0)
    store.append(poll, failing_since=None, snapshot=seen, memory=memory_of(seen))
    view = View(T0, store.latest(), 45.0)
    assert [row["Last success"] for row in rows(store, view, "providers")] == [(T0 - 20) * 1000, None]
    assert rows(store, replace(view, now=T0 + 100), "providers")[0]["Last success"] is None


def test_names_are_told_and_not_endlessly_many() -> None:
    def reach(*names: str, among: int) -> str:
        return incidents.reach(incident("groq", T0, 60, affected=names, reached=len(names), among=among))

    assert reach("a", among=4) == "one model of 4: a"
    assert reach("a", among=1) == "its only model, a"
    assert reach("a", "b", among=2) == "all 2 models: a, b"
    assert reach(*"abcdefg", among=9) == "7 of 9 models: a, b, c, d, e and 2 more"
    assert reach(among=9) == ""
