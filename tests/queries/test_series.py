"""Ranges and latest values: every point was observed, the worst of each step is shown, and lines break at gaps."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.history import columns
from bridge.history.codec import poll_numbers
from bridge.history.columns import Columns
from bridge.history.segment import PollRow
from bridge.history.store import Latest
from bridge.model import CircuitState, Key, Poll, Status
from bridge.queries.catalog import METRICS, metric
from bridge.queries.series import (
    Recorded,
    Series,
    Steps,
    current,
)
from bridge.queries.severity import CIRCUIT_SEVERITY, STATUS_SEVERITY
from bridge.queries.targets import TargetError, matcher, parse
from bridge.queries.thinning import step_numbers
from bridge.queries.timerange import TimeRange
from bridge.queries.view import View
from tests.history.snapshots import INTERVAL, T0, circuit, columns_of, poll_row, snapshot, verdict

SCORE, ERRORS, STATE = "provider_health_score", "provider_error_rate", "provider_circuit_breaker_state"


@dataclass
class Log:
    """A log in memory: all that a range reads of a store."""

    rows: list[PollRow] = field(default_factory=list)

    def polls(self, start: float, end: float) -> list[PollRow]:
        return [row for row in self.rows if start <= row.at <= end]

    def columns(self, start: float, end: float, now: float | None = None) -> Columns:
        return columns_of(self.polls(start, end), end)

    def add(self, at: float, interval: float = INTERVAL, **values: float | None) -> None:
        """A good poll in which openai had these values (score, error_rate…)."""
        one = snapshot(at, [verdict("openai", **values)])
        layout, numbers = poll_numbers(one)
        self.rows.append(poll_row(at, interval, "ok", 0.1, layout, numbers))

    def fail(self, at: float, interval: float = INTERVAL) -> None:
        self.rows.append(poll_row(at, interval, "refused", 0.5, None, None))


def asked(
    log: Log,
    name: str,
    *,
    start: float = T0,
    end: float = T0 + 86_400,
    now: float | None = None,
    max_points: int = 1000,
    interval: float = 0.0,
    target: str = "",
) -> list[Series]:
    """A metric's series over a range."""
    recorded = Recorded(log, TimeRange(start, end), Steps(max_points, interval), end if now is None else now)  # type: ignore[arg-type]
    return recorded.series(metric(name), parse(target or name), [])


def points(log: Log, name: str, **more: Any) -> list[tuple[float | None, float]]:
    """The points of the one series there is, times counted from T0."""
    [series] = asked(log, name, **more)
    return [(value, at - T0) for value, at in series.points]


def scored(*scores: float | str | None, every: float = INTERVAL) -> Log:
    """A log of a poll every so many seconds, with these scores; ``"failed"`` is a failed one, ``"missed"`` none."""
    log = Log()
    for number, score in enumerate(scores):
        at = T0 + every * number
        if score == "failed":
            log.fail(at, every)
        elif not isinstance(score, str):
            log.add(at, every, health_score=score)
    return log


class TestGaps:
    def test_a_failed_poll_is_one_null_at_its_own_time(self) -> None:
        log = scored(90, "failed", 80)
        assert points(log, SCORE, now=T0 + 31) == [(90, 0), (None, 15), (80, 30)]

    def test_a_missed_poll_is_a_gap_not_a_zero(self) -> None:
        log = scored(90, "missed", 80)
        assert points(log, SCORE, now=T0 + 31) == [(90, 0), (None, 15), (80, 30)]

    def test_a_long_outage_is_one_null_too(self) -> None:
        log = scored(90, *["failed"] * 20, 80)
        assert points(log, SCORE, now=T0 + 316) == [(90, 0), (None, 15), (80, 315)]

    def test_a_value_that_is_not_known_is_a_gap(self) -> None:
        log = scored(90, None, 80)
        assert points(log, SCORE, now=T0 + 31) == [(90, 0), (None, 15), (80, 30)]

    def test_a_gap_at_the_end_breaks_the_line_there(self) -> None:
        assert points(scored(90, "failed"), SCORE, now=T0 + 16) == [(90, 0), (None, 15)]
        assert points(scored(90), SCORE, now=T0 + 100) == [(90, 0), (None, 15)]

    def test_one_that_has_not_begun_yet_has_no_gap_before_it(self) -> None:
        assert points(scored(None, None, 80), SCORE, now=T0 + 31) == [(80, 30)]

    def test_nothing_but_gaps_is_one_null(self) -> None:
        assert points(scored(None, None), SCORE, now=T0 + 16) == [(None, 15)]

    def test_a_gap_shows_however_far_one_zooms_out(self) -> None:
        log = scored(*[90.0] * 500, "failed", *[80.0] * 500)
        for most in (1000, 100, 10):
            [series] = asked(log, SCORE, max_points=most, now=T0 + 1001 * INTERVAL)
            values = [value for value, _ in series.points]
            assert values.count(None) == 1, most
            assert values[0] is not None
            assert values[-1] == 80.0


