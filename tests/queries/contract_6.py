"""What a series over a range is (contract 6), said a second time: plainly, poll by poll, for one series alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

Point = tuple[float | None, float]
"""Value (None: not known) and time."""


@dataclass(frozen=True)
class Poll:
    """One poll as the log holds it: a failed one has no value; a good one may have none either."""

    at: float
    interval: float
    good: bool
    value: float | None = None


@dataclass(frozen=True)
class Range:
    """A range that is asked for at ``now``; ``lost_since`` is when the first poll was missed of data that is stale."""

    start: float
    end: float
    now: float
    stale_after: float
    lost_since: float | None = None

    @property
    def last(self) -> float:
        """The earlier of its end and now."""
        return min(self.end, self.now)

    @property
    def reaches_now(self) -> bool:
        """Whether its end counts as now."""
        return self.end >= self.now - self.stale_after


@dataclass(frozen=True)
class Hole:
    """Nothing is known from ``since`` to ``until``; it counts for ``seconds``."""

    since: float
    until: float
    seconds: float


def known_of(polls: Sequence[Poll], asked: Range) -> list[Poll]:
    """The polls of the range that brought a value."""
    return [one for one in polls if asked.start <= one.at <= asked.last and one.good and one.value is not None]


def holes_of(polls: Sequence[Poll], asked: Range) -> list[Hole]:
    """What is not known between two polls that brought a value."""
    found = []
    for before, after in pairwise(known_of(polls, asked)):
        interval = max(before.interval, after.interval)
        spacing = after.at - before.at
        if spacing > 1.75 * interval:
            missed = max(1, round(spacing / interval) - 1)
            found.append(Hole(_missed_after(before, polls, interval), after.at, missed * interval))
    return found


def _missed_after(before: Poll, polls: Sequence[Poll], interval: float) -> float:
    following = [one.at for one in polls if one.at > before.at]
    return min([before.at + interval, *following[:1]])


def points(
    polls: Sequence[Poll],
    asked: Range,
    step: float,
    worst: Callable[[float], float] | None,
    *,
    closing: float | None = None,
    changes_only: bool = False,
) -> list[Point]:
    """The series in steps of this length; 0 gives all polls. ``worst`` turns a value so that the highest is shown.

    ``closing`` is a state that says that nothing is known, of a metric that has one.
    """
    polls = [one for one in polls if asked.start <= one.at <= asked.last]
    stale = asked.reaches_now and asked.lost_since is not None
    if stale and closing is not None and not any(one.at >= asked.last for one in polls):
        polls = [*polls, Poll(asked.last, 0.0, True, closing)]
    known, holes = known_of(polls, asked), holes_of(polls, asked)
    shown = [(one.value, one.at) for one in known]
    if changes_only:
        shown = _changes(known, [hole for hole in holes if hole.seconds >= step])
    elif step:
        shown = [
            _of_step(list(group), worst, known, asked, step, closing)
            for _, group in groupby(known, key=lambda one: math.floor(one.at / step))
        ]
    shown += [(known[-1].value, known[-1].at)] if known else []
    nulls = [(None, hole.since) for hole in holes if hole.seconds >= step]
    return sorted({*shown, *nulls, *_end(polls, known, asked, step, stale and closing is None)}, key=lambda it: it[1])


def _of_step(
    of_step: Sequence[Poll],
    worst: Callable[[float], float] | None,
    known: Sequence[Poll],
    asked: Range,
    step: float,
    closing: float | None,
) -> Point:
    def badness(one: Poll) -> float:
        assert worst is not None
        assert one.value is not None
        brief = closing is not None and one.value == closing and _lasts(one, known, asked) < step
        return -math.inf if brief else worst(one.value)

    chosen = of_step[-1] if worst is None else max(of_step, key=badness)  # the first of several
    return chosen.value, chosen.at


def _lasts(one: Poll, known: Sequence[Poll], asked: Range) -> float:
    """For how long a state holds that a poll is in the middle of."""
    since = until = known.index(one)
    while since > 0 and known[since - 1].value == one.value:
        since -= 1
    while until + 1 < len(known) and known[until + 1].value == one.value:
        until += 1
    ended = known[until + 1].at if until + 1 < len(known) else asked.last
    return ended - known[since].at


def _changes(known: Sequence[Poll], drawn: Sequence[Hole]) -> list[Point]:
    kept = [*known[:1], *known[-1:]]
    resumed = {hole.until for hole in drawn}
    for before, after in pairwise(known):
        if before.value != after.value or after.at in resumed:
            kept += [before, after]
    return [(one.value, one.at) for one in kept]


def _end(polls: Sequence[Poll], known: Sequence[Poll], asked: Range, step: float, lost: bool) -> list[Point]:
    """The nulls behind the last value."""
    if not known:
        return [(None, asked.last)]  # where exactly is looked at elsewhere
    last = known[-1]
    since = _missed_after(last, polls, last.interval)
    good = [one for one in polls if one.good]
    if lost:
        return _twice(since, asked.last)
    if asked.reaches_now:
        return _twice(since, good[-1].at) if last is not good[-1] else []
    if last is not good[-1]:
        return [(None, since)]
    spacing = asked.last - last.at
    missed = math.floor(spacing / last.interval) if spacing > 1.75 * last.interval else 0
    return [(None, since)] if missed and missed * last.interval >= step else []


def _twice(since: float, until: float) -> list[Point]:
    return [(None, since if since < until else math.nextafter(until, -math.inf) - 0.001), (None, until)]
