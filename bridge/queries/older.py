"""What a remote history holds of a range before the embedded one begins, joined to it without a seam.

A short stretch comes as the very samples, a long one as the worst of each step; what is left over at both ends of the
steps comes as samples again, so that nothing is missing next to the embedded part.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bridge.health.rounding import rounded_all
from bridge.history.codec import Floats
from bridge.history.promql import Selector
from bridge.history.remote import RemoteHistory
from bridge.history.remote_answer import RemoteAnswer, RemoteHistoryError
from bridge.queries.catalog import Metric
from bridge.queries.severity import worse
from bridge.queries.targets import Matcher

Key = tuple[str, ...]
"""A series' label values, in the order of its metric's labels."""
REQUEST_SECONDS = 10.0
"""What all questions of one request together may take: well below a browser's or Grafana's patience (30 s)."""
SAMPLES_SECONDS = 6 * 3600
"""A stretch up to this length is read sample by sample, unless that is too much."""
SHORTEST_IN_STEPS_SECONDS = 600.0
MOST_STEPS = 10_000
"""Prometheus answers with 11,000 points a series at most."""
FEWEST_STEPS = 12
LONGEST_STEP_SECONDS = 3 * 3600
OLDEST_SECONDS = 10 * 366 * 86_400
GRID_MS = 60_000
"""Questions begin and end on whole minutes, so that two viewers of one dashboard ask the same."""
UNKNOWN_INTERVAL_SECONDS = 60.0
MOST_CELLS = 5_000_000
BRIDGES = Selector("bridge_poll_seconds_count")
"""A series that every bridge has, and nothing else."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Values of shape (times, keys), NaN for what is not known; ``intervals`` says how far apart times should be."""

    times: Floats
    intervals: Floats
    keys: Sequence[Key]
    values: Floats


