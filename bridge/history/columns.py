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

from bridge.history.codec import Floats
from bridge.history.segment import AT, FLEET, GOOD, INTERVAL, MODELS, SECONDS, Segment
from bridge.model import CircuitState, Event, Key

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

        Raises TooManyValuesError, as ``of_models`` and ``circuit_states`` do.
        """
        return self._joined(metric, [part.segment.layout.providers for part in self._parts], picks)

    def of_fleet(self, metric: str) -> Floats:
        """A fleet metric's values, shape (times,)."""
        metrics, values = self._joined(FLEET, [part.segment.layout.fleet for part in self._parts])
        return values[:, metrics.index(metric)] if metric in metrics else np.full(len(self.times), np.nan)

    def of_models(self, picks: Picks[Key] = everyone) -> tuple[tuple[Key, ...], Floats]:
        """The models picked, and their error rates, shape (times, models)."""
        return self._joined(MODELS, [part.segment.layout.models for part in self._parts], picks)

    def circuit_states(self, events: Sequence[Event], picks: Picks[Key] = everyone) -> tuple[tuple[Key, ...], Floats]:
        """The state of each circuit picked at each good poll, rebuilt from all circuit events up to the range's end."""
        by_circuit: dict[Key, list[Event]] = {}
        for event in events:
            by_circuit.setdefault(Key(event.provider, event.model), []).append(event)
        by_circuit = {key: its_events for key, its_events in by_circuit.items() if picks(key)}
        self._bound(len(by_circuit))
        circuits, states = [], []
        for key, its_events in sorted(by_circuit.items()):
            after = [CircuitState[event.after].value if event.after else np.nan for event in its_events]
            timeline = np.array([np.nan, *after])
            position = np.searchsorted([event.at for event in its_events], self.times, side="right")
            column = np.where(self.good, timeline[position], np.nan)
            if not np.isnan(column).all():
                circuits.append(key)
                states.append(column)
        return tuple(circuits), np.array(states).T if states else np.empty((len(self.times), 0))

    def _joined(
        self, column: str, names: Sequence[tuple[Name, ...]], picks: Picks[Name] = everyone
    ) -> tuple[tuple[Name, ...], Floats]:
        """One column of all parts, side by side by name, shape (times, names); with the marks' rows in place."""
        alike = bool(names) and all(one == names[0] for one in names)
        chosen = tuple(filter(picks, names[0] if alike else sorted(set().union(*names))))
        self._bound(len(chosen))
        place = {name: index for index, name in enumerate(chosen)}
        joint = np.full((len(self.times), len(chosen)), np.nan, order="F")  # as blocks store it, and series are read
        polls = np.flatnonzero(self.polled)
        start = 0
        for part, of_part in zip(self._parts, names, strict=True):
            values = _column(part, column, len(of_part))
            rows = polls[start : start + len(values)]
            start += len(rows)
            if of_part == chosen:
                joint[rows] = values
            else:
                there = [index for index, name in enumerate(of_part) if name in place]
                places = np.array([place[of_part[index]] for index in there], dtype=np.int64)
                joint[np.ix_(rows, places)] = values[:, there]
        return chosen, joint

    def _bound(self, names: int) -> None:
        if len(self.times) * names > MOST_VALUES:
            raise TooManyValuesError(f"{names} series of {len(self.times)} polls are too many for one answer")


def _column(part: Part, name: str, width: int) -> Floats:
    """A part's values of one column; not known where its polls did not record it."""
    layout = part.segment.layout
    if name in layout.metrics or name in (FLEET, MODELS):
        return part.segment.column(name)[part.rows]
    return np.full((len(part.segment.axis[AT, part.rows]), width), np.nan)


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
