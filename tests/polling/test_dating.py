"""Polls are dated by the wall clock, and measured on a time line that only ever runs on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.model import Moment, Reading
from bridge.polling.dating import UNKNOWN_GAP_SECONDS, Dated, date

DAY = 86_400.0
T0 = 1_800_000_000.0
FIRST = date(Reading(T0, 500.0, "boot"), None)


def after(seconds: float, *, set_by: float = 0.0, before: Dated = FIRST) -> Dated:
    """The poll so many seconds later, with a clock that was set meanwhile."""
    reading = Reading(before.reading.wall + seconds + set_by, before.reading.steady + seconds, "boot")
    return date(reading, before)


def test_the_first_poll_begins_the_time_line_at_its_date() -> None:
    assert Dated(Moment(T0, T0), Reading(T0, 500.0, "boot")) == FIRST


@given(st.lists(st.tuples(st.floats(0.001, 100.0), st.floats(0.0, 0.01)), max_size=50))
def test_a_steady_clock_never_counts_as_set(polls: list[tuple[float, float]]) -> None:
    last = FIRST
    for seconds, between in polls:  # the two clocks are not read at the very same moment
        reading = Reading(last.reading.wall + seconds + between, last.reading.steady + seconds, "boot")
        found = date(reading, last)
        assert (found.epoch, found.set_by) == (0, 0.0)
        assert found.moment.at > last.moment.at
        assert found.moment.steady > last.moment.steady
        last = found


@pytest.mark.parametrize("set_by", [-3600.0, -2.5, 2.5, 400 * DAY, -400 * DAY])
def test_a_clock_that_is_set_begins_an_epoch_and_the_time_line_runs_on(set_by: float) -> None:
    found = after(15, set_by=set_by)
    assert found.epoch == 1
    assert found.set_by == pytest.approx(set_by)
    assert found.moment == Moment(T0 + 15 + set_by, T0 + 15)


def test_a_clock_that_was_wrong_for_one_poll_is_right_again_with_the_next() -> None:
    wrong = after(15, set_by=400 * DAY)
    right = after(15, set_by=-400 * DAY, before=wrong)
    assert right.moment == Moment(T0 + 30, T0 + 30)
    assert (right.epoch, right.set_by) == (2, pytest.approx(-400 * DAY))


def test_a_clock_that_is_put_back_a_little_or_stands_still_leaves_dates_rising() -> None:
    last = FIRST
    for _ in range(20):
        found = after(1, set_by=-1.2, before=last)
        assert found.epoch == 0
        assert found.moment.at > last.moment.at
        last = found


def test_across_a_boot_there_is_only_the_wall_clock() -> None:
    found = date(Reading(T0 + 600, 3.0, "another boot"), FIRST)
    assert (found.moment, found.epoch) == (Moment(T0 + 600, T0 + 600), 0)


def test_across_a_boot_under_an_earlier_clock_nothing_says_how_long_it_was() -> None:
    found = date(Reading(T0 - 600, 3.0, "another boot"), FIRST)
    assert found.moment == Moment(T0 - 600, T0 + UNKNOWN_GAP_SECONDS)
    assert found.epoch == 1
