"""Trends: how every provider's score went over the last day."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bridge.history.codec import Floats
from bridge.history.store import Store
from bridge.queries.catalog import Metric, metric
from bridge.queries.forms import one_of
from bridge.queries.series import Recorded, Series, Steps
from bridge.queries.targets import Matcher, parse
from bridge.queries.timerange import TimeRange
from bridge.queries.view import View

STEPS = 96
SPANS_SECONDS = (900.0, 3600.0, 6 * 3600.0, 86_400.0)
"""A trend covers the shortest of these that holds the whole history, and the longest where none does."""
MOST_VALUES = 8_000_000
"""Polls times providers that trends are made of: of more, the next shorter span, and then who is present first."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The time axis of a trend: ``STEPS`` steps that end with the one ``now`` lies in."""

    span_seconds: float
    now: float

    @property
    def step_seconds(self) -> float:
        """How long a step is."""
        return self.span_seconds / STEPS

    @property
    def first(self) -> int:
        """The number of the first step: steps are counted from the epoch, so that they stay where they are."""
        return math.floor(self.now / self.step_seconds) - STEPS + 1

    @property
    def range(self) -> TimeRange:
        """From the beginning of the first step until now."""
        return TimeRange(max(0.0, self.first * self.step_seconds), self.now)

    def places(self, times: Floats) -> list[int]:
        """The steps that times fall into: 0 for the first one of the axis."""
        places: list[int] = (np.floor(times / self.step_seconds).astype(np.int64) - self.first).tolist()
        return places


@dataclass(frozen=True, slots=True)
class Line:
    """One series on a grid: the worst observed point of each step, None where the line breaks."""

    places: Sequence[int] = ()
    values: Sequence[float | None] = ()
    worst: float | None = None
    worst_at: float | None = None


@dataclass(frozen=True, slots=True)
class Trends:
    """The score's line of every provider."""

    grid: Grid
    lines: Mapping[str, Line] = field(default_factory=dict)


class TrendCache:
    """The newest trends, worked out once a poll and step however many ask. Any number of threads may use one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: tuple[object, ...] = ()
        self._trends: Trends | None = None

    def trends(self, store: Store, view: View) -> Trends:
        """The trends as they stand now."""
        grid = Grid(_span_seconds(store, view), view.now)
        key = (view.latest.poll_id if view.latest else None, grid.span_seconds, grid.first)
        with self._lock:  # whoever comes meanwhile wants the same, and waits for it
            if self._trends is None or key != self._key:
                self._key, self._trends = key, _trends(store, view, grid)
            return self._trends


def lines(store: Store, view: View, grid: Grid, names: Sequence[str], provider: str) -> dict[str, Line]:
    """One provider's lines over a grid, by the metric's name; a metric it has no history of is not there."""
    recorded, filters = _recorded(store, view, grid), (Matcher("provider", "=", provider),)
    found = {name: _lines(recorded, grid, name, filters).get(provider) for name in names}
    return {name: line for name, line in found.items() if line is not None}


def _recorded(store: Store, view: View, grid: Grid) -> Recorded:
    return Recorded(store, view, grid.range, Steps(STEPS))


def _lines(recorded: Recorded, grid: Grid, name: str, filters: Sequence[Matcher] = ()) -> dict[str, Line]:
    wanted = metric(name)
    found = recorded.in_steps(wanted, parse(name), filters, grid.step_seconds)
    return {series.labels["provider"]: _line(series, grid, wanted) for series in found}


def _line(series: Series, grid: Grid, wanted: Metric) -> Line:
    known = ~np.isnan(series.values)
    values = [None if value != value else value for value in series.values.tolist()]
    if not known.any():
        return Line(grid.places(series.times), values)
    newest_first = series.values[::-1]
    found = np.nanargmin(newest_first) if wanted.worst == "low" else np.nanargmax(newest_first)
    worst = len(values) - 1 - int(found)
    return Line(grid.places(series.times), values, values[worst], float(series.times[worst]))


def _trends(store: Store, view: View, grid: Grid) -> Trends:
    recorded, providers = _over(store, view, grid)
    while len(recorded.columns.times) * len(providers) > MOST_VALUES and grid.span_seconds > SPANS_SECONDS[0]:
        grid = Grid(max(span for span in SPANS_SECONDS if span < grid.span_seconds), grid.now)
        recorded, providers = _over(store, view, grid)
    most = MOST_VALUES // max(1, len(recorded.columns.times))
    filters: tuple[Matcher, ...] = ()
    if len(providers) > most:
        present = [verdict.provider for verdict in view.verdicts()]
        providers = tuple(dict.fromkeys((*present, *providers)))[:most]
        filters = (Matcher("provider", *one_of("=", providers)),)
    lines = _lines(recorded, grid, "provider_health_score", filters)
    return Trends(grid, lines)


def _over(store: Store, view: View, grid: Grid) -> tuple[Recorded, tuple[str, ...]]:
    """The history over a grid, and who is in it."""
    recorded = _recorded(store, view, grid)
    return recorded, recorded.columns.providers


def _span_seconds(store: Store, view: View) -> float:
    first = store.history.first_at(view.latest.poll_id) if view.latest else None
    age = 0.0 if first is None else view.now - first
    return next((span for span in SPANS_SECONDS if age <= span * (1 - 1 / STEPS)), SPANS_SECONDS[-1])