class Older:
    """The part of one request's range that is older than the embedded history."""

    def __init__(self, remote: RemoteHistory, start: float, end: float, step_seconds: float) -> None:
        """From ``start`` to ``end`` (epoch seconds, both included); ``step_seconds`` is how fine it is wanted."""
        self._remote = remote
        self.end_ms = math.floor(end * 1000)
        self.start_ms = max(math.ceil(start * 1000), self.end_ms - OLDEST_SECONDS * 1000)
        self._step = _step(step_seconds, (self.end_ms - self.start_ms) / 1000)
        self._deadline = time.monotonic() + REQUEST_SECONDS
        self._sources: frozenset[Key] | None = None
        self.troubles: list[str] = []
        """What was not answered, or not in full; a line each."""

    def read(self, metric: Metric, matchers: Sequence[Matcher]) -> Grid | None:
        """A metric's series, oldest first; None when there are none, or none to be had (see ``troubles``)."""
        chosen = tuple((one.label, one.op, one.value) for one in matchers if one.label in metric.labels)
        try:
            parts = list(self._parts(Selector(metric.name, chosen), metric))
        except RemoteHistoryError as error:
            self.troubles.append(f"remote history is not available: {error}")
            return None
        parts = [part for part in parts if len(part.times)]
        return stacked(parts) if parts else None

    def _parts(self, selector: Selector, metric: Metric) -> Iterator[Grid]:
        length = (self.end_ms - self.start_ms) / 1000
        if length <= SAMPLES_SECONDS:
            try:
                whole = self._samples(selector, metric, self.start_ms, self.end_ms)
            except RemoteHistoryError as error:
                if not error.of_question or length < SHORTEST_IN_STEPS_SECONDS:
                    raise
            else:
                yield whole
                return
        step = self._step
        first, last = -(-self.start_ms // (step * 1000)) * step, self.end_ms // (step * 1000) * step
        yield self._samples(selector, metric, self.start_ms, first * 1000)
        answer = self._remote.worst(selector, metric.worst, first + step, last, step, limit_seconds=self._left())
        yield self._grid(answer, metric, (first + 1) * 1000, last * 1000, float(step))
        if last * 1000 < self.end_ms:
            yield self._samples(selector, metric, last * 1000 + 1, self.end_ms)

    def _samples(self, selector: Selector, metric: Metric, start_ms: int, end_ms: int) -> Grid:
        asked_from, asked_to = start_ms // GRID_MS * GRID_MS, min(-(-end_ms // GRID_MS) * GRID_MS, self.end_ms)
        answer = self._remote.samples(selector, asked_from, asked_to, limit_seconds=self._left())
        return self._grid(answer, metric, start_ms, end_ms, 0.0)

    def _grid(self, answer: RemoteAnswer, metric: Metric, start_ms: int, end_ms: int, interval: float) -> Grid:
        """An answer's points from ``start_ms`` to ``end_ms``, by our own labels: the worst where several are one."""
        self._note(answer)
        sources = self._bridges() if answer.series else frozenset()
        found: list[tuple[Key, Floats, Floats]] = []
        for one in answer.series:
            if _source(one.labels) in sources:
                milliseconds = np.rint(one.times * 1000)
                inside = (milliseconds >= start_ms) & (milliseconds <= end_ms)
                key = tuple(one.labels.get(label, "") for label in metric.labels)
                values = one.values[inside]
                if metric.words:  # a number that names no state is not known
                    values = np.where(np.isin(values, list(metric.words)), values, np.nan)
                found.append((key, one.times[inside], rounded_all(metric.name, values)))
        keys = sorted({key for key, _, _ in found})
        axis = np.unique(np.concatenate([times for _, times, _ in found])) if found else np.empty(0)
        if len(axis) * len(keys) > MOST_CELLS:
            raise RemoteHistoryError("its samples are too many; ask for fewer series or a shorter range")
        values = np.full((len(axis), len(keys)), np.nan)
        column_of = {key: column for column, key in enumerate(keys)}
        for key, times, its_values in found:
            column = values[:, column_of[key]]
            rows = np.searchsorted(axis, times)
            column[rows] = worse(column[rows], its_values, metric.worst)
        spacings = [float(np.median(np.diff(times))) for _, times, _ in found if len(times) > 1]
        usual = max(interval, float(np.median(spacings))) if spacings else interval or UNKNOWN_INTERVAL_SECONDS
        return Grid(axis, np.full(len(axis), usual), keys, values)

    def _bridges(self) -> frozenset[Key]:
        """Where bridges were scraped. Gateways publish metrics of the same names, in other units."""
        if self._sources is None:
            hour, minute = 3600, GRID_MS // 1000
            start, end = self.start_ms // 1000 // hour * hour, (self.end_ms // 1000 // minute + 1) * minute
            answer = self._remote.label_sets(BRIDGES, start, end, limit_seconds=self._left())
            self._note(answer)
            self._sources = frozenset(_source(one.labels) for one in answer.series)
        return self._sources

    def _note(self, answer: RemoteAnswer) -> None:
        self.troubles.extend(f"remote history may not be complete: {warning}" for warning in answer.warnings)

    def _left(self) -> float:
        return self._deadline - time.monotonic()


def stacked(parts: Sequence[Grid]) -> Grid:
    """Parts that follow each other in time as one, with the series of all."""
    keys = sorted({key for part in parts for key in part.keys})
    column_of = {key: column for column, key in enumerate(keys)}
    values = np.full((sum(len(part.times) for part in parts), len(keys)), np.nan)
    start = 0
    for part in parts:
        columns = np.array([column_of[key] for key in part.keys], dtype=np.int64)
        values[start : start + len(part.times), columns] = part.values
        start += len(part.times)
    times = np.concatenate([part.times for part in parts])
    return Grid(times, np.concatenate([part.intervals for part in parts]), keys, values)


def _step(wanted: float, length: float) -> int:
    """Whole seconds in a step: as wanted, but so that there are neither too many nor so few that ends weigh much."""
    step = max(min(wanted, LONGEST_STEP_SECONDS, length / FEWEST_STEPS), length / MOST_STEPS)
    return max(1, math.ceil(step))


def _source(labels: Mapping[str, str]) -> Key:
    return labels.get("job", ""), labels.get("instance", "")
