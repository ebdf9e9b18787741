"""A run of polls as columns: the axis (when, how), and for each metric an array of polls by providers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.history.codec import Level, PollLayout
from bridge.history.numbers import Floats, pack, unpack

AXIS = "@axis"
"""The column that is no metric: the axis itself."""
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
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Segment:
    """Polls in rising time. ``column(name)`` has shape (polls, width); NaN is "not known"."""

    layout: PollLayout
    axis: Floats
    """Shape (4, polls): see ``AT`` and its neighbours."""
    column: Callable[[str], Floats]


def dump_axis(axis: Floats) -> bytes:
    """An axis, shape (4, polls), as it is stored: doubles, as every question reads it."""
    return pack(np.ascontiguousarray(axis))


def load_axis(content: bytes, polls: int) -> Floats:
    """The axis that was stored. Raises one of ``CORRUPT``."""
    return unpack(content).reshape(-1, polls)


def of_rows(rows: Sequence[PollRow]) -> Segment:
    """Polls as a segment; whoever was absent from one is not known in it. A column is made when it is asked for."""
    # Most rows share one object, and the names of ten thousand models take a while to compare.
    layouts = dict.fromkeys({id(row.layout): row.layout for row in rows if row.layout is not None}.values())
    layout = PollLayout(
        _joined([one.provider for one in layouts]),
        _joined([one.fleet for one in layouts]),
        _joined([one.model for one in layouts]),
    )
    axis = np.array([(row.at, row.interval, row.good, row.seconds) for row in rows], dtype=np.float64).reshape(-1, 4).T
    by_object: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        by_object.setdefault(id(row.layout), []).append(index)
    of_layout: dict[PollLayout, list[int]] = {one: [] for one in layouts}
    for places in by_object.values():
        if (one := rows[places[0]].layout) is not None:
            of_layout[one] += places
    width_of, made = layout.widths, dict[str, Floats]()

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


def _joined(levels: Sequence[Level[Any]]) -> Level[Any]:
    """All names of these levels in order, and all metrics."""
    return Level(
        tuple(sorted({name for level in levels for name in level.names})),
        tuple(dict.fromkeys(metric for level in levels for metric in level.metrics)),
    )


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
    for joint, level in zip(layout.levels, one.levels, strict=True):
        width = len(level.names)
        if name in level.metrics:
            start += width * level.metrics.index(name)
            values = np.stack([some[start : start + width] for some in numbers])
            if level.names == joint.names:
                column[places] = values
            else:
                column[np.ix_(places, np.array(_places(joint.names, level.names), dtype=np.int64))] = values
            return
        start += width * len(level.metrics)


def _places(all_names: Sequence[object], names: Sequence[object]) -> list[int]:
    place = {name: index for index, name in enumerate(all_names)}
    return [place[name] for name in names]