class TestWorst:
    @pytest.mark.parametrize(
        ("name", "values", "worst"),
        [
            (SCORE, [90, 20, 80], 20),
            ("provider_availability", [100, 50, 75], 50),
            (ERRORS, [0.1, 0.9, 0.2], 0.9),
            ("provider_latency_p95_seconds", [1, 9, 2], 9),
            ("provider_open_circuits", [0, 3, 1], 3),
            (STATE, [0, 2, 0], 2),
            (STATE, [2, 1, 2], 1),
            (STATE, [0, 1, 2], 1),
            ("provider_status", [1, 3, 2], 3),
            ("provider_status", [1, 0, 1], 0),
            ("provider_status", [0, 2, 0], 2),
        ],
    )
    def test_zooming_out_keeps_the_worst_point_of_each_step_at_its_own_time(
        self, name: str, values: list[float], worst: float
    ) -> None:
        log = Log()
        for number, value in enumerate(values):
            log.add(T0 + INTERVAL * number, **{name.removeprefix("provider_"): float(value)})
        place = values.index(worst)
        assert points(log, name, max_points=1, now=T0 + 31) == [(worst, INTERVAL * place)]

    def test_of_equally_bad_points_the_first_is_shown(self) -> None:
        assert points(scored(90, 20, 20), SCORE, max_points=1, now=T0 + 31) == [(20, 15)]

    def test_steps_lie_on_a_grid_that_does_not_move_with_the_range(self) -> None:
        log = scored(*[float(number % 7) for number in range(400)])
        shown = [
            set(points(log, SCORE, start=T0 + shift, end=T0 + 3000 + shift, max_points=50))
            for shift in (0.0, 1.0, 7.0, 15.0)
        ]
        inner = [{point for point in one if 100 < point[1] < 2900} for one in shown]
        assert all(one == inner[0] for one in inner), "points jump about while a dashboard refreshes"

    def test_polls_as_sparse_as_the_steps_are_all_shown(self) -> None:
        log = scored(*[float(number) for number in range(100)])
        assert len(points(log, SCORE, max_points=100, now=T0 + 99 * 15 + 1)) == 100
        assert len(points(log, SCORE, max_points=1000, interval=15.0, now=T0 + 99 * 15 + 1)) == 100

    def test_a_wider_interval_makes_wider_steps(self) -> None:
        log = scored(*[float(number) for number in range(100)])
        assert len(points(log, SCORE, interval=150.0, now=T0 + 99 * 15 + 1)) == pytest.approx(10, abs=1)


class TestOfTheGateway:
    @pytest.fixture
    def log(self) -> Log:
        return scored(90, "failed", "missed", 80)

    def test_up_is_0_at_failed_polls_and_not_known_where_nobody_polled(self, log: Log) -> None:
        assert points(log, "gateway_up", now=T0 + 46) == [(1, 0), (0, 15), (None, 30), (1, 45)]

    def test_the_datas_age_counts_from_the_last_good_poll(self, log: Log) -> None:
        assert points(log, "gateway_data_age_seconds", now=T0 + 46) == [(0, 0), (15, 15), (None, 30), (0, 45)]

    def test_poll_seconds_are_those_of_every_poll(self, log: Log) -> None:
        assert points(log, "gateway_poll_seconds", now=T0 + 46) == [(0.1, 0), (0.5, 15), (None, 30), (0.1, 45)]

    def test_providers_are_counted_by_status_and_a_failed_poll_counts_nobody(self) -> None:
        log = Log()
        for number, statuses in enumerate(([1, 1, 3], None, [1, 2, 3])):
            at = T0 + INTERVAL * number
            if statuses is None:
                log.fail(at)
                continue
            layout, numbers = poll_numbers(snapshot(at, [verdict(f"p{i}", Status(s)) for i, s in enumerate(statuses)]))
            log.rows.append(poll_row(at, INTERVAL, "ok", 0.1, layout, numbers))
        by_status = {
            series.labels["status"]: [value for value, _ in series.points]
            for series in asked(log, "fleet_providers", now=T0 + 31)
        }
        assert by_status == {
            "unknown": [0, None, 0],
            "healthy": [2, None, 1],
            "degraded": [0, None, 1],
            "down": [1, None, 1],
        }


