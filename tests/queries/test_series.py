"""Ranges and latest values: every point was observed, the worst of each step is shown, and lines break at gaps."""

from __future__ import annotations

import tracemalloc

import pytest

from bridge.history import columns
from bridge.history.codec import poll_numbers
from bridge.history.store import Latest
from bridge.model import CircuitState, Key, Poll, Status
from bridge.queries.catalog import METRICS, metric
from bridge.queries.series import (
    Recorded,
    Steps,
    current,
)
from bridge.queries.severity import CIRCUIT_SEVERITY, STATUS_SEVERITY
from bridge.queries.targets import TargetError, matcher, parse
from bridge.queries.timerange import TimeRange
from bridge.queries.view import View
from tests.history.snapshots import INTERVAL, T0, circuit, poll_row, snapshot, verdict
from tests.queries.log import SCORE, Log, asked, points, scored, view_of


class TestModels:
    def test_states_are_those_of_the_polls(self) -> None:
        log = Log()
        for number, state in enumerate((CircuitState.CLOSED, CircuitState.OPEN, None, CircuitState.OPEN)):
            at = T0 + INTERVAL * number
            one = snapshot(at, circuits=[circuit("openai", "gpt", state), circuit("openai", state=CircuitState.OPEN)])
            log.good(one)
        [series] = asked(log, "model_circuit_breaker_state", now=T0 + 46)
        assert series.labels == {"provider": "openai", "model": "gpt"}
        assert [(value, at - T0) for value, at in series.points] == [(0, 0), (1, 15), (None, 30), (1, 45)]

    def test_error_rates_are_those_of_the_polls(self) -> None:
        log = Log()
        log.good(snapshot(T0, model_error_rates={Key("openai", "gpt"): 0.25}))
        [series] = asked(log, "model_error_rate", now=T0 + 1)
        assert (dict(series.labels), list(series.points)) == ({"provider": "openai", "model": "gpt"}, [(0.25, T0)])

    def test_thousands_are_answered_in_little_more_memory_than_their_values_take(self) -> None:
        log = Log()
        keys = [Key("openai", f"gpt-{number}") for number in range(5_000)]
        one = snapshot(T0, model_error_rates=dict.fromkeys(keys, 0.0))
        layout, numbers = poll_numbers(one)
        for number in range(800):
            log.snapshots[T0 + INTERVAL * number] = one
            log.rows.append(poll_row(T0 + INTERVAL * number, INTERVAL, "ok", 0.1, layout, numbers))
        tracemalloc.start()
        try:
            found = asked(log, "model_error_rate", now=T0 + INTERVAL * 800)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        values = 5_000 * 800 * 8
        assert len(found) == 5_000
        assert peak < 4 * values, f"{peak / values:.1f} times what the values take"


class TestSelecting:
    def test_targets_and_filters_choose_by_label(self) -> None:
        log = Log()
        log.good(snapshot(T0, [verdict(name, health_score=1) for name in ("a", "b", "c")]))
        recorded = Recorded(log, view_of(log, T0 + 1), TimeRange(T0, T0 + 1), Steps(10))  # type: ignore[arg-type]
        filters = [matcher("provider", "!=", "c"), matcher("model", "=", "a label it does not have")]
        chosen = recorded.series(metric(SCORE), parse(SCORE + '{provider=~"b|c"}'), filters)
        assert [series.labels["provider"] for series in chosen] == ["b"]

    @pytest.mark.parametrize(("start", "end"), [(T0 + 1, T0 + 2), (T0 - 100, T0 - 1), (T0 + 1000, T0 + 2000)])
    def test_a_range_of_the_past_without_polls_has_no_series(self, start: float, end: float) -> None:
        assert asked(scored(90), SCORE, start=start, end=end, now=T0 + 5000) == []

    def test_the_future_is_not_shown(self) -> None:
        log = scored(90, 80, 70)
        assert points(log, SCORE, now=T0 + 15) == [(90, 0), (80, 15)]


class TestCurrent:
    """Without a range: the latest value alone."""

    def view(self, *, age: float = 5.0, good: bool = True) -> View:
        one = snapshot(
            T0,
            [verdict("openai", health_score=99.0), verdict("groq", Status.DOWN, health_score=None)],
            [circuit("openai", "gpt"), circuit("groq", "llama", CircuitState.OPEN), circuit("groq", "q", None)],
            fleet={"fleet_cost_usd": 5.0},
            model_error_rates={Key("openai", "gpt"): 0.5},
        )
        poll = Poll(T0, INTERVAL, "ok" if good else "timeout", "", 0.2)
        return View(T0 + age, Latest(1, poll, one, None if good else T0), 45.0)

    def test_each_series_has_its_value_at_the_snapshots_time(self) -> None:
        series = current(self.view(), metric(SCORE), parse(SCORE), [])
        assert [(one.labels["provider"], list(one.points)) for one in series] == [
            ("groq", [(None, T0)]),
            ("openai", [(99.0, T0)]),
        ]

    def test_every_metric_there_is_can_be_asked_for(self) -> None:
        for name, its in METRICS.items():
            for series in current(self.view(), its, parse(name), []):
                assert set(series.labels) == set(its.labels), name
                assert len(series.points) == 1

    def test_a_circuit_of_unknown_state_is_null(self) -> None:
        name = "model_circuit_breaker_state"
        found = current(self.view(), metric(name), parse(name), [])
        assert {one.labels["model"]: one.points[0][0] for one in found} == {"gpt": 0.0, "llama": 1.0, "q": None}

    def test_once_stale_no_value_is_passed_off_as_new(self) -> None:
        stale = self.view(age=46.0)
        for name in (SCORE, "model_circuit_breaker_state", "model_error_rate", "fleet_cost_usd"):
            for series in current(stale, metric(name), parse(name), []):
                assert series.points == [(None, T0 + 46.0)], name

    def test_before_the_first_poll_there_are_no_providers_and_no_values(self) -> None:
        view = View(T0, None, 45.0)
        assert current(view, metric(SCORE), parse(SCORE), []) == []
        [series] = current(view, metric("fleet_health_score"), parse("fleet_health_score"), [])
        assert series.points == [(None, T0)]


def test_severities_agree_with_the_nouns() -> None:
    assert tuple(float(state.severity) for state in CircuitState) == CIRCUIT_SEVERITY
    assert len(STATUS_SEVERITY) == len(Status)


def test_what_does_not_fit_a_workers_memory_is_refused_and_a_part_of_it_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = Log()
    for number in range(20):
        one = snapshot(T0 + 15 * number, [verdict(name, health_score=90.0) for name in ("a", "b", "c")])
        log.good(one)
    monkeypatch.setattr(columns, "MOST_VALUES", 41)
    with pytest.raises(TargetError, match="3 series of 20 polls are too many") as refused:
        asked(log, SCORE, end=T0 + 285)
    assert "selector" in refused.value.hint
    assert [one.labels for one in asked(log, SCORE, end=T0 + 285, target=SCORE + '{provider=~"a|b"}')] == [
        {"provider": "a"},
        {"provider": "b"},
    ]
