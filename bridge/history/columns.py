"""The log as columns: one time axis, and for each metric an array over it. NaN is "not known".

The axis holds every poll of a range, and a mark where polls are missing altogether (the bridge was not running), so
that a line drawn over it breaks there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.history.codec import Floats, PollLayout
from bridge.history.store import PollRow
from bridge.model import CircuitState, Event, Key

GAP_INTERVALS = 1.75
"""Two polls further apart than this many intervals have a missed one between them."""


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
    _blocks: tuple[_Block, ...]

    def providers(self) -> tuple[str, ...]:
        """Everyone who was there in any poll of the range, by name."""
        return tuple(sorted({provider for block in self._blocks for provider in block.layout.providers}))

    def of_providers(self, metric: str) -> tuple[tuple[str, ...], Floats]:
        """The providers, and a metric's values, shape (times, providers)."""
        providers = self.providers()
        place = {provider: column for column, provider in enumerate(providers)}
        values = np.full((len(self.times), len(providers)), np.nan)
        for block in self._blocks:
            if metric not in block.layout.metrics:
                continue
            width = len(block.layout.providers)
            first = block.layout.metrics.index(metric) * width
            columns = np.array([place[provider] for provider in block.layout.providers], dtype=np.int64)
            values[np.ix_(block.rows, columns)] = block.numbers[:, first : first + width]
        return providers, values

    def of_fleet(self, metric: str) -> Floats:
        """A fleet metric's values, shape (times,)."""
        values = np.full(len(self.times), np.nan)
        for block in self._blocks:
            if metric in block.layout.fleet:
                layout = block.layout
                column = len(layout.metrics) * len(layout.providers) + layout.fleet.index(metric)
                values[block.rows] = block.numbers[:, column]
        return values

    def of_models(self) -> tuple[tuple[Key, ...], Floats]:
        """The models, and their error rates, shape (times, models)."""
        models = tuple(sorted({key for block in self._blocks for key in block.layout.models}))
        place = {key: column for column, key in enumerate(models)}
        values = np.full((len(self.times), len(models)), np.nan)
        for block in self._blocks:
            columns = np.array([place[key] for key in block.layout.models], dtype=np.int64)
            values[np.ix_(block.rows, columns)] = block.numbers[:, block.layout.size - len(columns) :]
        return models, values

    def circuit_states(self, events: Sequence[Event]) -> tuple[tuple[Key, ...], Floats]:
        """Every circuit's state at each good poll, rebuilt from all circuit events up to the end of the range."""
        by_circuit: dict[Key, list[Event]] = {}
        for event in events:
            by_circuit.setdefault(Key(event.provider, event.model), []).append(event)
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


@dataclass(frozen=True, slots=True)
class _Block:
    """Polls of one layout: their rows on the axis, and their numbers, shape (rows, layout.size)."""

    layout: PollLayout
    rows: NDArray[np.int64]
    numbers: Floats


def build(polls: Sequence[PollRow], end: float) -> Columns:
    """Columns over these polls (oldest first) and up to ``end``, the earlier of the range's end and now."""
    times: list[float] = []
    good: list[bool] = []
    polled: list[bool] = []
    seconds: list[float] = []
    by_layout: dict[PollLayout, tuple[list[int], list[Floats]]] = {}
    for index, poll in enumerate(polls):
        following = polls[index + 1] if index + 1 < len(polls) else None
        if poll.layout is not None and poll.numbers is not None:
            rows, numbers = by_layout.setdefault(poll.layout, ([], []))
            rows.append(len(times))
            numbers.append(poll.numbers)
        times.append(poll.at)
        good.append(poll.layout is not None)
        polled.append(True)
        seconds.append(poll.seconds)
        interval = poll.interval if following is None else max(poll.interval, following.interval)
        if (end if following is None else following.at) - poll.at > GAP_INTERVALS * interval:
            times.append(poll.at + interval)
            good.append(False)
            polled.append(False)
            seconds.append(np.nan)
    blocks = tuple(
        _Block(layout, np.array(rows, dtype=np.int64), np.stack(numbers))
        for layout, (rows, numbers) in by_layout.items()
    )
    return Columns(np.array(times), np.array(good, dtype=bool), np.array(polled, dtype=bool), np.array(seconds), blocks)
