"""PromQL's arithmetic: what samples rose by, extrapolated to the ends of a range, and quantiles of histograms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np

from bridge.model import Floats

EDGE_INTERVALS = 1.1
"""Samples that begin no later than so many of their intervals after a range reach back to its beginning, as PromQL has
it (promql/functions.go, extrapolatedRate)."""


def walked(times: Sequence[float], rows: Sequence[Floats]) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
    """Of each series: first value, last value, number of samples, first time, last time, and what resets took."""
    width = len(rows[0])
    first, last = np.full(width, np.nan), np.full(width, np.nan)
    first_time, last_time = np.full(width, np.nan), np.full(width, np.nan)
    count, resets = np.zeros(width), np.zeros(width)
    for time, row in zip(times, rows, strict=True):
        present = ~np.isnan(row)
        with np.errstate(invalid="ignore"):
            resets += np.where(row < last, last, 0.0)
        begins = present & (count == 0)
        first[begins], first_time[begins] = row[begins], time
        last[present], last_time[present] = row[present], time
        count += present
    return first, last, count, first_time, last_time, resets


def extrapolated(
    rise: Floats,
    first: Floats,
    count: Floats | float,
    first_time: Floats | float,
    last_time: Floats | float,
    start: Floats | float,
    end: float,
) -> Floats:
    """Rises between the first and the last sample, extrapolated as Prometheus does; NaN for fewer than two samples."""
    sampled = np.asarray(last_time) - first_time
    with np.errstate(divide="ignore", invalid="ignore"):
        average = sampled / (np.asarray(count) - 1)
        to_start, to_end = np.asarray(first_time) - start, end - np.asarray(last_time)
        to_zero = sampled * (first / rise)
        to_start = np.where((rise > 0) & (to_zero < to_start), to_zero, to_start)
        threshold = average * EDGE_INTERVALS
        covered = (
            sampled
            + np.where(to_start < threshold, to_start, average / 2)
            + np.where(to_end < threshold, to_end, average / 2)
        )
        return np.where(np.asarray(count) >= 2, rise * covered / sampled, np.nan)


def histogram_quantile(quantile: float, buckets: Iterable[tuple[float, float]]) -> float | None:
    """The value below which ``quantile`` (0-1) of the observations lie; None without any.

    ``buckets`` are pairs of upper bound and cumulative count (or rate). Source: Prometheus' ``histogram_quantile``
    (promql/quantile.go, bucketQuantile): linear within a bucket; the highest finite bound when it lies beyond.
    """
    ordered = sorted(buckets)
    if len(ordered) < 2 or ordered[-1][0] != float("inf"):
        return None
    bounds = [bound for bound, _ in ordered]
    counts = list(accumulate((count for _, count in ordered), max))
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
