"""A run of polls as columns: the axis (when, how), and for each metric an array of polls by providers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.history.codec import Floats, PollLayout

FLEET, MODELS, AXIS = "@fleet", "@models", "@axis"
"""Columns that are no provider metric: fleet metrics, models' error rates, and the axis itself."""
KEPT_BYTES = 4 * 2**20
"""A larger column of polls that are not sealed is made anew each time, so that rows stay what they take."""
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
    """Polls as a segment; whoever was absent from one is not known in it. A column is made when it is asked for."""
    # Most rows share one object, and the names of ten thousand models take a while to compare.
    layouts = dict.fromkeys({id(row.layout): row.layout for row in rows if row.layout is not None}.values())
    layout = PollLayout(
        providers=tuple(sorted({provider for one in layouts for provider in one.providers})),
        models=tuple(sorted({model for one in layouts for model in one.models})),
        metrics=_joined([one.metrics for one in layouts]),
        fleet=_joined([one.fleet for one in layouts]),
    )
    axis = np.array([(row.at, row.interval, row.good, row.seconds) for row in rows], dtype=np.float64).reshape(-1, 4).T
    by_object: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        by_object.setdefault(id(row.layout), []).append(index)
    of_layout: dict[PollLayout, list[int]] = {one: [] for one in layouts}
    for places in by_object.values():
        if (one := rows[places[0]].layout) is not None:
            of_layout[one] += places
    width_of, made = widths(layout), dict[str, Floats]()

    def column(name: str) -> Floats:
        if name in made:
            return made[name]
        values = np.full((len(rows), width_of[name]), np.nan)
        for one, places in of_layout.items():
            numbers = [some for place in places if (some := rows[place].numbers) is not None]
            _spread(values, name, layout, one, np.array(places, dtype=np.int64), numbers)
        if values.nbytes <= KEPT_BYTES:
            made[name] = values
        return values

    return Segment(layout, axis, column)


def _joined(names: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for some in names for name in some))


def _spread(
    column: Floats,
    name: str,
    layout: PollLayout,
    one: PollLayout,
    places: NDArray[np.int64],
    numbers: Sequence[Floats],
) -> None:
    """Put the polls of one layout into a column of the joint one."""
    start = 0
    for its_name, width in widths(one).items():
        if its_name == name:
            targets = {FLEET: (layout.fleet, one.fleet), MODELS: (layout.models, one.models)}
            everyone, its_own = targets.get(name, (layout.providers, one.providers))
            values = np.stack([some[start : start + width] for some in numbers])
            if its_own == everyone:
                column[places] = values
            else:
                column[np.ix_(places, np.array(_places(everyone, its_own), dtype=np.int64))] = values
        start += width


def _places(all_names: Sequence[object], names: Sequence[object]) -> list[int]:
    place = {name: index for index, name in enumerate(all_names)}
    return [place[name] for name in names]
