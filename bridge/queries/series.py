"""Series: current values, and ranges over the recorded history, a point being always one that was observed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bridge.history.codec import Floats
from bridge.history.columns import Columns, TooManyValuesError
from bridge.history.remote import RemoteHistory
from bridge.history.store import Store
from bridge.queries.catalog import STATUS_WORDS, Metric
from bridge.queries.older import Grid, Older, joined
from bridge.queries.targets import Matcher, Target, TargetError
from bridge.queries.thinning import step_numbers, thinned
from bridge.queries.timerange import TimeRange
from bridge.queries.view import View

Labels = Mapping[str, str]
MAX_POINTS_IN_ANSWER = 500_000
VALUES_AT_ONCE = 1_000_000
"""Thinned together: of ten thousand models' values over a day only some are ever held several times over."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer: times (epoch seconds, rising) and as many values, NaN where the line breaks."""

    labels: Labels
    times: Floats
    values: Floats

    @property
    def points(self) -> list[tuple[float | None, float]]:
        """Value (None: not known) and time, one by one: for who writes them out singly."""
        known = [None if value != value else value for value in self.values.tolist()]
        return list(zip(known, self.times.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class Steps:
    """How finely a range is wanted: at most ``max_points`` points a series, at least ``interval_seconds`` apart."""

    max_points: int
    interval_seconds: float


class Recorded:
    """The recorded history over one range, read once for all targets of a request."""

    def __init__(
        self,
        store: Store,
        span: TimeRange,
        steps: Steps,
        now: float,
        remote: RemoteHistory | None = None,
        *,
        targets: int = 1,
    ) -> None:
        """``remote`` is asked for what is older than ``store``; ``targets`` share the points of one answer."""
        self._store = store
        self._now = now
        self._end = min(span.end, now)
        self._span = span
        self._steps = steps
        self._most_points = MAX_POINTS_IN_ANSWER // targets
        self._older = None if remote is None else self._older_part(remote)

    @cached_property
    def columns(self) -> Columns:
        """The polls of the range."""
        return self._store.columns(self._span.start, self._end, self._now)

    @property
    def troubles(self) -> Sequence[str]:
        """What the remote history did not answer so far, a line each."""
        return self._older.troubles if self._older else ()

    def extent(self) -> tuple[float, ...]:
        """What decides the answers from it: which polls it holds, what is asked of others, and how it is stepped."""
        times = self.columns.times
        ends = (float(times[0]), float(times[-1])) if len(times) else ()
        older = (self._older.start_ms, self._older.end_ms) if self._older else ()
        return *ends, len(times), round(self._span.end - self._span.start, 3), *older

    def series(self, metric: Metric, target: Target, filters: Sequence[Matcher]) -> list[Series]:
        """A metric's series over the range: those that match, each with its worst point of every step."""
        try:
            times, labels, values = self._points(metric, target, filters)
        except TooManyValuesError as error:
            raise TargetError(str(error), "pick some by a selector, or a shorter range") from None
        if not len(times):
            return []
        chosen = [index for index, its_labels in enumerate(labels) if wanted(its_labels, target, filters)]
        if not chosen:
            return []
        thinned = self._thinned(times, values.T, chosen, metric)
        return [Series(labels[index], *points) for index, points in zip(chosen, thinned, strict=True)]

    def _older_part(self, remote: RemoteHistory) -> Older | None:
        """The part of the range before the first recorded poll; None when there is none."""
        first = self._store.first_at(self._now)
        # Answers are in whole milliseconds, so a sample in the first poll's own would double it.
        end = self._end if first is None else min(self._end, (round(first * 1000) - 1) / 1000)
        if end < self._span.start:
            return None
        step = max(self._steps.interval_seconds, (self._span.end - self._span.start) / self._steps.max_points)
        return Older(remote, self._span.start, end, step)

    def _points(
        self, metric: Metric, target: Target, filters: Sequence[Matcher]
    ) -> tuple[Floats, Sequence[Labels], Floats]:
        """Times, label sets, and values of shape (times, label sets); the remote history's first."""
        times = self.columns.times
        labels, values = self._values(metric, target, filters) if len(times) else ((), np.empty((0, 0)))
        older = self._older.read(metric, (*target.matchers, *filters)) if self._older else None
        if older is None:
            return times, labels, values
        keys = [tuple(its_labels[label] for label in metric.labels) for its_labels in labels]
        intervals = np.full(len(times), float(np.median(np.diff(times))) if len(times) > 1 else 0.0)
        both = joined(older, Grid(times, intervals, keys, values), self._end)
        return both.times, [dict(zip(metric.labels, key, strict=True)) for key in both.keys], both.values

    def _values(self, metric: Metric, target: Target, filters: Sequence[Matcher]) -> tuple[Sequence[Labels], Floats]:
        """The label sets wanted of a metric, and values of shape (times, label sets)."""
        axis = self.columns
        if metric.level == "provider":
            providers, values = axis.of_providers(
                metric.name, lambda provider: wanted({"provider": provider}, target, filters)
            )
            return [{"provider": provider} for provider in providers], values
        if metric.level == "model":
            keys, values = axis.of_models(
                metric.name, lambda key: wanted({"provider": key.provider, "model": key.model}, target, filters)
            )
            return [{"provider": key.provider, "model": key.model} for key in keys], values
        if metric.level == "status":
            _, statuses = axis.of_providers("provider_status")
            counts = [(statuses == number).sum(axis=1) for number in STATUS_WORDS]
            values = np.where(axis.good[:, None], np.array(counts, dtype=np.float64).T, np.nan)
            return [{"status": word} for word in STATUS_WORDS.values()], values
        return [{}], self._of_gateway(metric)[:, None]

    def _of_gateway(self, metric: Metric) -> Floats:
        axis = self.columns
        if metric.name == "gateway_up":
            return np.where(axis.polled, axis.good.astype(np.float64), np.nan)
        if metric.name == "gateway_poll_seconds":
            return axis.seconds
        if metric.name == "gateway_data_age_seconds":
            last_good = np.maximum.accumulate(np.where(axis.good, axis.times, -np.inf))
            age = axis.times - last_good
            return np.where(axis.polled & np.isfinite(age), age, np.nan)
        return axis.of_fleet(metric.name)

    def _thinned(
        self, times: Floats, values: Floats, chosen: Sequence[int], metric: Metric
    ) -> list[tuple[Floats, Floats]]:
        """``values`` has shape (series, times); ``chosen`` are those wanted."""
        most = max(1, min(self._steps.max_points, self._most_points // len(chosen)))
        steps = step_numbers(times, self._span, most, self._steps.interval_seconds)
        size = max(1, VALUES_AT_ONCE // len(times))
        found: list[tuple[Floats, Floats]] = []
        for first in range(0, len(chosen), size):
            found += thinned(times, values[chosen[first : first + size]], steps, metric.worst)
        return found


def wanted(labels: Labels, target: Target, filters: Sequence[Matcher]) -> bool:
    """True for labels the target selects and the filters let through; a filter on a label they lack is not asked."""
    return target.matches(labels) and all(filter_.matches(labels) for filter_ in filters if filter_.label in labels)


def current(view: View, metric: Metric, target: Target, filters: Sequence[Matcher]) -> list[Series]:
    """A metric's series with the latest value alone; None for what is not known or too old to count as now."""
    found: list[tuple[Labels, float | None]] = []
    snapshot = view.snapshot
    if metric.level == "provider" and snapshot:
        found = [({"provider": it.provider}, view.value(it, metric.name)) for it in snapshot.verdicts]
    elif metric.name == "model_circuit_breaker_state" and snapshot:
        for circuit in snapshot.circuits:
            state = None if circuit.state is None or view.stale else float(circuit.state)
            if circuit.model:
                found.append(({"provider": circuit.provider, "model": circuit.model}, state))
    elif metric.level == "model" and snapshot:
        unknown = 0.0 if metric.worst == "status" else None
        for key, value in snapshot.models.of(metric.name).items():
            found.append(({"provider": key.provider, "model": key.model}, unknown if view.stale else value))
    elif metric.level == "status" and snapshot:
        statuses = [view.status(verdict) for verdict in snapshot.verdicts]
        counts = {number: sum(status == number for status in statuses) for number in STATUS_WORDS}
        found = [({"status": word}, float(counts[number])) for number, word in STATUS_WORDS.items()]
    elif metric.level == "fleet":
        found = [({}, _current_of_fleet(view, metric.name))]
    if target.matchers or filters:
        found = [(labels, value) for labels, value in found if wanted(labels, target, filters)]
    at = np.array([_current_time(view, metric.name)])
    values = np.array([value for _, value in found], dtype=np.float64)
    return [Series(labels, at, values[place : place + 1]) for place, (labels, _) in enumerate(found)]


def _current_time(view: View, name: str) -> float:
    """The time a current value carries: when it was observed."""
    if name == "gateway_data_age_seconds":
        return view.now
    if name in ("gateway_up", "gateway_poll_seconds") and view.poll is not None and view.gateway_up is not None:
        return view.poll.at
    return view.at


def _current_of_fleet(view: View, name: str) -> float | None:
    if name == "gateway_up":
        return view.gateway_up
    if name == "gateway_data_age_seconds":
        return view.age_seconds
    if name == "gateway_poll_seconds":
        return view.poll.seconds if view.poll and view.gateway_up is not None else None
    return None if view.stale or view.snapshot is None else view.snapshot.fleet[name]
