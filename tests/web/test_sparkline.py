"""Lines as SVG paths: short, in the box, broken where nothing is known."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.web.sparkline import HEIGHT, path


def points(d: str) -> list[list[tuple[int, int]]]:
    """The strokes that a browser draws for a path of M, h and l."""
    strokes: list[list[tuple[int, int]]] = []
    for command, rest in re.findall(r"([Mhl])([^Mhl]*)", d):
        numbers = [int(number) for number in re.findall(r"-?\d+", rest)]
        x, y = strokes[-1][-1] if strokes else (0, 0)
        if command == "M":
            strokes.append([(numbers[0], numbers[1])])
        else:
            strokes[-1].append((x + numbers[0], y + (numbers[1] if command == "l" else 0)))
    return strokes


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        pytest.param([], "", id="nothing"),
        pytest.param([None, None], "", id="nothing known"),
        pytest.param([100, 100, 100, 100], "M0 0h3", id="level"),
        pytest.param([100, 50, 50, 100], "M0 0l1 20h1l1-20", id="a dip"),
        pytest.param([100, 100, None, 0, 0], "M0 0h1M3 40h1", id="a gap is a break, not a zero"),
        pytest.param([None, 50, None], "M1 20h0", id="a lone point is a dot"),
        pytest.param([150, -3], "M0 0l1 40", id="never out of its box"),
    ],
)
def test_path(values: list[float | None], drawn: str) -> None:
    assert path(range(len(values)), values) == drawn


def test_the_upper_edge_can_stand_for_another_value() -> None:
    assert path([0, 1], [0.0, 0.5], top=0.5) == "M0 40l1-40"


@given(st.lists(st.none() | st.floats(0, 100), max_size=60))
def test_what_is_drawn_is_what_was_given(values: list[float | None]) -> None:
    drawn = {point for stroke in points(path(range(len(values)), values)) for point in stroke}
    given_points = {(x, HEIGHT - round(HEIGHT * y / 100)) for x, y in enumerate(values) if y is not None}
    assert drawn <= given_points
    turns = {x for x, _ in given_points} - {x for x, _ in drawn}
    for x in turns:  # a point that is left out lies on a level stretch
        heights = {y for near, y in given_points if abs(near - x) <= 1}
        assert len(heights) == 1
        assert None not in values[x - 1 : x + 2]
