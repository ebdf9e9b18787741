"""A run of polls as columns: the axis (when, how), and for each metric an array of polls by providers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.history.codec import Floats, PollLayout

FLEET, MODELS, AXIS = "@fleet", "@models", "@axis"
"""Columns that are no provider metric: fleet metrics, models' error rates, and the axis itself."""
AT, INTERVAL, GOOD, SECONDS = range(4)
"""Rows of the axis: epoch seconds, poll interval, 1 for a good poll, and how long the poll took."""


@dataclass(frozen=True, slots=True)
class PollRow:
    """One poll of the log; ``layout`` and ``numbers`` are None for a failed one."""

    id: int
    at: float
    interval: float
    good: bool
    seconds: float
    layout: PollLayout | None
    numbers: Floats | None


@dataclass(frozen=True, slots=True)
class Segment:
    """Polls in rising time. ``column(name)`` has shape (polls, width); NaN is "not known"."""

    layout: PollLayout
    axis: Floats
    """Shape (4, polls): see ``AT`` and its neighbours."""
    column: Callable[[str], Floats]


def widths(layout: PollLayout) -> dict[str, int]:
    """Every column's name and width."""
    return {
        **dict.fromkeys(layout.metrics, len(layout.providers)),
        FLEET: len(layout.fleet),
        MODELS: len(layout.models),
    }


def of_rows(rows: Sequence[PollRow]) -> Segment:
    """Polls as a segment; whoever was absent from one is not known in it."""
    layouts = {row.layout for row in rows if row.layout is not None}
    layout = PollLayout(
        providers=tuple(sorted({provider for one in layouts for provider in one.providers})),
        models=tuple(sorted({model for one in layouts for model in one.models})),
        metrics=_joined([one.metrics for one in layouts]),
        fleet=_joined([one.fleet for one in layouts]),
    )
    axis = np.array([(row.at, row.interval, row.good, row.seconds) for row in rows], dtype=np.float64).reshape(-1, 4).T
    columns = {name: np.full((len(rows), width), np.nan) for name, width in widths(layout).items()}
    for one in layouts:
        places = [index for index, row in enumerate(rows) if row.layout == one]
        numbers = np.stack([row.numbers for row in rows if row.layout == one and row.numbers is not None])
        _spread(columns, layout, one, np.array(places, dtype=np.int64), numbers)
    return Segment(layout, axis, columns.__getitem__)


def _joined(names: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for some in names for name in some))


def _spread(
    columns: Mapping[str, Floats], layout: PollLayout, one: PollLayout, places: NDArray[np.int64], numbers: Floats
) -> None:
    """Put the polls of one layout into the columns of the joint one."""
    targets = {
        **dict.fromkeys(one.metrics, _places(layout.providers, one.providers)),
        FLEET: _places(layout.fleet, one.fleet),
        MODELS: _places(layout.models, one.models),
    }
    start = 0
    for name, width in widths(one).items():
        columns[name][np.ix_(places, np.array(targets[name], dtype=np.int64))] = numbers[:, start : start + width]
        start += width


def _places(all_names: Sequence[object], names: Sequence[object]) -> list[int]:
    place = {name: index for index, name in enumerate(all_names)}
    return [place[name] for name in names]