class TestModels:
    def test_states_are_those_of_the_polls(self) -> None:
        log = Log()
        for number, state in enumerate((CircuitState.CLOSED, CircuitState.OPEN, None, CircuitState.OPEN)):
            at = T0 + INTERVAL * number
            one = snapshot(at, circuits=[circuit("openai", "gpt", state), circuit("openai", state=CircuitState.OPEN)])
            log.rows.append(poll_row(at, INTERVAL, "ok", 0.1, *poll_numbers(one)))
        [series] = asked(log, "model_circuit_breaker_state", now=T0 + 46)
        assert series.labels == {"provider": "openai", "model": "gpt"}
        assert [(value, at - T0) for value, at in series.points] == [(0, 0), (1, 15), (None, 30), (1, 45)]

    def test_error_rates_are_those_of_the_polls(self) -> None:
        log = Log()
        layout, numbers = poll_numbers(snapshot(T0, model_error_rates={Key("openai", "gpt"): 0.25}))
        log.rows.append(poll_row(T0, INTERVAL, "ok", 0.1, layout, numbers))
        [series] = asked(log, "model_error_rate", now=T0 + 1)
        assert (dict(series.labels), list(series.points)) == ({"provider": "openai", "model": "gpt"}, [(0.25, T0)])

    def test_thousands_are_answered_in_little_more_memory_than_their_values_take(self) -> None:
        log = Log()
        keys = [Key("openai", f"gpt-{number}") for number in range(5_000)]
        layout, numbers = poll_numbers(snapshot(T0, model_error_rates=dict.fromkeys(keys, 0.0)))
        for number in range(800):
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
        layout, numbers = poll_numbers(snapshot(T0, [verdict(name, health_score=1) for name in ("a", "b", "c")]))
        log.rows.append(poll_row(T0, INTERVAL, "ok", 0.1, layout, numbers))
        recorded = Recorded(log, TimeRange(T0, T0 + 1), Steps(10, 0.0), T0 + 1)  # type: ignore[arg-type]
        filters = [matcher("provider", "!=", "c"), matcher("model", "=", "a label it does not have")]
        chosen = recorded.series(metric(SCORE), parse(SCORE + '{provider=~"b|c"}'), filters)
        assert [series.labels["provider"] for series in chosen] == ["b"]

    @pytest.mark.parametrize(("start", "end"), [(T0 + 1, T0 + 2), (T0 - 100, T0 - 1), (T0 + 1000, T0 + 2000)])
    def test_a_range_without_polls_has_no_series(self, start: float, end: float) -> None:
        assert asked(scored(90), SCORE, start=start, end=end) == []

    def test_the_future_is_not_shown(self) -> None:
        log = scored(90, 80, 70)
        assert points(log, SCORE, now=T0 + 15) == [(90, 0), (80, 15)]


@st.composite
def histories(draw: st.DrawFn) -> Log:
    """Any history: good and failed polls, holes, providers that come and go, values not known, changed intervals."""
    log = Log()
    at = T0
    for _ in range(draw(st.integers(0, 40))):
        interval = draw(st.sampled_from([1.0, 15.0, 60.0]))
        at += interval * draw(st.sampled_from([1.0, 1.0, 1.0, 1.02, 1.7, 2.0, 9.5]))
        if draw(st.booleans()) and draw(st.booleans()):
            log.fail(at, interval)
            continue
        value = st.one_of(st.none(), st.sampled_from([0.0, 1.0, 2.0, 3.0]), st.floats(0, 100))
        names = draw(st.sets(st.sampled_from(["a", "b", "c"]), min_size=0))
        state = st.one_of(st.none(), st.sampled_from([0.0, 1.0, 2.0]))
        verdicts = [
            verdict(
                name,
                draw(st.sampled_from(Status)),
                health_score=draw(value),
                error_rate=draw(value),
                circuit_breaker_state=draw(state),
            )
            for name in names
        ]
        layout, numbers = poll_numbers(snapshot(at, verdicts))
        log.rows.append(poll_row(at, interval, "ok", 0.1, layout, numbers))
    return log


def badness(name: str, value: float) -> float:
    """How bad a value is, by what the metric is about; written apart from the code under test."""
    if name == STATE:
        return (0.0, 2.0, 1.0)[int(value)]
    if name == "provider_status":
        return (1.0, 0.0, 2.0, 3.0)[int(value)]
    return value if name == ERRORS else -value


