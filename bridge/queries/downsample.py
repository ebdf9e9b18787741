"""Series over a range: which of the observed points are given, where the line breaks, and how it ends.

Every point that is given was observed, at the time it carries. All are given where they fit into what was asked for;
else a series of states is given by its changes, and any other the worst point of each step, for as many steps as fit.
What is not known for less than a step is not drawn: neither does it stand for the step, nor does it hide one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bridge.history.codec import Floats
from bridge.history.columns import GAP_INTERVALS

Places = NDArray[np.int64]
"""Places in the flattened array of all series' values, rising."""
Ending = Literal["now", "lost", "past"]
MOST_TRIES = 200
"""Of steps, each a little longer than the one before."""


@dataclass(frozen=True, slots=True)
class Axis:
    """The polls that a metric was observed at."""

    times: Floats
    """Epoch seconds, rising."""
    intervals: Floats
    """The poll interval in force at each."""
    missed: Floats
    """When a poll was missed that is recorded, before the next of these; infinite where none is."""

    @property
    def interval(self) -> float:
        """The usual one; 0 without polls."""
        return float(np.median(self.intervals)) if len(self.intervals) else 0.0


@dataclass(frozen=True, slots=True)
class End:
    """How the series end. ``now``: with their last point. ``lost``: data is stale, nothing is known any more.

    ``past``: the range is over, and something may have been missed at its end.
    """

    kind: Ending
    at: float
    """The earlier of the range's end and now, epoch seconds."""
    since: float = math.inf
    """From when on nothing is known of data that is stale."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for."""

    seconds: float
    """The length of the range."""
    max_points: int
    """Of each series, nulls included."""
    min_step: float = 0.0


class Points(NamedTuple):
    """One series: times, as many values, NaN where the line breaks, and whether a step shows more than its last."""

    times: Floats
    values: Floats
    step: float
    """How many seconds each point is the worst of; 0 where all are given."""
    exaggerates: bool = False
    """A step shows a worse level than its last point has."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a step shows of a metric."""

    badness: Callable[[Floats], Floats] | None
    """Values turned so that the highest is the worst; None where a step shows its last point."""
    level: Callable[[Floats], Floats] | None = None
    """How bad values look, as numbers; None where a worst point is no exaggeration."""
    is_state: bool = False
    unknown: float | None = None
    """The state that says that nothing is known."""
    together: bool = False
    """All series take the same poll of each step: then ``badness`` gives one row for all of them."""


class _Breaks(NamedTuple):
    """Where something is not known, in the order of ``after``."""

    after: Places
    """The last known place before each."""
    times: Floats
    """From when on."""
    lengths: Floats
    """Seconds; infinite for what is drawn in any case."""

    def drawn(self, step: float) -> _Breaks:
        """Those that are as long as a step."""
        long = self.lengths >= step
        return _Breaks(self.after[long], self.times[long], self.lengths[long])


def downsampled(axis: Axis, values: Floats, wanted: Wanted, rule: Rule, end: End) -> list[Points]:
    """Each series' points; ``values`` has shape (series, polls) and is NaN where not known."""
    if not len(axis.times) or not len(values):
        found = [_nothing(end) for _ in values]
    else:
        found = _fitting(_Table(axis, values, end), wanted, rule)
    most = wanted.max_points
    return [one._replace(times=one.times[-most:], values=one.values[-most:]) for one in found]


def _fitting(table: _Table, wanted: Wanted, rule: Rule) -> list[Points]:
    """All points, or all changes, or those of the shortest steps that fit."""
    if table.counts.max() <= wanted.max_points and table.sizes(table.known, 0.0).max() <= wanted.max_points:
        return table.points(table.known, 0.0)
    step = max(wanted.seconds / wanted.max_points, table.axis.interval, wanted.min_step, 0.001)
    if not rule.is_state:
        return _stepped(table, step, wanted.max_points, rule)
    kept = table.changes(step)
    fit = table.sizes(kept, step) <= wanted.max_points
    changes = [one._replace(step=0.0) for one in table.points(kept, step)]
    if fit.all():
        return changes
    stepped = _stepped(table, step, wanted.max_points, rule)
    return [one if its else other for its, one, other in zip(fit.tolist(), changes, stepped, strict=True)]


