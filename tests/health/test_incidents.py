"""Incidents as contract section 3 defines them, told poll by poll."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from bridge.health.incidents import MOST_NAMED, Watch, update
from bridge.health.observed import Observed
from bridge.model import FLEET, Incident, Moment, Status

START = 1_800_000_000.0
INTERVAL = 15.0
MINUTE = 60.0
HOUR = 3600.0
UNKNOWN, WELL = Observed(Status.UNKNOWN, traffic=False), Observed(Status.HEALTHY)
BAD, DOWN = Observed(Status.DEGRADED, "p95 6.1 s"), Observed(Status.DOWN, "all failed")


@dataclass
class Story:
    """Good polls, one after another. ``rows`` is what a log holds of them."""

    watch: Watch = field(default_factory=Watch)
    now: float = START
    rows: dict[tuple[str, float], Incident] = field(default_factory=dict)

    def poll(self, observed: Mapping[str, Observed], after: float = INTERVAL) -> None:
        self.now += after if self.watch.sight else 0.0
        self.watch = update(self.watch, observed, Moment(self.now, self.now), INTERVAL)
        for one in self.watch.told:
            self.rows[one.provider, one.start.steady] = one

    def goes(self, observed: Mapping[str, Observed], seconds: float) -> None:
        """Polls that say the same for so long, the first of them now."""
        for _ in range(round(seconds / INTERVAL)):
            self.poll(observed)

    def is_(self, one: Observed | None, seconds: float = INTERVAL) -> None:
        """The provider groq is this for so long; None: it is not there."""
        self.goes({"openai": WELL} | ({} if one is None else {"groq": one}), seconds)

    def of(self, provider: str = "groq") -> list[Incident]:
        return [one for (name, _), one in sorted(self.rows.items()) if name == provider]

    @property
    def one(self) -> Incident:
        [found] = self.of()
        return found


@pytest.fixture
def story() -> Story:
    made = Story()
    made.is_(WELL)
    return made


def test_one_lasts_from_the_first_poll_that_shows_it_to_the_one_that_shows_it_healthy_again(story: Story) -> None:
    story.is_(BAD, MINUTE)
    began = story.now - 3 * INTERVAL
    story.is_(WELL)
    assert (story.one.start.at, story.one.end and story.one.end.at) == (began, story.now)
    assert story.one.bad_seconds == MINUTE
    assert story.of("openai") == []


def test_its_phases_are_ongoing_recovering_and_over(story: Story) -> None:
    story.is_(BAD)
    assert story.one.phase == "ongoing"
    story.is_(WELL, 5 * MINUTE)
    assert story.one.phase == "recovering", "the first poll that shows it healthy is where the five minutes begin"
    story.is_(WELL)
    assert story.one.phase == "over"
    assert story.watch.incidents == {}, "nothing is kept of it"


@pytest.mark.parametrize(
    ("bad_for", "ongoing", "over"),
    [
        (INTERVAL, "too early to say", "blip"),
        (5 * MINUTE - INTERVAL, "too early to say", "blip"),
        (5 * MINUTE, "too early to say", "regression"),
        (HOUR, "regression", "regression"),
    ],
)
def test_its_kind_goes_by_how_long_it_was_bad_in_all(story: Story, bad_for: float, ongoing: str, over: str) -> None:
    story.is_(BAD, bad_for)
    assert story.one.kind == ongoing
    story.is_(WELL, 6 * MINUTE)
    assert story.one.kind == over


def test_it_is_a_regression_from_the_moment_on_at_which_it_was_bad_for_five_minutes(story: Story) -> None:
    story.is_(BAD, 5 * MINUTE)
    assert story.one.kind == "too early to say"
    story.is_(BAD)
    assert (story.one.kind, story.one.phase) == ("regression", "ongoing")


def test_spells_less_than_five_minutes_apart_are_one(story: Story) -> None:
    for _ in range(3):
        story.is_(BAD, 2 * MINUTE)
        story.is_(WELL, 5 * MINUTE - INTERVAL)
    assert (story.one.bad_seconds, story.one.kind) == (6 * MINUTE, "regression")
    assert story.one.start.steady < story.one.turned.steady


def test_spells_five_minutes_apart_are_two(story: Story) -> None:
    story.is_(BAD, MINUTE)
    story.is_(WELL, 5 * MINUTE)
    story.is_(BAD, MINUTE)
    assert [(one.phase, one.bad_seconds) for one in story.of()] == [("over", MINUTE), ("ongoing", 3 * INTERVAL)]


def test_the_cause_is_the_reason_at_the_peak(story: Story) -> None:
    story.is_(BAD, MINUTE)
    assert (story.one.peak, story.one.cause) == (Status.DEGRADED, "p95 6.1 s")
    story.is_(DOWN)
    story.is_(Observed(Status.DOWN, "another"))
    story.is_(BAD, MINUTE)
    assert (story.one.peak, story.one.cause) == (Status.DOWN, "all failed")


def test_it_adds_up_what_it_cost(story: Story) -> None:
    for requests, failed in ((10.0, 4.0), (20.0, 20.0), (None, None), (5.0, 0.0)):
        story.is_(Observed(Status.DOWN, "", requests, failed))
    story.is_(Observed(Status.HEALTHY, "", 100.0, 1.0))
    assert (story.one.failed, story.one.requests) == (24.0, 35.0)


def test_what_is_not_counted_cost_nobody_knows_what(story: Story) -> None:
    story.is_(BAD, MINUTE)
    assert (story.one.failed, story.one.requests) == (None, None)


def test_it_names_the_models_it_affected_and_of_how_many(story: Story) -> None:
    story.is_(Observed(Status.DEGRADED, affected=("b",), among=3))
    story.is_(Observed(Status.DEGRADED, affected=("a", "b"), among=3))
    story.is_(Observed(Status.DEGRADED, affected=("a",), among=3))
    assert (story.one.affected, story.one.reached, story.one.among) == (("b", "a"), 2, 3)


def test_it_does_not_name_endlessly_many_models(story: Story) -> None:
    models = tuple(f"m{number}" for number in range(3 * MOST_NAMED))
    story.is_(Observed(Status.DOWN, affected=models, among=1000), MINUTE)
    assert (len(story.one.affected), story.one.reached, story.one.among) == (MOST_NAMED, 3 * MOST_NAMED, 1000)


class TestUnknown:
    def test_is_neither_bad_nor_recovered(self, story: Story) -> None:
        story.is_(BAD, MINUTE)
        story.is_(UNKNOWN, 10 * MINUTE)
        assert (story.one.phase, story.one.bad_seconds, story.one.kind) == ("ongoing", MINUTE, "too early to say")
        story.is_(BAD, MINUTE)
        story.is_(WELL, 4 * MINUTE)
        story.is_(UNKNOWN, 10 * MINUTE)
        assert story.one.phase == "recovering"
        story.is_(BAD)
        assert story.one.bad_seconds == 2 * MINUTE

    @pytest.mark.parametrize("seen", [UNKNOWN, None], ids=["unknown", "absent"])
    def test_for_half_an_hour_it_is_lost_sight_of_and_was_over_at_its_last_bad_poll(
        self, story: Story, seen: Observed | None
    ) -> None:
        story.is_(BAD, MINUTE)
        last_bad = story.now
        story.is_(seen, 30 * MINUTE)
        assert story.one.phase == "ongoing"
        story.is_(seen)
        assert (story.one.phase, story.one.lost, story.one.end and story.one.end.at) == ("over", True, last_bad)
        assert story.one.kind == "blip"

    def test_is_known_again_by_one_poll(self, story: Story) -> None:
        story.is_(BAD, MINUTE)
        story.is_(UNKNOWN, 29 * MINUTE)
        story.is_(BAD)
        story.is_(UNKNOWN, 29 * MINUTE)
        assert story.one.phase == "ongoing"

    def test_bad_again_within_the_hour_the_same_incident_goes_on(self, story: Story) -> None:
        story.is_(BAD, MINUTE)
        story.is_(UNKNOWN, 60 * MINUTE - INTERVAL)
        assert story.one.lost
        story.is_(BAD)
        assert (story.one.phase, story.one.lost, story.one.end) == ("ongoing", False, None)
        assert (story.one.number, story.watch.told) == (1, (story.one,))

    def test_bad_again_after_the_hour_is_another_one(self, story: Story) -> None:
        story.is_(BAD, MINUTE)
        story.is_(UNKNOWN, 60 * MINUTE)
        story.is_(BAD)
        assert [one.lost for one in story.of()] == [True, False]

    def test_seen_healthy_for_five_minutes_after_it_was_lost_sight_of_is_over_for_good(self, story: Story) -> None:
        story.is_(BAD, MINUTE)
        story.is_(None, 31 * MINUTE)
        story.is_(WELL, 6 * MINUTE)
        story.is_(BAD)
        assert len(story.of()) == 2


class TestAway:
    def test_time_in_which_nobody_looked_counts_for_nothing(self, story: Story) -> None:
        story.is_(BAD)
        story.poll({"groq": BAD}, after=3 * HOUR)
        assert (story.one.bad_seconds, story.one.kind) == (INTERVAL, "too early to say")
        story.poll({"groq": WELL})
        story.poll({"groq": WELL}, after=3 * HOUR)
        assert story.one.phase == "recovering"
        story.poll({}, after=INTERVAL)
        story.poll({}, after=3 * HOUR)
        assert story.one.phase == "recovering", "half an hour is not what the gateway was away for"

    def test_jitter_is_no_time_away(self, story: Story) -> None:
        story.is_(BAD)
        story.poll({"groq": BAD}, after=1.7 * INTERVAL)
        assert story.one.bad_seconds == pytest.approx(1.7 * INTERVAL)


class TestRecurring:
    def test_is_the_third_start_within_a_day_and_later_ones(self, story: Story) -> None:
        for _ in range(4):
            story.is_(BAD, MINUTE)
            story.is_(WELL, HOUR)
        assert [(one.number, one.recurring) for one in story.of()] == [(1, False), (2, False), (3, True), (4, True)]

    def test_is_not_one_of_another_day_also_if_the_bridge_was_away_meanwhile(self, story: Story) -> None:
        for _ in range(2):
            story.is_(BAD, MINUTE)
            story.is_(WELL, HOUR)
        story.poll({"groq": BAD}, after=25 * HOUR)
        assert story.of()[-1].number == 1


def fleet_of(bad: int, well: int, *, how: Observed = DOWN, first: int = 0) -> dict[str, Observed]:
    polled = {f"p{number}": how for number in range(first, first + bad)}
    return polled | {f"q{number}": WELL for number in range(well)}


class TestFleet:
    @pytest.fixture
    def story(self) -> Story:
        made = Story()
        made.poll({f"p{number}": WELL for number in range(8)} | fleet_of(0, 8))
        return made

    def test_four_and_half_of_those_with_traffic_at_once_are_one_incident_and_none_pages_on_its_own(
        self, story: Story
    ) -> None:
        story.poll(fleet_of(8, 8))
        [fleet] = story.of(FLEET)
        assert fleet.cause == "8 of 16 at once: look at the gateway or the network first"
        assert (fleet.peak, fleet.phase, fleet.affected[:2]) == (Status.DOWN, "ongoing", ("p0", "p1"))
        parts = [story.of(f"p{number}")[0] for number in range(8)]
        assert {(one.fleet, one.pages) for one in parts} == {(fleet.start.steady, False)}

    @pytest.mark.parametrize(("bad", "well"), [(3, 0), (7, 8), (4, 5)])
    def test_fewer_are_not(self, story: Story, bad: int, well: int) -> None:
        story.poll(fleet_of(bad, well))
        assert story.of(FLEET) == []
        assert all(one.pages for one in story.rows.values())

    def test_those_without_traffic_do_not_count_unless_they_are_bad(self, story: Story) -> None:
        idle = {f"q{number}": Observed(Status.HEALTHY, traffic=False) for number in range(20)}
        bad = {f"p{number}": Observed(Status.DOWN, traffic=number > 1) for number in range(4)}
        story.poll(idle | bad | {"x": WELL, "y": WELL, "z": WELL})
        assert story.of(FLEET)[0].among == 7

    def test_within_two_minutes_is_at_once(self, story: Story) -> None:
        for number in range(1, 4):
            story.poll(fleet_of(number, 4))
        story.poll(fleet_of(3, 4), after=MINUTE + INTERVAL)
        assert story.of(FLEET) == [], "a hole counts for nothing"
        story.poll(fleet_of(4, 4))
        [fleet] = story.of(FLEET)
        assert (fleet.start, fleet.number) == (story.of("p0")[0].start, 1)
        assert [story.of(f"p{number}")[0].pages for number in range(4)] == [True, True, True, False]

    def test_one_after_another_is_not_at_once(self, story: Story) -> None:
        for number in range(1, 8):
            story.goes(fleet_of(number, 0), MINUTE)
        assert story.of(FLEET) == []

    def test_who_turns_bad_later_joins_and_does_not_page(self, story: Story) -> None:
        story.goes(fleet_of(4, 3), 10 * MINUTE)
        story.poll(fleet_of(5, 3))
        [fleet] = story.of(FLEET)
        assert fleet.cause == "5 of 8 at once: look at the gateway or the network first"
        assert (story.of("p4")[0].fleet, story.of("p4")[0].pages) == (fleet.start.steady, False)

    def test_it_adds_up_what_it_cost(self, story: Story) -> None:
        hit = Observed(Status.DOWN, "", 10.0, 9.0)
        for number in (3, 4, 4):
            story.poll(fleet_of(number, 2, how=hit))
        [fleet] = story.of(FLEET)
        assert (fleet.requests, fleet.failed) == (110.0, 99.0)
        assert fleet.requests == sum(story.of(f"p{number}")[0].requests or 0 for number in range(4))

    def test_it_ends_when_fewer_than_four_are_bad_and_who_still_is_pages_from_then_on(self, story: Story) -> None:
        story.goes(fleet_of(5, 3), 10 * MINUTE)
        story.poll(fleet_of(5, 3) | {f"p{number}": WELL for number in (0, 1)})
        [fleet] = story.of(FLEET)
        assert (fleet.phase, fleet.bad_seconds, fleet.kind) == ("recovering", 10 * MINUTE, "regression")
        assert not story.of("p4")[0].pages
        story.goes(fleet_of(5, 3) | {f"p{number}": WELL for number in (0, 1)}, 5 * MINUTE)
        assert story.of(FLEET)[0].phase == "over"
        assert (story.of("p4")[0].phase, story.of("p4")[0].pages) == ("ongoing", True)
        assert story.of("p4")[0].fleet == fleet.start.steady

    def test_it_goes_on_if_they_turn_bad_again_within_five_minutes(self, story: Story) -> None:
        for _ in range(2):
            story.goes(fleet_of(4, 3), 2 * MINUTE)
            story.goes({f"p{number}": WELL for number in range(4)} | fleet_of(0, 3), 4 * MINUTE)
        [fleet] = story.of(FLEET)
        assert fleet.bad_seconds == 4 * MINUTE

    def test_one_that_is_seen_at_the_first_poll_counts(self) -> None:
        story = Story()
        story.poll(fleet_of(4, 4))
        assert len(story.of(FLEET)) == 1


def test_a_clock_that_is_set_dates_what_lasts_anew(story: Story) -> None:
    story.is_(BAD, MINUTE)
    before = story.one
    after = story.watch.dated_anew(HOUR).incidents["groq"]
    assert after.start.at == before.start.at + HOUR
    assert after.last_bad.at == before.last_bad.at + HOUR
    assert after.start.steady == before.start.steady


def test_it_says_for_how_long_each_provider_was_what_it_was(story: Story) -> None:
    story.is_(BAD)
    assert (story.watch.passed, story.watch.known_seconds) == ({"openai": Status.HEALTHY, "groq": Status.HEALTHY}, 15.0)
    story.poll({"groq": WELL}, after=100.0)
    assert story.watch.passed["groq"] is Status.DEGRADED
    assert (story.watch.known_seconds, story.watch.unknown_seconds) == (15.0, 85.0)
