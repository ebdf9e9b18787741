"""Counters over time: what they rose by, in a window, as PromQL's ``increase`` and ``rate`` would say.

A window holds one row a counter series and one column a poll (NaN where a series was absent), so that each series is
followed through its own resets and all of them are worked out at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bridge.model import CounterId

Floats = NDArray[np.float64]
Group = TypeVar("Group", bound=Hashable)
MAX_SERIES = 20_000
MAX_VALUES = 5_000_000
"""What a window keeps of series that are gone: no more than this many series and values (40 MB) with the present ones.

The present ones are always kept, so only a gateway that names its series anew again and again ever meets this.
"""
ROWS_AT_ONCE = 4_096
"""Series worked out together, which bounds what that takes beside the window."""


@dataclass(frozen=True, slots=True)
class Window:
    """The last ``seconds`` of counters. Immutable: ``append`` gives the next one."""

    seconds: float
    ids: tuple[CounterId, ...] = ()
    times: Floats = field(default_factory=lambda: np.empty(0))
    values: Floats = field(default_factory=lambda: np.empty((0, 0)))
    """Shape (series, polls); NaN where a series was absent."""
    forgotten: int = 0
    """How many series the last poll pushed out before their time; see ``MAX_SERIES``."""

    def append(self, at: float, counters: Mapping[CounterId, float]) -> Window:
        """The window that ends at ``at`` (epoch seconds, later than any before) and holds these counters too.

        Polls older than the window are dropped, and with them the series that have no sample left; of more than a
        window may hold, those that have been gone for longest. The window is closed at both ends, as Prometheus 2's
        range selectors are.
        """
        recent = self.times >= at - self.seconds
        old = self.values[:, recent]
        now = np.fromiter(counters.values(), dtype=np.float64, count=len(counters))
        times, given = np.append(self.times[recent], at), tuple(counters)
        if given == self.ids:  # as nearly always: the series of the poll before, in their order
            return Window(self.seconds, self.ids, times, np.column_stack((old, now)))
        row_of = {counter: row for row, counter in enumerate(self.ids)}
        fresh = tuple(counter for counter in given if counter not in row_of)
        ids = (*self.ids, *fresh)
        row_of.update(zip(fresh, range(len(self.ids), len(ids)), strict=True))
        values = np.full((len(ids), len(times)), np.nan)
        values[: len(self.ids), :-1] = old
        values[[row_of[counter] for counter in given], -1] = now
        present = ~np.isnan(values)
        alive = np.flatnonzero(present.any(axis=1))
        most = max(len(given), min(MAX_SERIES, MAX_VALUES // len(times)))
        forgotten = max(0, len(alive) - most)
        if forgotten:
            age = present[alive, ::-1].argmax(axis=1)
            alive = np.sort(alive[np.argsort(age, kind="stable")[:most]])
        if len(alive) < len(ids):
            values = values[alive]
            ids = tuple(ids[row] for row in alive.tolist())
        return Window(self.seconds, ids, times, values, forgotten)

    def increases(self) -> dict[CounterId, float]:
        """What each series rose by over the window, extrapolated to its ends; series with one sample are left out.

        Source: Prometheus' ``increase()`` (promql/functions.go, extrapolatedRate), evaluated at the last poll.
        """
        if not len(self.times):
            return {}
        rises: list[float] = []
        for row in range(0, len(self.ids), ROWS_AT_ONCE):
            some = self.values[row : row + ROWS_AT_ONCE]
            rises += _extrapolated_increase(self.times, some, self.seconds).tolist()
        return {counter: rise for counter, rise in zip(self.ids, rises, strict=True) if rise == rise}


def _extrapolated_increase(times: Floats, values: Floats, seconds: float) -> Floats:
    """``increase()`` of each row; NaN for rows with fewer than two samples."""
    present = ~np.isnan(values)
    count = present.sum(axis=1)
    rows, last_column = np.arange(len(values)), values.shape[1] - 1
    first = present.argmax(axis=1)
    last = last_column - present[:, ::-1].argmax(axis=1)
    first_value, last_value = values[rows, first], values[rows, last]

    filled = _carried_forward(values, present)
    earlier, later = filled[:, :-1], filled[:, 1:]
    resets = np.where(later < earlier, earlier, 0.0).sum(axis=1)
    rise = last_value - first_value + resets

    start, end = times[-1] - seconds, times[-1]
    first_time, last_time = times[first], times[last]
    sampled = last_time - first_time
    with np.errstate(divide="ignore", invalid="ignore"):
        average = sampled / (count - 1)
        to_start, to_end = first_time - start, end - last_time
        to_zero = sampled * (first_value / rise)
        to_start = np.where((rise > 0) & (to_zero < to_start), to_zero, to_start)
        threshold = average * 1.1
        covered = (
            sampled
            + np.where(to_start < threshold, to_start, average / 2)
            + np.where(to_end < threshold, to_end, average / 2)
        )
        return np.where(count >= 2, rise * covered / sampled, np.nan)


def _carried_forward(values: Floats, present: NDArray[np.bool_]) -> Floats:
    """Holes filled with the sample before them (NaN before the first), so that neighbours can be compared."""
    if present.all():
        return values
    columns = np.where(present, np.arange(values.shape[1]), 0)
    np.maximum.accumulate(columns, axis=1, out=columns)
    return values[np.arange(len(values))[:, None], columns]


def steps(before: Mapping[CounterId, float], now: Mapping[CounterId, float]) -> dict[CounterId, float]:
    """What each counter rose by from one poll to the next.

    A lower value is a reset: all of it is new. A series that was not there counts from zero when the poll before
    had counters at all (clients show a series at its first event); else its past is unknown and it adds nothing.
    """
    rises = {}
    for counter, value in now.items():
        earlier = before.get(counter)
        if earlier is None:
            rises[counter] = value if before else 0.0
        else:
            rises[counter] = value - earlier if value >= earlier else value
    return rises


def was_reset(before: Mapping[CounterId, float], now: Mapping[CounterId, float]) -> bool:
    """True when any counter went down: the gateway started again."""
    return any(value < before.get(counter, 0.0) for counter, value in now.items())


def by_signal(rises: Mapping[CounterId, float]) -> dict[str, dict[CounterId, float]]:
    """Rises, signal by signal; one that nothing counts for is empty."""
    found: defaultdict[str, dict[CounterId, float]] = defaultdict(dict)
    for counter, rise in rises.items():
        found[counter.signal][counter] = rise
    return found


def sums(rises: Mapping[CounterId, float], group: Callable[[CounterId], Group]) -> dict[Group, float]:
    """Rises of one signal, added up by what ``group`` makes of each series."""
    totals: dict[Group, float] = {}
    for counter, rise in rises.items():
        name = group(counter)
        totals[name] = totals.get(name, 0.0) + rise
    return totals


def histogram_quantile(quantile: float, buckets: Iterable[tuple[float, float]]) -> float | None:
    """The value below which ``quantile`` (0-1) of the observations lie; None without any.

    ``buckets`` are pairs of upper bound and cumulative count (or rate). Source: Prometheus' ``histogram_quantile``
    (promql/quantile.go, bucketQuantile): linear within a bucket; the highest finite bound when it lies beyond.
    """
    ordered = sorted(buckets)
    if len(ordered) < 2 or ordered[-1][0] != float("inf"):
        return None
    bounds = [bound for bound, _ in ordered]
    counts = np.maximum.accumulate([count for _, count in ordered]).tolist()
    if not counts[-1] > 0:
        return None
    rank = quantile * counts[-1]
    index = next(index for index, count in enumerate(counts) if count >= rank or index == len(counts) - 1)
    if index == len(counts) - 1:
        return float(bounds[-2])
    if index == 0 and bounds[0] <= 0:
        return float(bounds[0])
    below_bound, below_count = (bounds[index - 1], counts[index - 1]) if index else (0.0, 0.0)
    share = (rank - below_count) / (counts[index] - below_count)
    return float(below_bound + (bounds[index] - below_bound) * share)
