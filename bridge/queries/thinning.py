"""Thinning: of all points in a step the one that is worst, at its own time; and where a line breaks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bridge.history.codec import Floats
from bridge.queries.severity import badness
from bridge.queries.timerange import TimeRange

Steps = NDArray[np.int64]
"""Which step each of some times falls into; rising."""


def step_numbers(times: Floats, span: TimeRange, max_points: int, interval_seconds: float) -> Steps:
    """Which step each time falls into, on a grid that is the same for every range of its step size.

    Where there are no more times than points wanted, and they are no closer than wanted, each is a step of its own.
    """
    length = span.end - span.start
    spacing = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    if len(times) <= max_points and interval_seconds <= spacing * 1.5:
        return np.arange(len(times))
    step = max(interval_seconds, length / max_points, spacing, 0.001)
    while True:
        steps = np.floor(times / step).astype(np.int64)
        if max_points < 2:
            return np.zeros(len(times), dtype=np.int64)
        if steps[-1] - steps[0] < max_points:
            return steps
        step *= max_points / (max_points - 1)


def thinned(times: Floats, values: Floats, steps: Steps, worst: str) -> list[tuple[Floats, Floats]]:
    """Each series' times and values, thinned: the first of the worst known values of every step.

    ``values`` has shape (series, times), NaN where not known; ``worst`` is as in the catalog. One NaN stands wherever
    something not known lies between two points, or after the last.
    """
    count = len(times)
    kept = _worst(badness(values, worst), steps)
    flat = values.ravel()
    unknown = np.flatnonzero(np.isnan(flat))
    if len(unknown):
        kept = _with_breaks(kept, unknown, count)
    ends = np.searchsorted(kept, np.arange(1, len(values) + 1) * count)
    its_times, its_values = times[kept % count], flat[kept]
    bounds = zip([0, *ends.tolist()], ends.tolist(), strict=False)
    return [(its_times[first:last], its_values[first:last]) for first, last in bounds]


def _worst(badness: Floats, steps: Steps) -> NDArray[np.int64]:
    """Where each series' and step's worst known value stands, in the flattened array; rising."""
    count = len(steps)
    starts = np.flatnonzero(np.r_[True, steps[1:] != steps[:-1]])
    lengths = np.diff(np.r_[starts, count])
    worst = np.fmax.reduceat(badness, starts, axis=1)  # which passes over NaN
    # NaN equals nothing, so what is not known is never the worst.
    candidates = np.flatnonzero(badness == np.repeat(worst, lengths, axis=1))
    series, row = np.divmod(candidates, count)
    cells = series * len(starts) + np.repeat(np.arange(len(starts)), lengths)[row]
    first = np.ones(len(cells), dtype=bool)
    np.not_equal(cells[1:], cells[:-1], out=first[1:])
    return candidates[first]


def _with_breaks(kept: NDArray[np.int64], unknown: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The places kept, and those of the unknown that follow one, each before the next; a series of none gets its last.

    Both are places in the flattened array of series that are ``count`` long, rising.
    """
    following = np.append(unknown, np.iinfo(np.int64).max)[np.searchsorted(unknown, kept)]
    before = np.minimum(np.append(kept[1:], np.iinfo(np.int64).max), (kept // count + 1) * count)
    last_of_each = unknown[unknown % count == count - 1]
    nothing_known = last_of_each[~np.isin(last_of_each // count, kept // count)]
    places = np.concatenate((kept, following[following < before], nothing_known))
    places.sort()
    return places
