"""Thinning, against the same said in plain Python, point by point."""

from __future__ import annotations

import math
from itertools import groupby

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.queries.thinning import thinned

BADNESS = {
    "low": lambda value: -value,
    "high": lambda value: value,
    "circuit": (0.0, 2.0, 1.0).__getitem__,
    "status": (1.0, 0.0, 2.0, 3.0).__getitem__,
}
Point = tuple[float | None, float]


def plainly(times: list[float], values: list[float], steps: list[int], worst: str) -> list[Point]:
    """One series, as a person would thin it by hand."""
    how_bad = (lambda value: BADNESS[worst](int(value))) if worst in ("circuit", "status") else BADNESS[worst]
    kept = set()
    for _, places in groupby(range(len(times)), key=steps.__getitem__):
        known = [place for place in places if not math.isnan(values[place])]
        if known:
            kept.add(max(known, key=lambda place: (how_bad(values[place]), -place)))
    points: list[Point] = []
    for place in range(len(times)):
        if place in kept:
            points.append((values[place], times[place]))
        elif math.isnan(values[place]) and points and points[-1][0] is not None:
            points.append((None, times[place]))
    return points or [(None, times[-1])]


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[float], list[list[float]], list[int], str]:
    worst = draw(st.sampled_from(sorted(BADNESS)))
    states = {"circuit": [0.0, 1.0, 2.0], "status": [0.0, 1.0, 2.0, 3.0]}
    one = st.sampled_from([*states.get(worst, [0.0, 0.25, 1.0, 99.0]), math.nan])
    count = draw(st.integers(1, 30))
    values = draw(st.lists(st.lists(one, min_size=count, max_size=count), min_size=1, max_size=4))
    steps = np.cumsum(draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))).tolist()
    return [float(15 * number) for number in range(count)], values, steps, worst


@settings(max_examples=400, deadline=None)
@given(cases())
def test_each_steps_worst_is_shown_at_its_own_time_and_what_is_not_known_breaks_the_line(
    case: tuple[list[float], list[list[float]], list[int], str],
) -> None:
    times, values, steps, worst = case
    found = thinned(np.array(times), np.array(values), np.array(steps), worst)
    shown = [
        [(None if math.isnan(value) else value, at) for value, at in zip(its_values, its_times, strict=True)]
        for its_times, its_values in ((one.tolist(), other.tolist()) for one, other in found)
    ]
    assert shown == [plainly(times, its, steps, worst) for its in values]
