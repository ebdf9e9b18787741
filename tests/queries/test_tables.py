"""Tables: a row a provider, circuit, event or number, worst first, and nothing said that is not known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bridge.history.store import Latest
from bridge.model import CircuitState, Event, Evidence, Poll, Snapshot, Status
from bridge.queries import tables
from bridge.queries.catalog import metric
from bridge.queries.series import Series
from bridge.queries.tables import Cell, Table
from bridge.queries.view import View, clock, duration
from tests.history.snapshots import INTERVAL, T0, circuit, snapshot, verdict

OPEN, HALF_OPEN, CLOSED = CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.CLOSED
STALE_AFTER = 45.0


def everything(_: Mapping[str, str]) -> bool:
    return True


def view(one: Snapshot | None, *, age: float = 5.0, failing_since: float | None = None) -> View:
    """What is known ``age`` seconds after T0, when ``one`` was polled."""
    if one is None:
        return View(T0 + age, None, STALE_AFTER)
    poll = Poll(T0, INTERVAL, "ok", "", 0.1)
    if failing_since is not None:
        poll = Poll(failing_since, INTERVAL, "timeout", "no answer within 10 s", 10.0)
    return View(T0 + age, Latest(1, poll, one, failing_since), STALE_AFTER)


def rows(table: Table) -> list[dict[str, Cell]]:
    titles = [column.title for column in table.columns]
    return [dict(zip(titles, row, strict=True)) for row in table.rows]


class TestProviders:
    def test_the_worst_stands_first(self) -> None:
        one = snapshot(
            T0,
            [
                verdict("b-healthy", health_score=99.0),
                verdict("a-healthy", health_score=99.0),
                verdict("poorly", health_score=81.0),
                verdict("no score"),
                verdict("degraded", Status.DEGRADED, health_score=99.0),
                verdict("down", Status.DOWN, health_score=70.0),
                verdict("further down", Status.DOWN, health_score=10.0),
                verdict("unknown", Status.UNKNOWN),
            ],
        )
        names = [row["Provider"] for row in rows(tables.providers(view(one), everything))]
        assert names == [
            *("further down", "down", "degraded", "unknown", "poorly"),
            *("a-healthy", "b-healthy", "no score"),
        ]

    def test_one_open_model_is_not_taken_for_all(self) -> None:
        one = snapshot(
            T0,
            [verdict("p", Status.DEGRADED, circuit_breaker_state=1.0, open_circuits=1.0, circuits=4.0)],
            [
                circuit("p", "a", OPEN, first_opened=T0 - 60),
                circuit("p", "b", HALF_OPEN, first_opened=T0 - 90),
                circuit("p", "c"),
                circuit("other", "d", OPEN, first_opened=T0 - 900),
            ],
        )
        [row] = rows(tables.providers(view(one), everything))
        assert (row["Circuit"], row["Open circuits"]) == ("OPEN", "1 of 4")
        assert row["Open since"] == (T0 - 90) * 1000, "since the longest outage that still lasts"

    def test_what_is_not_known_is_null(self) -> None:
        [row] = rows(tables.providers(view(snapshot(T0, [verdict("new", Status.UNKNOWN)])), everything))
        unknown = {title for title, cell in row.items() if cell is None}
        assert unknown == set(row) - {"Provider", "Status", "Data age"}

    def test_once_stale_only_names_and_the_datas_age_are_known(self) -> None:
        one = snapshot(
            T0,
            [verdict("p", Status.DOWN, health_score=1.0, circuit_breaker_state=1.0, open_circuits=1.0, circuits=1.0)],
            [circuit("p", "m", OPEN, first_opened=T0)],
        )
        [row] = rows(tables.providers(view(one, age=46.0), everything))
        assert {title: cell for title, cell in row.items() if cell is not None} == {
            "Provider": "p",
            "Status": "unknown",
            "Data age": 46.0,
            "Why": "no poll since 2027-01-15 08:00:00 UTC (46s): the poller is not running",
        }

    def test_a_row_says_why_the_status_is_what_it_is(self) -> None:
        why = Evidence("status", 3.0, "status", "bridge", "down: its circuit is OPEN: reported")
        [row] = rows(tables.providers(view(snapshot(T0, [verdict("p", Status.DOWN, evidence=[why])])), everything))
        assert row["Why"] == "its circuit is OPEN: reported"

    def test_rows_can_be_chosen_by_provider_and_status(self) -> None:
        one = snapshot(T0, [verdict("a"), verdict("b", Status.DOWN)])
        for label, value, chosen in (("provider", "a", "a"), ("status", "down", "b")):
            [row] = rows(tables.providers(view(one), lambda labels, key=label, is_=value: labels[key] == is_))
            assert row["Provider"] == chosen

    def test_before_the_first_poll_the_columns_stand_alone(self) -> None:
        table = tables.providers(view(None), everything)
        assert (len(table.columns), list(table.rows)) == (18, [])


class TestCircuits:
    def test_the_worst_and_longest_stand_first(self) -> None:
        one = snapshot(
            T0,
            [],
            [
                circuit("a", "closed", since=T0 - 900),
                circuit("a", "not known", None),
                circuit("a", "half-open", HALF_OPEN),
                circuit("a", "open", OPEN, since=T0 - 10),
                circuit("a", "open longer", OPEN, since=T0 - 100),
            ],
        )
        found = rows(tables.circuits(view(one), everything))
        assert [row["Model"] for row in found] == ["open longer", "open", "half-open", "not known", "closed"]
        assert [row["State"] for row in found] == ["OPEN", "OPEN", "HALF_OPEN", "unknown", "CLOSED"]

    def test_a_row_says_since_when_how_often_who_and_why(self) -> None:
        one = snapshot(
            T0,
            [],
            [circuit("a", "m", HALF_OPEN, since=T0 - 5, first_opened=T0 - 95, opens=(T0 - 95, T0 - 50), reason="why")],
        )
        [row] = rows(tables.circuits(view(one), everything))
        assert row == {
            "Provider": "a",
            "Model": "m",
            "State": "HALF_OPEN",
            "Since": (T0 - 5) * 1000,
            "For": 10.0,
            "First opened": (T0 - 95) * 1000,
            "Opens 24h": 2,
            "Source": "gateway",
            "Reason": "why",
        }

    def test_a_breaker_of_the_whole_provider_is_called_so(self) -> None:
        [row] = rows(tables.circuits(view(snapshot(T0, [], [circuit("a")])), everything))
        assert row["Model"] == "(whole provider)"

    def test_a_circuit_seen_for_the_first_time_may_have_been_so_for_longer(self) -> None:
        at_first_sight = snapshot(T0, [], [replace(circuit("a", "m", OPEN), since_known=False)])
        [row] = rows(tables.circuits(view(at_first_sight), everything))
        assert "maybe longer" in str(row["Reason"])
        watched = snapshot(T0, [], [circuit("a", "m", OPEN)])
        [row] = rows(tables.circuits(view(watched), everything))
        assert "maybe longer" not in str(row["Reason"])

    def test_rows_can_be_chosen_by_state(self) -> None:
        one = snapshot(T0, [], [circuit("a", "x", OPEN), circuit("a", "y")])
        [row] = rows(tables.circuits(view(one), lambda labels: labels["state"] == "OPEN"))
        assert row["Model"] == "x"

    def test_once_stale_no_state_is_known(self) -> None:
        [row] = rows(tables.circuits(view(snapshot(T0, [], [circuit("a", "m", OPEN)]), age=46.0), everything))
        assert (row["State"], row["Since"], row["For"]) == ("unknown", None, None)


class TestTransitions:
    EVENTS = (
        Event(T0, "circuit", "a", "m", "", "CLOSED", "first seen"),
        Event(T0 + 1, "circuit", "a", "m", "CLOSED", "OPEN", "failures"),
        Event(T0 + 2, "roster", "b", "", "absent", "present", "first seen"),
        Event(T0 + 3, "circuit", "a", "m", "OPEN", "", "no longer there"),
        Event(T0 + 4, "circuit", "b", "m", "CLOSED", "", "no longer there"),
        Event(T0 + 5, "gateway", "", "", "up", "down", "timeout"),
    )

    def test_the_newest_stands_first_and_what_is_no_news_is_left_out(self) -> None:
        found = rows(tables.transitions(self.EVENTS, everything))
        assert [(row["Kind"], row["From"], row["To"]) for row in found] == [
            ("gateway", "up", "down"),
            ("circuit", "OPEN", ""),
            ("roster", "absent", "present"),
            ("circuit", "CLOSED", "OPEN"),
        ]
        assert found[-1]["Time"] == (T0 + 1) * 1000

    def test_a_circuit_that_is_open_at_its_first_sight_is_news(self) -> None:
        opened = Event(T0, "circuit", "a", "m", "", "OPEN", "reported")
        assert len(tables.transitions([opened], everything).rows) == 1

    @pytest.mark.parametrize(
        ("label", "value", "count"), [("provider", "a", 2), ("kind", "roster", 1), ("model", "m", 2)]
    )
    def test_rows_can_be_chosen_by_their_labels(self, label: str, value: str, count: int) -> None:
        assert len(tables.transitions(self.EVENTS, lambda labels: labels[label] == value).rows) == count


class TestExplain:
    ONE = snapshot(
        T0,
        [
            verdict(
                "a",
                evidence=[
                    Evidence("status", 1.0, "status", "bridge", "healthy: no circuit OPEN"),
                    Evidence("error rate", None, "ratio", "error_rate", "set aside: why", 0.0),
                ],
            ),
            verdict("b"),
        ],
        [circuit("a", "m", OPEN, opens=(T0,)), circuit("b", "m")],
    )

    def explained(self, seen: View) -> list[dict[str, Cell]]:
        return rows(tables.explain(seen, lambda labels: labels["provider"] == "a"))

    def test_each_number_stands_with_what_was_published_its_source_and_the_reason(self) -> None:
        status, error_rate, breaker = self.explained(view(self.ONE))
        assert (status["What"], status["Value"], status["State"], status["Age"]) == ("status", 1.0, "healthy", 5.0)
        assert error_rate["State"] == ""
        assert (error_rate["Value"], error_rate["Published"]) == (None, 0.0)
        assert (error_rate["Source"], error_rate["Note"]) == ("error_rate", "set aside: why")
        assert (breaker["What"], breaker["Value"], breaker["State"]) == ("circuit m", 1.0, "OPEN")
        assert breaker["Source"] == "gateway"
        assert "1 opening in 24 h" in str(breaker["Note"])

    def test_once_stale_it_speaks_of_the_last_good_poll_and_gives_no_value(self) -> None:
        found = self.explained(view(self.ONE, age=60.0, failing_since=T0 + 15))
        assert {row["Value"] for row in found} == {None}
        assert [row["State"] for row in found] == ["unknown", "", "unknown"]
        assert "last good poll" in str(found[0]["Note"])
        assert "no answer within 10 s" in str(found[0]["Note"])


class TestFreshness:
    """One row that says in words whether what is shown is of now."""

    ONE = snapshot(T0)

    @pytest.mark.parametrize(
        ("seen", "row"),
        [
            (view(ONE), ("fresh", T0 * 1000, 5.0, "5s old")),
            (
                view(ONE, age=10.0, failing_since=T0 + 5),
                (
                    "fresh",
                    T0 * 1000,
                    10.0,
                    "10s old; gateway unreachable since 2027-01-15 08:00:05 UTC (5s): no answer within 10 s [timeout]",
                ),
            ),
            (
                view(ONE, age=65.0, failing_since=T0 + 15),
                (
                    "stale",
                    T0 * 1000,
                    65.0,
                    "gateway unreachable since 2027-01-15 08:00:15 UTC (50s): no answer within 10 s [timeout]",
                ),
            ),
            (view(None), ("never read", None, None, "no poll yet: the bridge has just started")),
        ],
        ids=["fresh", "one missed poll", "stale", "never read"],
    )
    def test_it_is_fresh_stale_or_was_never_read(self, seen: View, row: tuple[Cell, ...]) -> None:
        table = tables.freshness(seen)
        assert [column.title for column in table.columns] == ["State", "Since", "Age", "Text"]
        assert [tuple(its) for its in table.rows] == [row]


def test_a_series_as_a_table_is_its_labels_and_its_last_value() -> None:
    series = [
        Series({"provider": "a"}, np.array([T0, T0 + 15]), np.array([1.0, np.nan])),
        Series({"provider": "b"}, np.empty(0), np.empty(0)),
    ]
    table = tables.of_series(metric("provider_health_score"), series)
    assert [column.title for column in table.columns] == ["Time", "provider", "Value"]
    assert list(table.rows) == [[(T0 + 15) * 1000, "a", None]]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-5, "0s"),
        (0, "0s"),
        (59.4, "59s"),
        (59.9, "1m00s"),
        (149.6, "2m30s"),
        (60, "1m00s"),
        (185, "3m05s"),
        (3599.4, "59m59s"),
        (3599.5, "1h00m"),
        (3631, "1h01m"),
        (7620, "2h07m"),
        (86_369, "23h59m"),
        (86_399, "1d00h"),
        (86_400, "1d00h"),
        (1e6, "11d14h"),
    ],
)
def test_lengths_of_time_are_told_in_two_units(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_times_are_told_in_utc() -> None:
    assert clock(T0) == "2027-01-15 08:00:00 UTC"


class TestTrouble:
    """One line on why values are missing, or about to be."""

    ONE = snapshot(T0)

    @pytest.mark.parametrize(
        ("seen", "said"),
        [
            (view(None), ["no poll yet"]),
            (view(ONE, age=10, failing_since=T0 + 5), ["since 2027-01-15 08:00:05 UTC (5s)", "no answer within 10 s"]),
            (view(ONE, age=100), ["no poll since 2027-01-15 08:00:00 UTC (1m40s)"]),
            (view(ONE), []),
        ],
    )
    def test_it_says_since_when_and_why(self, seen: View, said: list[Any]) -> None:
        assert bool(seen.trouble) == bool(said)
        assert "\n" not in seen.trouble
        for words in said:
            assert words in seen.trouble
