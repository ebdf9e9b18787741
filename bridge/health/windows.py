"""Counters over time: what they rose by, from poll to poll and in a window, as PromQL's ``increase`` would say.

A window holds one row a poll and one column a series (NaN where a series was absent), so that each series is followed
through its own resets and all of them are worked out at once. Times are on the steady time line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bridge.health.increase import EDGE_INTERVALS, extrapolated, walked
from bridge.health.series_index import NOTHING, Ints, SeriesIndex
from bridge.model import FAILURE_CLASSES, CounterId, Counters, Floats

MAX_SERIES = 5_000
MAX_VALUES = 1_000_000
"""What a window keeps of series that are gone: no more than this many series and values (8 MB) with the present ones,
but always a tenth as many as are present.

The present ones are always kept, so only a gateway that names its series anew again and again ever meets this.
"""
MAX_PAST = 2_000
"""Series out of the window whose last value is kept, in case they return."""
PAST_SECONDS = 86_400.0
"""For so long."""


class LastValue(NamedTuple):
    """What a series that left the window stood at, and when it was last seen."""

    value: float
    seen: float


@dataclass(frozen=True, slots=True, eq=False)
class Rises:
    """What the series of an index rose by from one poll to the next."""

    index: SeriesIndex
    amounts: Floats
    """NaN for a series whose step is not known."""
    begins: Floats
    """When each was last seen before: its step lasted from then on."""
    before: Floats
    """What each stood at; NaN for one not seen before."""
    resets: NDArray[np.bool_]
    """True where it is lower now."""
    present: NDArray[np.bool_]
    """True where it has a value now."""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """The last ``seconds`` of counters. Immutable: ``append`` gives the next one."""

    seconds: float
    index: SeriesIndex = field(default_factory=lambda: SeriesIndex(()))
    given: tuple[CounterId, ...] = ()
    """The series of the last poll; the first of the index."""
    times: tuple[float, ...] = ()
    rows: tuple[Floats, ...] = ()
    lost: tuple[Floats | None, ...] = ()
    """What each series stood at before it was reset in a poll; None for a poll without resets."""
    whole: bool = True
    """True when every series has a value in every row."""
    last: Floats = field(default_factory=lambda: np.empty(0))
    """The last known value of each series."""
    seen: Floats = field(default_factory=lambda: np.empty(0))
    """And when that was."""
    past: Mapping[CounterId, LastValue] = field(default_factory=lambda: MappingProxyType({}))
    """Series that left the window."""
    forgotten: int = 0
    """How many series the last poll pushed out before their time; see ``MAX_SERIES``."""
    forgotten_at: float | None = None
    """When any was last pushed out, or not kept in ``past``: a series that appears may be one of them."""

    @property
    def ids(self) -> tuple[CounterId, ...]:
        """The series that have a value in the window."""
        return self.index.ids

    def append(self, at: float, counters: Counters) -> tuple[Window, Rises]:
        """The window that ends at ``at`` (steady, later than any before) and holds these counters too; and their rises.

        Polls older than the window are dropped, and with them the series that have no sample left; of more than a
        window may hold, those that have been gone for longest. The window is closed at both ends, as Prometheus 2's
        range selectors are.

        A value lower than before is a reset: all of it is new. A series that returns rose by what it has more. One
        never seen before counts from zero when there were counters before (clients show a series at its first event);
        but where others of its kind are gone in the same poll it is one of them under another name, and where series
        were forgotten it may be one of those: then its past is not known.
        """
        started, start = bool(self.times), at - self.seconds
        window, appeared = self._since(start), NOTHING
        if counters.ids is not self.given:
            if counters.ids != self.given:
                window, appeared = window._laid_out(counters.ids, at)
            window = replace(window, given=counters.ids)
        if len(window.ids) > len(window.given) and (window.seen[len(window.given) :] < start).any():
            window, _ = window._laid_out(window.given, at)
        row = counters.numbers
        if len(window.ids) > len(row):
            row = np.concatenate((row, np.full(len(window.ids) - len(row), np.nan)))
        present = ~np.isnan(row)
        last = window.last
        with np.errstate(invalid="ignore"):
            resets = row < last
        amounts = np.where(resets, row, row - last)
        begins = window.seen
        if len(appeared) and started:
            counted = window._counted_from_zero(appeared, self.given, resets)
            amounts[counted] = row[counted]
            begins = begins.copy()
            begins[appeared] = self.times[-1]
        everyone = bool(present.all())
        after = replace(
            window,
            times=(*window.times, at),
            rows=(*window.rows, row),
            lost=(*window.lost, np.where(resets, last, 0.0) if resets.any() else None),
            whole=window.whole and everyone,
            last=row if everyone else np.where(present, row, last),
            seen=np.full(len(row), at) if everyone else np.where(present, at, window.seen),
        )
        return after, Rises(window.index, amounts, begins, last, resets, present)

    def _since(self, start: float) -> Window:
        """This window without the polls before ``start``."""
        old = sum(time < start for time in self.times)
        if not old:
            return self
        rows = self.rows[old:]
        whole = self.whole or not any(np.isnan(row).any() for row in rows)
        return replace(self, times=self.times[old:], rows=rows, lost=self.lost[old:], whole=whole)

    def _laid_out(self, given: tuple[CounterId, ...], at: float) -> tuple[Window, Ints]:
        """This window with columns for these series, and then for those that are gone; and which of them are new."""
        place_of = {counter: place for place, counter in enumerate(self.ids)}
        sources = np.array([place_of.pop(counter, -1) for counter in given], dtype=np.int64)
        gone = np.array(list(place_of.values()), dtype=np.int64)
        start = self.times[0] if self.times else at
        alive = gone[self.seen[gone] >= start] if self.times else NOTHING
        most = max(len(given) // 10, min(MAX_SERIES, MAX_VALUES // (len(self.times) + 1)) - len(given))
        kept = np.sort(alive[np.argsort(-self.seen[alive], kind="stable")[:most]])
        past, overflow = self._past_with(np.setdiff1d(gone, kept), at)
        ids = given if not len(kept) else (*given, *(self.ids[place] for place in kept.tolist()))
        index = SeriesIndex(ids)
        sources = np.concatenate((sources, kept))
        known = sources >= 0

        def moved(row: Floats) -> Floats:
            return np.where(known, row[sources], np.nan) if len(row) else np.full(len(sources), np.nan)

        last, seen = moved(self.last), moved(self.seen)
        appeared = []
        for place in np.flatnonzero(~known).tolist():
            before = past.pop(ids[place], None)
            if before is None:
                appeared.append(place)
            else:
                last[place], seen[place] = before
        forgotten = len(alive) - len(kept)
        laid_out = Window(
            self.seconds,
            index,
            given,
            self.times,
            tuple(moved(row) for row in self.rows),
            tuple(None if lost is None else np.nan_to_num(moved(lost)) for lost in self.lost),
            whole=not self.rows,
            last=last,
            seen=seen,
            past=past,
            forgotten=forgotten,
            forgotten_at=at if forgotten or overflow else self._still_forgetful(at),
        )
        return laid_out, np.array(appeared, dtype=np.int64)

    def _past_with(self, gone: Ints, at: float) -> tuple[dict[CounterId, LastValue], bool]:
        """What is kept of series that left, these included; and whether some could not be kept."""
        past = {counter: one for counter, one in self.past.items() if one.seen >= at - PAST_SECONDS}
        for place in gone.tolist():
            if not np.isnan(self.last[place]):
                past[self.ids[place]] = LastValue(float(self.last[place]), float(self.seen[place]))
        if len(past) <= MAX_PAST:
            return past, False
        newest = sorted(past.items(), key=lambda item: (-item[1].seen, item[0]))[:MAX_PAST]
        return dict(newest), True

    def _still_forgetful(self, at: float) -> float | None:
        return None if self.forgotten_at is None or at - self.forgotten_at > PAST_SECONDS else self.forgotten_at

    def _counted_from_zero(self, appeared: Ints, given_before: Sequence[CounterId], resets: NDArray[np.bool_]) -> Ints:
        """Those of the series that appeared that count from zero; ``given_before`` are those of the poll before."""
        if self.forgotten_at is not None:
            return NOTHING
        there = set(self.given)
        left = {_kind(one): False for one in given_before if one not in there}
        if left:  # and whether what is left of their kind began again
            for place in np.flatnonzero(resets).tolist():
                one = self.ids[place]
                if (kind := _kind(one)) in left:
                    left[kind] = True
        named = ((place, self.ids[place]) for place in appeared.tolist())
        counted = [place for place, one in named if left.get(_kind(one), True)]
        return np.array(counted, dtype=np.int64)

    def since(self) -> Floats:
        """From when on the window knows what each provider of its index did (steady).

        That is from the window's beginning, if need be by extrapolation, or from the first counters it holds of it: the
        service has just been started, or there was no good poll for a while. Of one that has no value in it nothing is.
        """
        if not self.times:
            return np.empty(0)
        start, end = self.times[-1] - self.seconds, self.times[-1]
        edge = start + EDGE_INTERVALS * (end - self.times[0]) / max(1, len(self.times) - 1)
        first = np.full(len(self.index.providers), self.times[0] if self.whole else end)
        if not self.whole:
            np.minimum.at(first, self.index.provider_of, self._first_times())
        return np.where(first < edge, start, first)

    def _first_times(self) -> Floats:
        """When each series first has a value in the window."""
        first = np.full(len(self.ids), np.inf)
        missing = np.arange(len(self.ids))
        for time, row in zip(self.times, self.rows, strict=True):
            there = ~np.isnan(row[missing])
            first[missing[there]] = time
            missing = missing[~there]
        return first

    def increases(self, since: Floats | float) -> Floats:
        """What each series rose by, extrapolated back to ``since`` (steady; one time for all, or one a series).

        NaN for a series with fewer than two samples. Source: Prometheus' ``increase()`` (promql/functions.go,
        extrapolatedRate), evaluated at the last poll.
        """
        if len(self.times) < 2:
            return np.full(len(self.ids), np.nan)
        first, last = self.rows[0], self.rows[-1]
        count: Floats | float = float(len(self.times))
        first_time: Floats | float = self.times[0]
        last_time: Floats | float = self.times[-1]
        resets: Floats | float = sum((lost for lost in self.lost[1:] if lost is not None), start=np.zeros(len(first)))
        if not self.whole:
            first, last, count, first_time, last_time, resets = walked(self.times, self.rows)
        return extrapolated(last - first + resets, first, count, first_time, last_time, since, self.times[-1])


def _kind(counter: CounterId) -> tuple[str, str, str]:
    """What a counter counts, and whose. Classes of failures are one kind: a dialect may come to tell them apart."""
    signal = "failures" if counter.signal in FAILURE_CLASSES.values() else counter.signal
    return signal, counter.provider, counter.model