def recorded_values(log: Log, name: str, provider: str, start: float, end: float) -> dict[float, float | None]:
    """What the log holds of one provider in a range, by time; None where it is not known."""
    found: dict[float, float | None] = {}
    for row in log.polls(start, end):
        found[row.at] = None
        if row.layout is not None and row.numbers is not None and provider in row.layout.provider.names:
            level = row.layout.provider
            place = level.metrics.index(name) * len(level.names) + level.names.index(provider)
            value = float(row.numbers[place])
            found[row.at] = None if math.isnan(value) else value
    return found


def missed(log: Log, start: float, end: float) -> list[tuple[float, float]]:
    """Pairs of neighbouring polls in a range, between which another one should have been."""
    rows = log.polls(start, end)
    return [
        (before.at, after.at)
        for before, after in pairwise(rows)
        if after.at - before.at > 1.75 * max(before.interval, after.interval)
    ]


class TestForAnyHistory:
    @settings(max_examples=150, deadline=None)
    @given(
        log=histories(),
        name=st.sampled_from([SCORE, ERRORS, STATE, "provider_status"]),
        begin=st.floats(-100, 2000),
        length=st.floats(0, 5000),
        most=st.sampled_from([1, 2, 3, 5, 10, 1000]),
        interval=st.sampled_from([0.0, 1.0, 15.0, 100.0]),
    )
    def test_points_are_what_was_observed(
        self, log: Log, name: str, begin: float, length: float, most: int, interval: float
    ) -> None:
        start, end = T0 + begin, T0 + begin + length
        for series in asked(log, name, start=start, end=end, max_points=most, interval=interval):
            recorded = recorded_values(log, name, series.labels["provider"], start, end)
            self.every_point_was_recorded(series.points, recorded, end)
            self.the_worst_is_among_them(series.points, recorded, name)
            self.lines_break_at_gaps_and_nowhere_else(series.points, recorded, missed(log, start, end))
            known = [value for value, _ in series.points if value is not None]
            assert len(known) <= most
            assert len(series.points) <= 2 * len(known) + 1

    def every_point_was_recorded(
        self, shown: Sequence[tuple[float | None, float]], recorded: dict[float, float | None], end: float
    ) -> None:
        times = [at for _, at in shown]
        assert times == sorted(set(times)), "times rise strictly"
        assert all(at <= end for at in times)
        for value, at in shown:
            if value is not None:
                assert recorded[at] == value
            else:
                assert recorded.get(at) is None

    def the_worst_is_among_them(
        self, shown: Sequence[tuple[float | None, float]], recorded: dict[float, float | None], name: str
    ) -> None:
        known = [value for value in recorded.values() if value is not None]
        values = [value for value, _ in shown if value is not None]
        assert bool(known) == bool(values)
        if known:
            assert max(badness(name, value) for value in values) == max(badness(name, value) for value in known)

    def lines_break_at_gaps_and_nowhere_else(
        self,
        shown: Sequence[tuple[float | None, float]],
        recorded: dict[float, float | None],
        holes: list[tuple[float, float]],
    ) -> None:
        places = [index for index, (value, _) in enumerate(shown) if value is not None]
        for first, second in pairwise(places):
            earlier, later = shown[first][1], shown[second][1]
            gap = any(value is None for at, value in recorded.items() if earlier < at < later) or any(
                earlier <= before and after <= later for before, after in holes
            )
            assert second - first == (2 if gap else 1)

    @settings(max_examples=250, deadline=None)
    @given(
        times=st.lists(st.floats(0, 100_000), min_size=1, max_size=60, unique=True).map(sorted),
        most=st.integers(1, 100),
        interval=st.sampled_from([0.0, 0.5, 15.0, 3600.0]),
    )
    def test_there_are_never_more_steps_than_points_asked_for(
        self, times: list[float], most: int, interval: float
    ) -> None:
        span = TimeRange(T0, T0 + 100_000)
        steps = step_numbers(np.array(times) + T0, span, most, interval)
        assert len(np.unique(steps)) <= most
        assert (np.diff(steps) >= 0).all()


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
        layout, numbers = poll_numbers(one)
        log.rows.append(poll_row(one.at, INTERVAL, "ok", 0.1, layout, numbers))
    monkeypatch.setattr(columns, "MOST_VALUES", 41)
    with pytest.raises(TargetError, match="3 series of 20 polls are too many") as refused:
        asked(log, SCORE, end=T0 + 285)
    assert "selector" in refused.value.hint
    assert [one.labels for one in asked(log, SCORE, end=T0 + 285, target=SCORE + '{provider=~"a|b"}')] == [
        {"provider": "a"},
        {"provider": "b"},
    ]
