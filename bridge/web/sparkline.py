"""Lines as SVG paths, written compactly: whole units, relative steps, and a break where nothing is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

HEIGHT = 40
"""Units from the bottom of a line's box to its top."""


def path(places: Sequence[int], values: Sequence[float | None], top: float = 100.0) -> str:
    """The ``d`` of a path through values from 0 (the bottom) to ``top``; None breaks it. A lone point is a dot."""
    return "".join(_stroke(run) for run in _runs(places, values, top))


def _runs(places: Sequence[int], values: Sequence[float | None], top: float) -> Iterator[list[tuple[int, int]]]:
    """The stretches without a break, as points counted from the box's upper left corner."""
    run: list[tuple[int, int]] = []
    for place, value in zip(places, values, strict=True):
        if value is not None:
            run.append((place, HEIGHT - round(HEIGHT * min(max(value / top, 0.0), 1.0))))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _stroke(run: Sequence[tuple[int, int]]) -> str:
    """One stretch: ``M`` to its beginning, then ``h`` where it is level and ``l`` where it is not."""
    x, y = run[0]
    drawn = [f"M{x} {y}"]
    level = 0
    for next_x, next_y in run[1:]:
        if next_y == y:
            level += next_x - x
        else:
            sign = "" if next_y < y else " "  # a minus separates two numbers as well
            drawn.append(f"{f'h{level}' if level else ''}l{next_x - x}{sign}{next_y - y}")
            level = 0
        x, y = next_x, next_y
    if level or len(run) == 1:
        drawn.append(f"h{level}")
    return "".join(drawn)
