"""The log as columns: one time axis, every poll of a range, and for each metric an array over it. NaN: not known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bridge import policy
from bridge.history.codec import Floats, Level
from bridge.history.segment import AT, GOOD, INTERVAL, SECONDS, Segment
from bridge.model import Key

Name = TypeVar("Name", bound=Any)
Picks = Callable[[Name], bool]
"""Says whether a name is wanted."""
MOST_VALUES = 32_000_000
"""What one answer is made of at most: a quarter of a gigabyte."""
GAP_INTERVALS = policy.GAP_INTERVALS


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
    """Epoch seconds, strictly rising."""
    intervals: Floats
    """The poll interval that was in force at each."""
    good: NDArray[np.bool_]
    """True for a good poll."""
    seconds: Floats
    """How long each poll took."""
    _parts: tuple[Part, ...]

    @property
    def providers(self) -> tuple[str, ...]:
        """All who were there in any poll of the range."""
        return _names([part.segment.layout.provider for part in self._parts])

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
        """One column of all parts, side by side by name, shape (times, names)."""
        chosen = tuple(filter(picks, _names(levels)))
        self._bound(len(chosen))
        place = {name: index for index, name in enumerate(chosen)}
        joint = np.full((len(self.times), len(chosen)), np.nan, order="F")  # as blocks store it, and series are read
        start = 0
        for part, level in zip(self._parts, levels, strict=True):
            rows = slice(start, start + part.polls)
            start += part.polls
            if metric not in level.metrics:
                continue
            values = part.segment.column(metric)[part.rows]
            if level.names == chosen:
                joint[rows] = values
            else:
                there = [index for index, name in enumerate(level.names) if name in place]
                places = np.array([place[level.names[index]] for index in there], dtype=np.int64)
                joint[rows, places] = values[:, there]
        return chosen, joint

    def _bound(self, names: int) -> None:
        if len(self.times) * names > MOST_VALUES:
            raise TooManyValuesError(f"{names} series of {len(self.times)} polls are too many for one answer")


def _names(levels: Sequence[Level[Name]]) -> tuple[Name, ...]:
    """The names of all levels, in order."""
    names = [level.names for level in levels]
    alike = bool(names) and all(one == names[0] for one in names)
    return names[0] if alike else tuple(sorted(set().union(*names)))


def join(parts: Sequence[Part]) -> Columns:
    """Columns over these parts, oldest first."""
    axis = np.concatenate([part.segment.axis[:, part.rows] for part in parts], axis=1) if parts else np.empty((4, 0))
    return Columns(axis[AT], axis[INTERVAL], axis[GOOD].astype(bool), axis[SECONDS], tuple(parts))
