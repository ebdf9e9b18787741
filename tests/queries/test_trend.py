"""Trends: worst of each step, breaks where nothing was known, and how long who was not well."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bridge.history.store import Store
from bridge.model import Status
from bridge.queries import trend
from bridge.queries.trend import SPANS_SECONDS, STEPS, Grid, TrendCache, Trends, lines
from bridge.queries.view import View
from tests.history.snapshots import INTERVAL, T0, Recorder, snapshot, verdict

QUARTER, DAY = SPANS_SECONDS[0], SPANS_SECONDS[-1]
WELL, BAD, DOWN = Status.HEALTHY, Status.DEGRADED, Status.DOWN


@pytest.fixture
def log(store: Store) -> Recorder:
    return Recorder(store)


def tell(log: Recorder, statuses: Sequence[Status | None], *, interval: float = INTERVAL, name: str = "x") -> float:
    """A poll for each status, None being one that failed; the time of the last."""
    scores = {WELL: 100.0, BAD: 70.0, DOWN: 20.0}
    for number, status in enumerate(statuses):
        at = T0 + interval * number
        if status is None:
            log.failed(at, interval=interval)
        else:
            log.good(snapshot(at, [verdict(name, status, health_score=scores[status])]), interval=interval)
    return T0 + interval * (len(statuses) - 1)


def trends(log: Recorder, now: float) -> Trends:
    return TrendCache().trends(log.store, View(now, log.store.latest(), 45.0))


def test_a_young_history_is_shown_large_and_an_old_one_as_a_day(log: Recorder) -> None:
    tell(log, [WELL])
    for age, span in ((10.0, 900.0), (800.0, 900.0), (1000.0, 3600.0), (5 * 3600.0, 6 * 3600.0), (3e5, DAY)):
        assert trends(log, T0 + age).grid.span_seconds == span


def test_of_more_than_can_be_afforded_the_span_is_shorter_and_who_is_present_comes_first(
    log: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(200):
        names = [f"{number:03}-gone", "here"] if number < 199 else ["here"]
        log.good(snapshot(T0 + INTERVAL * number, [verdict(name, BAD, health_score=70.0) for name in names]))
    now = T0 + INTERVAL * 199 + 1
    assert trends(log, now).grid.span_seconds == 3600.0
    monkeypatch.setattr(trend, "MOST_VALUES", 5_000)
    afforded = trends(log, now)
    assert afforded.grid.span_seconds == QUARTER
    assert len(afforded.lines) > 50
    monkeypatch.setattr(trend, "MOST_VALUES", 100)
    assert set(trends(log, now).lines) == {"here"}


def test_every_point_lies_on_the_axis_and_the_newest_at_its_end(log: Recorder) -> None:
    now = tell(log, [WELL] * 50) + 1
    line = trends(log, now).lines["x"]
    assert list(line.places) == sorted(line.places)
    assert min(line.places) >= 0
    assert max(line.places) == STEPS - 1


def test_a_step_shows_the_worst_that_was_seen_in_it(log: Recorder) -> None:
    now = tell(log, [WELL] * 200 + [DOWN] + [WELL] * 200, interval=300.0) + 1
    line = trends(log, now).lines["x"]
    assert len(line.values) <= STEPS
    assert (line.worst, line.worst_at) == (20.0, T0 + 200 * 300.0)
    assert list(line.values).count(20.0) == 1


def test_of_several_lowest_points_the_newest_is_told(log: Recorder) -> None:
    now = tell(log, [DOWN, WELL, DOWN, WELL])
    assert trends(log, now).lines["x"].worst_at == T0 + 2 * INTERVAL


def test_failed_polls_and_times_without_polls_are_breaks(log: Recorder) -> None:
    tell(log, [WELL, WELL, None, WELL])
    log.good(snapshot(T0 + 400.0, [verdict("x", health_score=100.0)]))
    values = list(trends(log, T0 + 401.0).lines["x"].values)
    assert values == [100.0, 100.0, None, 100.0, None, 100.0]


def test_a_line_that_is_not_known_any_more_does_not_reach_the_end(log: Recorder) -> None:
    now = tell(log, [WELL, WELL, None, None])
    line = trends(log, now).lines["x"]
    assert list(line.values) == [100.0, 100.0, None]


def test_without_any_history_there_is_nothing(store: Store) -> None:
    found = TrendCache().trends(store, View(T0, None, 45.0))
    assert found.lines == {}


def test_they_are_worked_out_once_a_poll(log: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    now = tell(log, [WELL] * 3)
    read: list[float] = []
    columns = Store.columns
    monkeypatch.setattr(Store, "columns", lambda self, *range_: (read.append(range_[1]), columns(self, *range_))[1])
    cache = TrendCache()

    def ask(at: float) -> Trends:
        return cache.trends(log.store, View(at, log.store.latest(), 45.0))

    assert ask(now) is ask(now + 0.5)
    assert len(read) == 1
    log.good(snapshot(now + 3, [verdict("x", health_score=1.0)]))
    assert ask(now + 3).lines["x"].worst == 1.0
    assert len(read) == 2


def test_one_providers_lines_are_its_own_whatever_its_name_looks_like(log: Recorder) -> None:
    for name in ('a"b', "a.*"):
        log.good(snapshot(T0 + (name == "a.*"), [verdict(name, health_score=50.0, error_rate=0.5)]))
    found = lines(
        log.store,
        View(T0 + 2, log.store.latest(), 45.0),
        Grid(QUARTER, T0 + 2),
        ["provider_health_score", "provider_error_rate"],
        "a.*",
    )
    assert {name: line.worst for name, line in found.items()} == {
        "provider_health_score": 50.0,
        "provider_error_rate": 0.5,
    }
    assert (
        lines(
            log.store,
            View(T0 + 2, log.store.latest(), 45.0),
            Grid(QUARTER, T0 + 2),
            ["provider_health_score"],
            "nobody",
        )
        == {}
    )


def test_a_clock_that_was_set_back_breaks_nothing(log: Recorder) -> None:
    tell(log, [WELL] * 3)
    assert trends(log, T0 - 3600.0).lines == {}
    assert trends(log, 10.0).lines == {}
