"""Series over a range, against what the contract says of them in plain words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.model import Status
from tests.history.snapshots import T0
from tests.queries import contract_6
from tests.queries.contract_6 import Point, Poll, Range
from tests.queries.log import ERRORS, SCORE, STATE, Log, asked, points, scored, view_of

STATUS = "provider_status"
WORST = {
    SCORE: lambda value: -value,
    ERRORS: lambda value: value,
    STATE: lambda value: (0.0, 2.0, 1.0)[int(value)],
    STATUS: lambda value: (1.0, 0.0, 2.0, 3.0)[int(value)],
    "provider_request_rate": None,
}


class TestTheEnd:
    def test_the_last_point_is_now_however_far_one_zooms_out(self) -> None:
        log = scored(*[90.0] * 500, 10.0, *[80.0] * 7)
        for most in (1000, 100, 10, 3):
            found = points(log, SCORE, max_points=most, start=T0, end=T0 + 507 * 15 + 3)
            assert found[-1] == (80.0, 507 * 15.0)
            assert len(found) <= most

    def test_one_point_is_the_last_one_and_two_are_the_last_two(self) -> None:
        log = scored(90, 20, 80)
        assert points(log, SCORE, max_points=1, end=T0 + 31) == [(80, 30)]
        assert points(log, SCORE, max_points=2, end=T0 + 31) == [(20, 15), (80, 30)]

    def test_a_missed_poll_blanks_nothing_while_the_data_is_not_stale(self) -> None:
        log = scored(90, 80, "failed")
        assert points(log, SCORE, end=T0 + 32) == [(90, 0), (80, 15)]
        assert points(log, "gateway_up", end=T0 + 32) == [(1, 0), (1, 15), (0, 30)]

    def test_stale_data_ends_in_two_nulls(self) -> None:
        log = scored(90, 80, *["failed"] * 4)
        assert points(log, SCORE, end=T0 + 80) == [(90, 0), (80, 15), (None, 30), (None, 80)]
        assert points(scored(90, 80), SCORE, end=T0 + 80) == [(90, 0), (80, 15), (None, 30), (None, 80)]
        assert points(log, SCORE, end=T0 + 80, max_points=1) == [(None, 80)]

    def test_stale_data_ends_in_unknown_as_a_status(self) -> None:
        log = scored(90, 80, *["failed"] * 4)
        assert points(log, STATUS, end=T0 + 80) == [(1, 0), (1, 15), (None, 30), (0, 80)]
        of_status = {one.labels["status"]: one.points[-1] for one in asked(log, "fleet_providers", end=T0 + 80)}
        assert of_status == {
            "unknown": (1.0, T0 + 80),
            "healthy": (0.0, T0 + 80),
            "degraded": (0.0, T0 + 80),
            "down": (0.0, T0 + 80),
        }

    def test_everyone_of_the_last_good_poll_is_listed_where_the_range_holds_none(self) -> None:
        log = scored(90, 80, *["failed"] * 40)
        more: dict[str, Any] = {"start": T0 + 300, "end": T0 + 620}
        assert points(log, SCORE, **more) == [(None, 300), (None, 620)]
        assert points(log, STATUS, **more) == [(0, 620)]
        assert points(log, "gateway_up", **more)[-1] == (0, 615)

    def test_a_dead_poller_is_not_a_gateway_that_is_up(self) -> None:
        assert points(scored(90, 80), "gateway_up", end=T0 + 200) == [(1, 0), (1, 15), (None, 30), (None, 200)]

    def test_a_range_of_the_past_ends_in_its_last_point_and_one_null_where_a_hole_goes_on(self) -> None:
        log = scored(90, 80, *["failed"] * 40, *[70] * 40)
        assert points(log, SCORE, end=T0 + 20, now=T0 + 1200) == [(90, 0), (80, 15)]
        assert points(log, SCORE, end=T0 + 300, now=T0 + 1200) == [(90, 0), (80, 15), (None, 30)]

    def test_who_is_gone_is_not_known_any_more(self) -> None:
        log = scored(90, 80, None, None, None)
        assert points(log, SCORE, end=T0 + 61) == [(90, 0), (80, 15), (None, 30), (None, 60)]

    def test_a_range_shorter_than_an_interval_shows_the_last_good_poll(self) -> None:
        log = scored(90, 80)
        more: dict[str, Any] = {"start": T0 + 17, "end": T0 + 22}
        assert points(log, SCORE, **more) == [(80, 15)]
        assert points(log, STATUS, **more) == [(1, 15)]
        assert points(log, "gateway_up", **more) == [(1, 15)]
        assert points(log, "gateway_data_age_seconds", **more) == [(7, 22)]
        of_status = {one.labels["status"]: one.points for one in asked(log, "fleet_providers", **more)}
        assert of_status["healthy"] == [(1.0, T0 + 15)]
        assert of_status["down"] == [(0.0, T0 + 15)]
        failed = scored(90, 80, "failed")
        more = {"start": T0 + 31, "end": T0 + 35}
        assert points(failed, SCORE, **more) == [(80, 15)]
        assert points(failed, "gateway_up", **more) == [(0, 30)]
        assert asked(log, SCORE, start=T0 + 1, end=T0 + 2, now=T0 + 16) == [], "not what came after it"

    def test_a_bridge_that_never_read_anything_knows_nothing_of_the_fleet(self) -> None:
        log = scored("failed", "failed", "failed", "failed")
        assert points(log, "fleet_health_score", end=T0 + 50) == [(None, 0), (None, 50)]
        assert asked(log, SCORE, end=T0 + 50) == []
        assert asked(log, "gateway_data_age_seconds", end=T0 + 50)[0].points[-1][0] is None


class TestHoles:
    def test_a_single_missed_poll_is_drawn_where_all_points_are_given_and_not_in_steps(self) -> None:
        log = scored(*[90.0] * 500, "failed", *[80.0] * 500)
        values = [value for value, _ in points(log, SCORE, end=T0 + 1000 * 15 + 1, max_points=2000)]
        assert values.count(None) == 1
        for most in (500, 100, 10):
            values = [value for value, _ in points(log, SCORE, end=T0 + 1000 * 15 + 1, max_points=most)]
            assert values.count(None) == 0

    def test_a_hole_as_long_as_a_step_is_drawn_from_its_first_missed_poll(self) -> None:
        log = scored(*[90.0] * 500, *["failed"] * 100, *[80.0] * 400)
        found = points(log, SCORE, end=T0 + 999 * 15 + 1, max_points=100)
        assert [at for value, at in found if value is None] == [7500]

    def test_an_interval_that_was_changed_is_no_hole(self) -> None:
        log = Log()
        for number in range(10):
            log.add(T0 + 15 * number, 15.0, health_score=90.0)
        for number in range(10):
            log.add(T0 + 135 + 60 * (number + 1), 60.0, health_score=90.0)
        assert None not in [value for value, _ in points(log, SCORE, end=T0 + 736)]

    def test_jitter_is_no_hole(self) -> None:
        log = Log()
        for number in range(20):
            log.add(T0 + 15 * number + (10 if number % 2 else 0), 15.0, health_score=90.0)
        assert None not in [value for value, _ in points(log, SCORE, end=T0 + 300)]


class TestSteps:
    @pytest.mark.parametrize("name", [SCORE, "provider_request_rate"])
    @pytest.mark.parametrize("most", [2, 3, 7, 20, 97])
    def test_as_many_points_are_given_as_were_asked_for(self, name: str, most: int) -> None:
        log = Log()
        for number in range(997):
            log.add(T0 + 15.0 * number, health_score=90.0 - number % 5, request_rate=float(number))
        log.add(T0 + 15.0 * 997, health_score=95.0, request_rate=3.0)
        assert len(points(log, name, max_points=most, end=T0 + 997 * 15 + 1)) == most

    def test_all_points_are_given_where_they_fit_whatever_the_interval_says(self) -> None:
        log = scored(*[float(number) for number in range(100)])
        found = points(log, SCORE, max_points=100, interval=3600.0, end=T0 + 99 * 15 + 1)
        assert len(found) == 100

    def test_an_interval_alone_makes_steps(self) -> None:
        log = scored(*[float(number) for number in range(100)])
        assert len(points(log, SCORE, max_points=None, interval=150.0, end=T0 + 99 * 15 + 1)) == pytest.approx(
            11, abs=2
        )

    def test_a_flap_is_drawn_whatever_does_not_fit(self) -> None:
        """Three polls of a day: 5,760 do not fit, the flap does."""
        log = Log()
        for number in range(5_760):
            state = {3000: 1.0, 3001: 2.0, 3002: 1.0}.get(number, 0.0)
            log.add(T0 + 15 * number, health_score=90.0, circuit_breaker_state=state)
        found = points(log, STATE, max_points=300, end=T0 + 5_760 * 15)
        around = [(value, int(at // 15)) for value, at in found if 2_999 <= at // 15 <= 3_003]
        assert around == [(0, 2999), (1, 3000), (2, 3001), (1, 3002), (0, 3003)]
        assert len(found) == 7

    def test_what_has_no_worst_shows_its_last_point(self) -> None:
        log = Log()
        for number in range(1_000):
            log.add(T0 + 15 * number, health_score=90.0, request_rate=float(number % 10))
        found = points(log, "provider_request_rate", max_points=103, end=T0 + 999 * 15 + 1)
        assert max(value for value, _ in found if value is not None) < 10
        assert {int(at // 15) % 10 for _, at in found} != {9}

    def test_the_fleet_adds_up_in_every_step(self) -> None:
        log = Log()
        for number in range(1_000):
            log.add_many(T0 + 15 * number, [Status((number * index) % 4) for index in range(1, 8)])
        series = asked(log, "fleet_providers", max_points=50, end=T0 + 999 * 15 + 1)
        assert len({tuple(one.times.tolist()) for one in series}) == 1
        assert {sum(values) for values in zip(*[one.values.tolist() for one in series], strict=True)} == {7.0}

    def test_the_fleets_worst_polls_are_the_same_once_the_data_is_stale_and_of_each_status_alone(self) -> None:
        log = Log()
        for number in range(1_000):
            down = number == 500
            log.add_many(
                T0 + 15 * number, [Status.DOWN if down and place < 3 else Status.HEALTHY for place in range(5)]
            )
        last = T0 + 999 * 15
        for end in (last + 1, last + 600):
            more: dict[str, Any] = {"start": T0, "end": end, "max_points": 20}
            by_status = {one.labels["status"]: one.points for one in asked(log, "fleet_providers", **more)}
            assert list(by_status) == ["unknown", "healthy", "degraded", "down"]
            assert min(value for value, _ in by_status["healthy"][:-1] if value is not None) == 2
            assert max(value for value, _ in by_status["down"] if value is not None) == 3
            [alone] = asked(log, "fleet_providers", target='fleet_providers{status="down"}', **more)
            assert alone.points == by_status["down"]

    def test_one_point_is_the_worst_of_nothing(self) -> None:
        log = Log()
        for number in range(1_000):
            log.add(T0 + 15 * number, health_score=90.0, circuit_breaker_state=float(number % 2))
        [state] = asked(log, STATE, max_points=1, end=T0 + 14_986)
        assert (len(state.points), state.notice) == (1, "")

    def test_a_brief_unknown_never_stands_for_a_step(self) -> None:
        log = Log()
        for number in range(1_000):
            status = Status.UNKNOWN if number == 400 else Status.HEALTHY if number % 2 else Status.DEGRADED
            log.add_many(T0 + 15 * number, [status])
        found = points(log, "provider_status", target='provider_status{provider="p0"}', max_points=50, end=T0 + 14_986)
        assert len(found) <= 50
        assert {value for value, _ in found} <= {1.0, 2.0}

    def test_a_worst_that_looks_worse_than_what_followed_is_told(self) -> None:
        log = Log()
        for number in range(1_000):
            log.add(T0 + 15 * number, health_score=90.0 - number % 3, error_rate=0.5 if number == 500 else 0.0)
        [rate] = asked(log, ERRORS, max_points=100, end=T0 + 14_986)
        [score] = asked(log, SCORE, max_points=100, end=T0 + 14_986)
        assert rate.notice == f"worst of each {rate.step:.3g} s"
        assert score.notice == ""


class TestTheAge:
    def test_it_is_what_the_data_has_come_to_just_before_each_poll(self) -> None:
        log = scored(90, 80, 70, "failed", "failed", 60)
        expected: list[Point] = [(15, 15), (15, 30), (15, 45), (30, 60), (45, 75), (2, 77)]
        assert points(log, "gateway_data_age_seconds", start=T0 + 10, end=T0 + 77) == expected

    def test_an_outage_longer_than_the_range_has_an_age(self) -> None:
        log = scored(90, *["failed"] * 100)
        found = points(log, "gateway_data_age_seconds", start=T0 + 1000, end=T0 + 1502)
        assert found[0] == (1005, 1005)
        assert found[-1] == (1502, 1502)

    def test_the_same_moment_has_the_same_age_in_every_range(self) -> None:
        log = scored(90, 80, *["failed"] * 10, 70, 60)
        wide = {at: value for value, at in points(log, "gateway_data_age_seconds", start=T0, end=T0 + 200)}
        for value, at in points(log, "gateway_data_age_seconds", start=T0 + 100, end=T0 + 200):
            assert wide[at] == value


values_of = {
    SCORE: st.one_of(st.none(), st.floats(1, 100).map(lambda it: round(it, 1))),
    ERRORS: st.one_of(st.none(), st.sampled_from([0.0, 0.02, 0.3, 0.9])),
    STATE: st.one_of(st.none(), st.sampled_from([0.0, 0.0, 1.0, 2.0])),
    STATUS: st.sampled_from([0.0, 1.0, 1.0, 2.0, 3.0]),
    "provider_request_rate": st.one_of(st.none(), st.floats(0, 10).map(lambda it: round(it, 3))),
}


@st.composite
def histories(draw: st.DrawFn, name: str) -> list[Poll]:
    """Missed and failed polls, outages, jitter, changed intervals, values that are not known, providers that go."""
    at, interval = T0, 15.0
    polls: list[Poll] = []
    for _ in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from(["good", "good", "good", "failed", "away", "interval", "jitter"]))
        for _ in range(draw(st.integers(1, 12))):
            at += interval * (draw(st.sampled_from([0.6, 1.3, 1.7])) if kind == "jitter" else 1.0)
            if kind == "away":
                continue
            value = None if kind == "failed" else draw(values_of[name])
            polls.append(Poll(at, interval, kind != "failed", value))
        if kind == "interval":
            interval = draw(st.sampled_from([1.0, 15.0, 60.0]))
    return polls


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, list[Poll], Range, int]:
    name = draw(st.sampled_from(sorted(values_of)))
    polls = draw(histories(name))
    last = polls[-1] if polls else Poll(T0, 15.0, True)
    now = last.at + draw(st.sampled_from([0.5, 5.0, 20.0, 100.0, 1000.0]))
    start = T0 + draw(st.floats(-50, 1000))
    end = draw(st.sampled_from([now, now - 10.0, now + 60.0, start + 300.0, now - 200.0]))
    stale_after = 3 * last.interval
    good = [one for one in polls if one.good]
    stale = not good or now - good[-1].at > stale_after
    failed_since = [one.at for one in polls if good and one.at > good[-1].at]
    lost = min([*failed_since[:1], good[-1].at + last.interval]) if stale and good else None
    asked_for = Range(start, max(start, end), now, stale_after, lost)
    return name, polls, asked_for, draw(st.sampled_from([1, 2, 3, 5, 10, 30, 1000]))


def same(found: list[Point], expected: list[Point]) -> bool:
    """Whether two series are the same, but for where a null that fills an empty range stands."""
    if all(value is None for value, _ in expected):
        return all(value is None for value, _ in found)
    return found == expected


@settings(max_examples=600, deadline=None)
@given(cases())
def test_any_range_of_any_history_is_as_the_contract_says(case: tuple[str, list[Poll], Range, int]) -> None:
    name, polls, span, most = case
    log = Log()
    for poll in polls:
        log.poll(poll, name)
    found = asked(
        log, name, start=span.start, end=span.end, now=span.now, max_points=most, stale_after=span.stale_after
    )
    if not [one for one in polls if one.good and span.start <= one.at <= span.last]:
        return
    assert len(found) <= 1
    for series in found:
        shown = series.points
        closing = 0.0 if name == STATUS else None
        everything = contract_6.points(polls, span, 0.0, WORST[name], closing=closing)
        assert len(shown) <= most
        assert [at for _, at in shown] == sorted({at for _, at in shown}), "times rise"
        if len(everything) <= most:
            assert same(shown, everything)
            continue
        assert series.step == 0.0 or series.step >= (span.end - span.start) / most
        step = series.step
        if not step:
            base = max((span.end - span.start) / most, view_of(log, span.now, span.stale_after).interval(span), 0.001)
            changes = contract_6.points(polls, span, base, WORST[name], closing=closing, changes_only=True)
            assert same(shown, changes)
            continue
        expected = contract_6.points(polls, span, step, WORST[name], closing=closing)
        assert same(shown, expected[-most:])
