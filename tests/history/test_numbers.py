"""Columns as they are stored: always the very same doubles, and small for what is rounded."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from bridge.history.numbers import CORRUPT, Floats, decode, encode, pack, unpack

POLLS = 240


def assert_comes_back(values: Floats) -> None:
    found = decode(encode(values), *values.shape)
    assert found.shape == values.shape
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(values))


shapes = array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9)
decimals = st.builds(lambda number, places: round(number, places), st.floats(-1e9, 1e9), st.integers(0, 6))


@given(arrays(np.float64, shapes, elements=st.floats(allow_nan=False) | st.just(float("nan"))))
def test_any_doubles_come_back_as_they_were(values: Floats) -> None:
    assert_comes_back(values)


@given(arrays(np.float64, shapes, elements=decimals | st.just(float("nan"))))
def test_rounded_numbers_come_back_as_they_were(values: Floats) -> None:
    assert_comes_back(values)


def test_single_numbers_that_are_hard_come_back() -> None:
    for hard in (0.1 + 0.2, 2.0**53, 2.0**53 - 1, -(2.0**63), 1e300, 5e-324, -0.0, float("inf"), 1.15, 1e-12, 9.995):
        assert_comes_back(np.array([[0.0], [hard], [float("nan")], [hard]]))


def wandering(low: float, high: float, pace: float, decimals: int) -> Floats:
    random = np.random.default_rng(1)
    steps = random.normal(0.0, pace, (POLLS, 30)).cumsum(axis=0) + random.uniform(low, high, 30)
    folded: Floats = np.abs((steps - low) % (2 * (high - low)) - (high - low))
    return (high - folded).round(decimals)


@pytest.mark.parametrize(
    ("values", "most"),
    [
        pytest.param(wandering(40, 100, 0.5, 1), 1.0, id="scores"),
        pytest.param(wandering(0, 0.2, 0.002, 4), 1.3, id="ratios"),
        pytest.param(wandering(0.4, 6, 0.05, 3), 1.3, id="seconds"),
        pytest.param(wandering(20, 400, 8.0, 0).cumsum(axis=0), 1.5, id="counts"),
        pytest.param(np.full((POLLS, 30), np.nan), 0.05, id="unknown"),
        pytest.param(np.ones((POLLS, 30)), 0.05, id="still"),
    ],
)
def test_a_sample_of_rounded_numbers_takes_about_a_byte(values: Floats, most: float) -> None:
    assert len(encode(values)) / values.size < most


def test_an_unknown_value_here_and_there_costs_next_to_nothing() -> None:
    values = wandering(0.4, 6, 0.05, 3)
    whole = len(encode(values))
    values[np.random.default_rng(2).random(values.shape) < 0.01] = np.nan
    assert len(encode(values)) < 1.1 * whole


@pytest.mark.parametrize("content", [b"", b"noise", zlib.compress(b""), zlib.compress(b"\xff" * 12)])
def test_what_is_no_column_is_corrupt(content: bytes) -> None:
    with pytest.raises(CORRUPT):
        decode(content, 1, 1)
    with pytest.raises(CORRUPT):
        unpack(content[:-1])


def test_any_byte_that_is_spoilt_is_noticed() -> None:
    content = encode(wandering(0.4, 6, 0.05, 3)[:20, :3])
    for place in range(len(content)):
        spoilt = bytearray(content)
        spoilt[place] ^= 0xFF
        with pytest.raises(CORRUPT):
            decode(bytes(spoilt), 20, 3)


def test_a_column_of_another_shape_is_corrupt() -> None:
    with pytest.raises(CORRUPT):
        decode(encode(np.zeros((3, 2))), 2, 3)


def test_a_polls_numbers_come_back() -> None:
    values = np.random.default_rng(1).random(1_000)
    np.testing.assert_array_equal(unpack(pack(values)), values)
