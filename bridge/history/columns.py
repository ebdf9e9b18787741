"""The log as columns: one time axis, and for each metric an array over it. NaN is "not known".

The axis holds every poll of a range, and a mark where polls are missing altogether (the bridge was not running), so
that a line drawn over it breaks there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bridge.history.codec import Floats, Level
from bridge.history.segment import AT, GOOD, INTERVAL, SECONDS, Segment
from bridge.model import Key

Name = TypeVar("Name", bound=Any)
Picks = Callable[[Name], bool]
"""Says whether a name is wanted."""
MOST_VALUES = 32_000_000
"""What one answer is made of at most: a quarter of a gigabyte."""
GAP_INTERVALS = 1.75
"""Two polls further apart than this many intervals have a missed one between them."""


class TooManyValuesError(Exception):
    """A question about more than fits the memory of a worker."""


def everyone(_: object) -> bool:
    """Picks all there are."""
    return True


@dataclass(frozen=True, slots=True)
class Part:
    """Those polls of a segment that a range holds."""

    segment: Segment
    rows: slice

    @property
    def polls(self) -> int:
        """How many: of a column that is gone there are as many values, none known."""
        return len(range(*self.rows.indices(self.segment.axis.shape[1])))


@dataclass(frozen=True, slots=True)
class Columns:
    """A range of the log. All arrays have one row for each entry of ``times``."""

    times: Floats
    """Epoch seconds, strictly rising: polls, and marks of missing ones."""
    good: NDArray[np.bool_]
    """True where a good poll stands."""
    polled: NDArray[np.bool_]
    """True where any poll stands; False at a mark."""
    seconds: Floats
    """How long each poll took; NaN at a mark."""
    _parts: tuple[Part, ...]
    _marks: NDArray[np.int64]
    """Before which polls the marks stand."""

    def of_providers(self, metric: str, picks: Picks[str] = everyone) -> tuple[tuple[str, ...], Floats]:
        """Those picked of all who were there in any poll of the range, and their values, shape (times, providers).

        Raises TooManyValuesError, as ``of_models`` does.
        """
        return self._joined(metric, [part.segment.layout.provider for part in self._parts], picks)

    def of_fleet(self, metric: str) -> Floats:
        """A fleet metric's values, shape (times,)."""
        names, values = self._joined(metric, [part.segment.layout.fleet for part in self._parts])
        return values[:, 0] if names else np.full(len(self.times), np.nan)

    def of_models(self, metric: str, picks: Picks[Key] = everyone) -> tuple[tuple[Key, ...], Floats]:
        """The models picked of which the metric is known at all, and their values, shape (times, models)."""
        models, values = self._joined(metric, [part.segment.layout.model for part in self._parts], picks)
        some = np.flatnonzero(~np.isnan(values).all(axis=0))
        if len(some) == len(models):
            return models, values
        return tuple(models[index] for index in some), values[:, some]

    def _joined(
        self, metric: str, levels: Sequence[Level[Name]], picks: Picks[Name] = everyone
    ) -> tuple[tuple[Name, ...], Floats]:
        """One column of all parts, side by side by name, shape (times, names); with the marks' rows in place."""
        names = [level.names for level in levels]
        alike = bool(names) and all(one == names[0] for one in names)
        chosen = tuple(filter(picks, names[0] if alike else sorted(set().union(*names))))
        self._bound(len(chosen))
        place = {name: index for index, name in enumerate(chosen)}
        joint = np.full((len(self.times), len(chosen)), np.nan, order="F")  # as blocks store it, and series are read
        polls = np.flatnonzero(self.polled)
        start = 0
        for part, level in zip(self._parts, levels, strict=True):
            rows = polls[start : start + part.polls]
            start += part.polls
            if metric not in level.metrics:
                continue
            values = part.segment.column(metric)[part.rows]
            if level.names == chosen:
                joint[rows] = values
            else:
                there = [index for index, name in enumerate(level.names) if name in place]
                places = np.array([place[level.names[index]] for index in there], dtype=np.int64)
                joint[np.ix_(rows, places)] = values[:, there]
        return chosen, joint

    def _bound(self, names: int) -> None:
        if len(self.times) * names > MOST_VALUES:
            raise TooManyValuesError(f"{names} series of {len(self.times)} polls are too many for one answer")


def join(parts: Sequence[Part], end: float) -> Columns:
    """Columns over these parts (oldest first) and up to ``end``, the earlier of the range's end and now."""
    axis = np.concatenate([part.segment.axis[:, part.rows] for part in parts], axis=1) if parts else np.empty((4, 0))
    times, intervals = axis[AT], axis[INTERVAL]
    following = np.append(times[1:], end)
    wanted = np.maximum(intervals, np.append(intervals[1:], 0.0))
    missing = np.flatnonzero(following - times > GAP_INTERVALS * wanted)
    marks = missing + 1
    good = np.insert(axis[GOOD], marks, 0.0).astype(bool)
    return Columns(
        times=np.insert(times, marks, times[missing] + wanted[missing]),
        good=good,
        polled=np.insert(np.ones(len(times), dtype=bool), marks, False),
        seconds=np.insert(axis[SECONDS], marks, np.nan),
        _parts=tuple(parts),
        _marks=marks,
    )
