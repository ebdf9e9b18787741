"""Series: current values, and ranges over the recorded history, a point being always one that was observed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from bridge.health.rounding import rounded, rounded_all
from bridge.history.codec import Floats
from bridge.history.columns import Columns, TooManyValuesError
from bridge.history.remote import FINAL_SECONDS, RemoteHistory
from bridge.history.store import Store
from bridge.model import Status
from bridge.queries.budget import Budget
from bridge.queries.catalog import STATUS_WORDS, Metric
from bridge.queries.downsample import Axis, End, Points, Rule, Wanted, downsampled, in_steps
from bridge.queries.naming import Labels, Named
from bridge.queries.older import Grid, Older, stacked
from bridge.queries.severity import badness, fleet_badness
from bridge.queries.targets import Matcher, Target, TargetError, parse
from bridge.queries.timerange import TimeRange
from bridge.queries.view import View

DEFAULT_POINTS = 1_000
MOST_POINTS = 11_000
"""As Prometheus allows."""
VALUES_AT_ONCE = 200_000
"""Downsampled together: of ten thousand models' values over a day only some are ever held several times over."""
OF_GATEWAY = ("gateway_up", "gateway_poll_seconds", "gateway_data_age_seconds")
"""Metrics that failed polls have values of as well."""
CLOSED_NOW = frozenset({"provider_status", "model_status", "fleet_providers", "gateway_data_age_seconds"})
"""Metrics that have a value while the data is stale: unknown is a status, and the age is known."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer: times (epoch seconds, rising) and as many values, NaN where the line breaks."""

    labels: Labels
    times: Floats
    values: Floats
    step: float = 0.0
    """How many seconds each of its points stands for; 0 where all are given."""
    notice: str = ""
    """What is to be known of its points."""

    @property
    def points(self) -> list[tuple[float | None, float]]:
        """Value (None: not known) and time, one by one: for who writes them out singly."""
        known = [None if value != value else value for value in self.values.tolist()]
        return list(zip(known, self.times.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class Steps:
    """How finely a range is wanted: at most ``max_points`` points a series.

    ``interval_seconds``, the least between two points, counts where no number of points is given.
    """

    max_points: int | None
    interval_seconds: float = 0.0

    def of(self, seconds: float, most: int) -> Wanted:
        """What that comes to over a range of this length, with no more than ``most`` points a series."""
        if self.max_points is not None:
            return Wanted(seconds, max(1, min(self.max_points, most)))
        if not self.interval_seconds:
            return Wanted(seconds, max(1, min(DEFAULT_POINTS, most)))
        points = math.ceil(seconds / self.interval_seconds) + 3  # steps that range's ends cut, and what closes it
        return Wanted(seconds, max(1, min(points, MOST_POINTS, most)), self.interval_seconds)


class Recorded:
    """The recorded history over one range, read once for all targets of a request."""

    def __init__(
        self,
        store: Store,
        view: View,
        span: TimeRange,
        steps: Steps,
        remote: RemoteHistory | None = None,
        *,
        budget: Budget | None = None,
    ) -> None:
        """``remote`` is asked for what is older than ``store``; ``budget`` is the request's, else one of its own."""
        self._store = store
        self._view = view
        self._end = min(span.end, view.now)
        self._span = span
        self._steps = steps
        self._budget = budget or Budget()
        self._older = None if remote is None else self._older_part(remote)

    @cached_property
    def columns(self) -> Columns:
        """The polls of the range."""
        return self._store.columns(self._span.start, self._end, self._view.now)

    @property
    def troubles(self) -> Sequence[str]:
        """What the remote history did not answer so far, a line each."""
        return self._older.troubles if self._older else ()

    @property
    def known_since(self) -> float | None:
        """When the embedded history begins, where others are asked for what is older; None where none are."""
        return (self._older.end_ms + 1) / 1000 if self._older else None

    @property
    def final(self) -> bool:
        """False while samples of the remote part may still arrive."""
        return self._older is None or self._older.end_ms / 1000 <= self._view.now - FINAL_SECONDS

    @property
    def reaches_now(self) -> bool:
        """Whether what holds now closes the series."""
        view = self._view
        return self._span.start <= view.now <= self._span.end + view.stale_after_seconds

    @property
    def ends_now(self) -> bool:
        """Whether it ends in the request's own time, and not where the range does."""
        return self._span.end > self._view.now

    @property
    def end(self) -> float:
        """The range's, epoch seconds: it may be yet to come."""
        return self._span.end

    def extent(self) -> tuple[float, ...]:
        """What decides the answers from it: which polls it holds, what is asked of others, and how it is stepped."""
        times = self.columns.times
        without: tuple[float, ...] = () if self._view.latest is None else (self._view.latest.poll_id,)
        ends = (float(times[0]), float(times[-1])) if len(times) else without  # whose last one closes it
        older = (self._older.start_ms, self._older.end_ms) if self._older else ()
        where = () if self.reaches_now and not self._view.stale else (self._span.start, self._span.end)
        return *ends, len(times), round(self._span.end - self._span.start, 3), *where, *older

    def series(
        self, metric: Metric, target: Target, filters: Sequence[Matcher], named: Named | None = None
    ) -> list[Series]:
        """A metric's series over the range: those that match, as many points of each as fit.

        ``named`` says of how many there is room. Raises TargetError where it is too much, BusyError where others are
        at work for too long.
        """
        older = self._read_older(metric, target, filters)
        self._budget.begin()
        try:
            axis, labels, values = self._points(metric, target, filters, older)
        except TooManyValuesError as error:
            raise TargetError(str(error), "pick some by a selector, or a shorter range") from None
        chosen = [index for index, its_labels in enumerate(labels) if wanted(its_labels, target, filters)]
        if named is not None and target.worst is None:
            chosen = chosen[: named.room([labels[index] for index in chosen])]
        if not chosen:
            return []
        found = self._downsampled(axis, values.T, chosen, metric, named)
        return [
            Series(labels[index], one.times, one.values, one.step, _notice(one))
            for index, one in zip(chosen, found, strict=True)
        ]

    def in_steps(self, metric: Metric, target: Target, filters: Sequence[Matcher], step: float) -> list[Series]:
        """A metric's series, the worst point of each step of this length."""
        axis, labels, values = self._points(metric, target, filters, self._read_older(metric, target, filters))
        if not len(axis.times):
            return []
        chosen = [index for index, its_labels in enumerate(labels) if wanted(its_labels, target, filters)]
        found = in_steps(axis, values.T[chosen], step, rule_of(metric), self._end)
        return [Series(labels[index], one.times, one.values) for index, one in zip(chosen, found, strict=True)]

    def _older_part(self, remote: RemoteHistory) -> Older | None:
        """The part of the range before the first recorded poll; None when there is none."""
        first = self._store.first_at(self._view.now)
        # Answers are in whole milliseconds, so a sample in the first poll's own would double it.
        end = self._end if first is None else min(self._end, (round(first * 1000) - 1) / 1000)
        if end < self._span.start:
            return None
        length = self._span.end - self._span.start
        wanted = self._steps.of(length, MOST_POINTS)
        return Older(remote, self._span.start, end, max(wanted.min_step, length / wanted.max_points))

    def _read_older(self, metric: Metric, target: Target, filters: Sequence[Matcher]) -> Grid | None:
        """What the remote history has of it. Others may compute while it is waited for."""
        if self._older is None:
            return None
        self._budget.end()
        return self._older.read(metric, (*target.matchers, *filters))

    def _points(
        self, metric: Metric, target: Target, filters: Sequence[Matcher], older: Grid | None
    ) -> tuple[Axis, Sequence[Labels], Floats]:
        """The axis, label sets, and values of shape (times, label sets); the remote history's first."""
        of_gateway = metric.name in OF_GATEWAY
        polls = self.columns
        rows = np.arange(len(polls.times)) if of_gateway else np.flatnonzero(polls.good)
        failed = np.append(np.where(polls.good | of_gateway, np.inf, polls.times), np.inf)
        missed = failed[rows + 1]
        labels, values = self._values(metric, target, filters) if len(rows) else ((), np.empty((0, 0)))
        if len(rows) < len(values):
            values = values[rows]
        keys = [tuple(its_labels[label] for label in metric.labels) for its_labels in labels]
        grid = Grid(polls.times[rows], polls.intervals[rows], keys, values)
        if older is not None:
            grid = stacked([older, grid])
            missed = np.append(np.full(len(older.times), np.inf), missed)
        return self._with_now(metric, target, filters, grid, missed)

    def _values(self, metric: Metric, target: Target, filters: Sequence[Matcher]) -> tuple[Sequence[Labels], Floats]:
        """The label sets wanted of a metric, and values of shape (polls, label sets)."""
        polls = self.columns
        if metric.level == "provider":
            providers, values = polls.of_providers(
                metric.name, lambda provider: wanted({"provider": provider}, target, filters)
            )
            return [{"provider": provider} for provider in providers], values
        if metric.level == "model":
            keys, values = polls.of_models(
                metric.name, lambda key: wanted({"provider": key.provider, "model": key.model}, target, filters)
            )
            return [{"provider": key.provider, "model": key.model} for key in keys], values
        if metric.level == "status":
            _, statuses = polls.of_providers("provider_status")
            counts = [(statuses == number).sum(axis=1) for number in STATUS_WORDS]
            return [{"status": word} for word in STATUS_WORDS.values()], np.array(counts, dtype=np.float64).T
        return [{}], self._of_gateway(metric)[:, None]

    def _of_gateway(self, metric: Metric) -> Floats:
        polls = self.columns
        if metric.name == "gateway_up":
            return polls.good.astype(np.float64)
        if metric.name == "gateway_poll_seconds":
            return rounded_all(metric.name, polls.seconds)
        if metric.name == "gateway_data_age_seconds":
            before = self._store.last_good_before(float(polls.times[0])) if len(polls.times) else None
            good = np.where(polls.good, polls.times, -np.inf)
            last = np.maximum.accumulate(np.append(-np.inf if before is None else before, good[:-1]))
            age = polls.times - last
            return rounded_all(metric.name, np.where(np.isfinite(age), age, np.nan))
        return polls.of_fleet(metric.name)

    def _with_now(
        self, metric: Metric, target: Target, filters: Sequence[Matcher], grid: Grid, missed: Floats
    ) -> tuple[Axis, Sequence[Labels], Floats]:
        """With what closes a range that reaches now where no poll of it does.

        That is the last good poll's point of a range without polls, who is unknown of stale data, and the data's age.
        """
        closing = self._closing(metric, target, filters, without_polls=not len(grid.times))
        if closing and (not len(grid.times) or grid.times[-1] < closing[0].times[0]):
            is_point = metric.name in CLOSED_NOW or not self._view.stale
            row = closing[0].times if is_point else np.empty(0)
            now = np.array([[float(one.values[0]) for one in closing]] * len(row)).reshape(len(row), len(closing))
            keys = [tuple(one.labels[label] for label in metric.labels) for one in closing]
            grid = stacked([grid, Grid(row, np.zeros(len(row)), keys, now)])
            missed = np.append(missed, np.full(len(row), np.inf))
        if metric.level == "status" and grid.keys:
            grid = _in_order_of_statuses(grid)
        labels = [dict(zip(metric.labels, key, strict=True)) for key in grid.keys]
        return Axis(grid.times, grid.intervals, missed), labels, grid.values

    def _closing(
        self, metric: Metric, target: Target, filters: Sequence[Matcher], *, without_polls: bool
    ) -> list[Series]:
        """Each series as it is in the range's end, a point each, where no poll of the range says that."""
        view = self._view
        is_age, lost = metric.name == "gateway_data_age_seconds", view.stale and metric.name not in OF_GATEWAY
        if not self.reaches_now or not (is_age or lost or without_polls):
            return []
        if metric.level == "status":  # all of them choose a step's poll together
            target, filters = parse(metric.name), ()
        found = current(view, metric, target, filters)
        if is_age and view.age_seconds is None:
            return []
        if is_age or lost:
            return [replace(one, times=np.array([self._end])) for one in found]
        return [one for one in found if one.times[0] <= self._end]

    def _ending(self, metric: Metric) -> End:
        view = self._view
        if not self.reaches_now:
            return End("past", self._end)
        lost = view.gateway_up is None if metric.name in OF_GATEWAY else view.stale
        if not lost or metric.name in CLOSED_NOW or view.latest is None:
            return End("now", self._end)
        latest = view.latest
        since = latest.failing_since or (latest.snapshot.at if latest.snapshot else 0.0) + latest.poll.interval
        return End("lost", self._end, max(self._span.start, since))

    def _downsampled(
        self, axis: Axis, values: Floats, chosen: Sequence[int], metric: Metric, named: Named | None
    ) -> list[Points]:
        """``values`` has shape (series, times); ``chosen`` are those wanted."""
        seconds, each = self._span.end - self._span.start, self._budget.points_each(len(chosen))
        asked = self._steps.of(seconds, each)
        points = self._shown(axis, values, chosen, metric, asked)
        self._budget.spend_points(sum(len(one.times) for one in points))
        if named is not None and asked != self._steps.of(seconds, MOST_POINTS) and any(one.step for one in points):
            named.most_points = each
        return points

    def _shown(self, axis: Axis, values: Floats, chosen: Sequence[int], metric: Metric, asked: Wanted) -> list[Points]:
        rule, end = rule_of(metric), self._ending(metric)
        if rule.together:  # and left out only then: a step's poll is chosen by all
            found = downsampled(axis, values, asked, rule, end)
            return [found[index] for index in chosen]
        size = max(1, VALUES_AT_ONCE // max(1, len(axis.times)))
        points: list[Points] = []
        for first in range(0, len(chosen), size):
            self._budget.check()
            points += downsampled(axis, values[chosen[first : first + size]], asked, rule, end)
        return points


def _in_order_of_statuses(grid: Grid) -> Grid:
    """All statuses, in the order that ``fleet_badness`` takes them in; one that nothing tells of is not known."""
    keys = [(word,) for word in STATUS_WORDS.values()]
    values = np.full((len(grid.times), len(keys)), np.nan)
    for column, key in enumerate(grid.keys):
        values[:, keys.index((key[0],))] = grid.values[:, column]
    return Grid(grid.times, grid.intervals, keys, values)


def rule_of(metric: Metric) -> Rule:
    """What a step shows of a metric."""
    if metric.level == "status":
        return Rule(fleet_badness, together=True)
    if not metric.has_worst:
        return Rule(None)
    unknown = float(Status.UNKNOWN) if metric.worst == "status" else None
    return Rule(partial(badness, worst=metric.worst), level_of(metric), is_state=bool(metric.words), unknown=unknown)


def level_of(metric: Metric) -> Callable[[Floats], Floats] | None:
    """How bad a state or an error rate looks; None for all other metrics, of which a worst point is no exaggeration."""
    if metric.words:
        return partial(badness, worst=metric.worst)
    if metric.name.endswith("_error_rate") and metric.levels is not None:
        levels = metric.levels
        return lambda values: np.searchsorted(levels, values, side="right").astype(np.float64)
    return None


def _notice(points: Points) -> str:
    return f"worst of each {points.step:.3g} s" if points.exaggerates else ""


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
        return rounded(name, view.poll.seconds) if view.poll and view.gateway_up is not None else None
    return None if view.stale or view.snapshot is None else view.snapshot.fleet[name]