def in_steps(axis: Axis, values: Floats, step: float, rule: Rule, end: float) -> list[Points]:
    """One point of each step of this length, and nulls between and up to ``end``, as ``downsampled`` gives them."""
    table = _Table(axis, values, End("past", end))
    return table.points(table.shown(step, rule), step, closed=False)


def _stepped(table: _Table, step: float, most: int, rule: Rule) -> list[Points]:
    """The worst of the shortest steps, at least ``step`` long, with which everything fits."""
    for _ in range(MOST_TRIES):
        over = table.most_points(step, rule) - most
        if over <= 0:
            break
        step *= 1 + over / (4 * most)
    fits = table.most_points(step, rule) <= most  # else what is newest of it is given, which is no worst of anything
    shown = table.shown(step, rule)
    exaggerating = _exaggerating(table, shown, step, rule).tolist()
    return [
        one._replace(exaggerates=its and fits) for one, its in zip(table.points(shown, step), exaggerating, strict=True)
    ]


def _exaggerating(table: _Table, shown: Places, step: float, rule: Rule) -> NDArray[np.bool_]:
    """For each series whether a step's point looks worse than its last one."""
    found = np.zeros(len(table.values), dtype=bool)
    if rule.level is not None:
        last = table.last_of(table.cells(step))
        worse = rule.level(table.flat[shown]) > rule.level(table.flat[last])
        found[shown[worse] // table.count] = True
    return found


class _Table:
    """Several series over one axis."""

    def __init__(self, axis: Axis, values: Floats, end: End) -> None:
        self.axis = axis
        self.values = values
        self.end = end
        self.count = len(axis.times)
        self.flat = values.ravel()
        self.is_known = ~np.isnan(self.flat)
        self.known: Places = np.flatnonzero(self.is_known)
        self.is_full = len(self.known) == len(self.flat)
        self.bounds = np.arange(1, len(values) + 1) * self.count
        self.counts: Places = np.diff(np.searchsorted(self.known, self.bounds), prepend=0)
        """How many known points each series has."""
        self.holes = self._holes()
        self.last, self.tail = self._tail()

    def _holes(self) -> _Breaks:
        """What is not known between two known points."""
        times, intervals = self.axis.times, self.axis.intervals
        wide = np.flatnonzero(np.diff(times) > GAP_INTERVALS * np.maximum(intervals[1:], intervals[:-1]))
        places = ((self.bounds - self.count)[:, None] + wide).ravel()
        before = np.searchsorted(self.known, places[self.is_known[places]])
        if not self.is_full:
            before = _with(np.flatnonzero(np.diff(self.known) > 1), before)
        before = before[before < len(self.known) - 1]
        (series, first), (other, second) = (np.divmod(self.known[which], self.count) for which in (before, before + 1))
        spacing = times[second] - times[first]
        interval = np.maximum(intervals[second], intervals[first])
        hole = (series == other) & (spacing > GAP_INTERVALS * interval)
        first, spacing, interval = first[hole], spacing[hole], interval[hole]
        missed = np.maximum(1.0, np.round(spacing / interval) - 1)
        return _Breaks(self.known[before[hole]], self._unknown_from(first, interval), missed * interval)

    def _unknown_from(self, column: Places, interval: Floats) -> Floats:
        """From when on nothing is known after a poll: the first poll that was missed, or did not bring it."""
        times = self.axis.times
        following = np.append(times, np.inf)[column + 1]
        expected = times[column] + interval
        # What follows within a usual spacing is a poll; without one the next was missed an interval later.
        since: Floats = np.minimum(np.minimum(self.axis.missed[column], following), expected)
        return since

    def _tail(self) -> tuple[Places, _Breaks]:
        """The place that closes each series that has one, and the nulls behind it."""
        last = self.known[np.cumsum(self.counts)[self.counts > 0] - 1]
        its_column = last % self.count
        begins = self._unknown_from(its_column, self.axis.intervals[its_column])
        at = self.end.at
        gone = its_column < self.count - 1
        if self.end.kind == "lost":
            return last, _twice(last, np.minimum(begins, at), np.full(len(last), at), np.inf)
        if self.end.kind == "now":
            closing = np.full(gone.sum(), self.axis.times[-1])
            return last, _twice(last[gone], begins[gone], closing, np.inf)
        spacing = at - self.axis.times[its_column]
        interval = self.axis.intervals[its_column]
        missed = np.where(spacing > GAP_INTERVALS * interval, np.floor(spacing / interval), 0.0)
        lengths = np.where(gone, np.inf, missed * interval)
        drawn = lengths > 0
        return last, _Breaks(last[drawn], begins[drawn], lengths[drawn])

    def sizes(self, kept: Places, step: float) -> Places:
        """How many points each series has with these and its last one."""
        kept = _with(kept, self.last)
        sizes: Places = np.diff(np.searchsorted(kept, self.bounds), prepend=0)
        for breaks in (self.holes.drawn(step), self.tail.drawn(step)):
            sizes += np.bincount(breaks.after // self.count, minlength=len(sizes))
        return sizes

    def cells(self, step: float) -> Places:
        """Which step each poll lies in: steps stay where they are, whatever range they are asked in."""
        cells: Places = np.floor(self.axis.times / step).astype(np.int64)
        return cells

    def most_points(self, step: float, rule: Rule) -> int:
        """How many points a series has at most in steps of this length, the one that closes it included."""
        cells = self.cells(step)
        steps = 1 + int(np.count_nonzero(np.diff(cells)))
        breaks = np.zeros(len(self.values), dtype=np.int64)
        for some in (self.holes.drawn(step), self.tail.drawn(step)):
            breaks += np.bincount(some.after // self.count, minlength=len(breaks))
        return steps + int(breaks.max(initial=0)) + (rule.badness is not None)

    def changes(self, step: float) -> Places:
        """Where states change: each series' first point, and both sides of every change and drawn hole."""
        if not len(self.known):
            return self.known
        states = self.flat[self.known]
        begins = np.append(True, states[1:] != states[:-1])
        begins[np.searchsorted(self.known, self.last)[:-1] + 1] = True
        begins[np.searchsorted(self.known, self.holes.drawn(step).after) + 1] = True
        places = np.flatnonzero(begins)
        changes: Places = self.known[_with(places, np.maximum(places - 1, 0))]
        return changes

    def shown(self, step: float, rule: Rule) -> Places:
        """The place of each series' and step's point."""
        cells = self.cells(step)
        if rule.badness is None:
            return self.last_of(cells)
        badness = rule.badness(self.values)
        if rule.together:
            column = _worst(badness[None, :], cells)
            return (np.arange(len(self.values))[:, None] * self.count + column).ravel()
        if rule.unknown is not None:
            badness.ravel()[self._briefly(rule.unknown, step)] = -np.inf
        return _worst(badness, cells)

    def _briefly(self, state: float, step: float) -> Places:
        """The places at which a state stands that lasts for less than a step."""
        series, column = np.divmod(self.known, self.count)
        ends = np.append(series[1:] != series[:-1], True)
        is_it = self.flat[self.known] == state
        begins = is_it & np.append(True, ends[:-1] | ~is_it[:-1])
        run = np.cumsum(begins)[is_it]
        following = np.where(ends, self.end.at, np.append(self.axis.times[column][1:], self.end.at))
        since, until = self.axis.times[column][begins], np.zeros(int(begins.sum()))
        np.maximum.at(until, run - 1, following[is_it])
        brief: Places = self.known[is_it][(until - since < step)[run - 1]]
        return brief

    def last_of(self, cells: Places) -> Places:
        """The place of each series' and step's last known point."""
        if self.is_full:
            columns = np.flatnonzero(np.append(cells[1:] != cells[:-1], True))
            return ((self.bounds - self.count)[:, None] + columns).ravel()
        series, column = np.divmod(self.known, self.count)
        cell = cells[column]
        is_last = np.append((series[1:] != series[:-1]) | (cell[1:] != cell[:-1]), True)
        return self.known[is_last] if len(self.known) else self.known

    def points(self, kept: Places, step: float, *, closed: bool = True) -> list[Points]:
        """The series made of these points, closed by their last ones, and the nulls of what is as long as a step."""
        if closed:
            kept = _with(kept, self.last)
        ends = np.searchsorted(kept, self.bounds)
        times, values = self.axis.times[kept % self.count], self.flat[kept]
        holes, tail = self.holes.drawn(step), self.tail.drawn(step)
        after, at = np.concatenate((holes.after, tail.after)), np.concatenate((holes.times, tail.times))
        if len(after):
            order = np.lexsort((at, after))
            places = np.searchsorted(kept, after[order], side="right")
            times, values = np.insert(times, places, at[order]), np.insert(values, places, np.nan)
            series = after // self.count
            ends = ends + np.cumsum(np.bincount(series, minlength=len(self.values)))
        found = []
        for first, last in zip([0, *ends.tolist()][:-1], ends.tolist(), strict=True):
            found.append(Points(times[first:last], values[first:last], step) if last > first else self._unknown())
        return found

    def _unknown(self) -> Points:
        """A series of which nothing is known in the range."""
        at = self.end.at if self.end.kind == "lost" else float(self.axis.times[-1])
        first = float(self.axis.times[0])
        return _nulls([first, at] if self.end.kind != "past" and first < at else [at])


def _with(places: Places, more: Places) -> Places:
    """Both, rising, each once. ``more`` are few, or most of them among the others."""
    at = np.searchsorted(places, more)
    new = at == len(places)
    new[~new] = places[at[~new]] != more[~new]
    both: Places = np.insert(places, at[new], more[new])
    return both


def _twice(after: Places, begins: Floats, ends: Floats, length: float) -> _Breaks:
    """Two nulls behind each place, at rising times: old panels take the value before a single one for the last."""
    begins = np.where(begins < ends, begins, np.nextafter(ends, -np.inf) - 0.001)
    both = np.stack((begins, ends), axis=1).ravel()
    return _Breaks(np.repeat(after, 2), both, np.full(len(both), length))


def _nothing(end: End) -> Points:
    """A series that was not observed in the range at all."""
    return _nulls([end.since, end.at] if end.since < end.at else [end.at])


def _nulls(times: Sequence[float]) -> Points:
    return Points(np.array(times, dtype=np.float64), np.full(len(times), np.nan), 0.0)


def _worst(badness: Floats, cells: Places) -> Places:
    """Where each series' and step's worst known value stands, the first of several, in the flattened array; rising."""
    count = len(cells)
    starts = np.flatnonzero(np.r_[True, cells[1:] != cells[:-1]])
    lengths = np.diff(np.r_[starts, count])
    worst = np.fmax.reduceat(badness, starts, axis=1)  # which passes over NaN
    # NaN equals nothing, so what is not known is never the worst.
    candidates = np.flatnonzero(badness == np.repeat(worst, lengths, axis=1))
    series, row = np.divmod(candidates, count)
    of_cell = series * len(starts) + np.repeat(np.arange(len(starts)), lengths)[row]
    first = np.ones(len(of_cell), dtype=bool)
    np.not_equal(of_cell[1:], of_cell[:-1], out=first[1:])
    return candidates[first]
