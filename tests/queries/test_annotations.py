"""Annotations: which events become regions and points, what they say, and how many of them there are at most."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.gateway.errors import GatewayError
from bridge.history.store import Latest, Store
from bridge.model import (
    Circuit,
    CircuitState,
    Event,
    Incident,
    Key,
    Learnt,
    ModelNumbers,
    Poll,
    Signals,
    Snapshot,
    Status,
)
from bridge.policy import Policy
from bridge.polling.loop import Poller
from bridge.queries.annotations import MAX_EVENTS, MAX_REGIONS, Annotation, annotate
from bridge.queries.selection import MAX_PICKS, Selection
from bridge.queries.targets import MAX_TEXT_CHARACTERS, Known, TargetError, matcher, nothing
from bridge.queries.timerange import TimeRange
from bridge.queries.view import View
from tests.history.events import EventLog, WholeLog
from tests.history.snapshots import incident
from tests.one_poller import polled, reads

NOON = 1_795_262_400.0  # 2026-11-21 12:00:00 UTC
DAY = 86_400.0
BAD = ("OPEN", "HALF_OPEN")
GPT = Key("openai", "gpt-4.1")


class Log(EventLog):
    """A store that holds just these events."""

    def __init__(self, *events: Event) -> None:
        super().__init__(sorted(events, key=lambda event: event.at))


def circuit(*states: tuple[float, str], key: Key = GPT, before: str = "CLOSED") -> list[Event]:
    """A circuit's events: seconds before or after noon, and the state entered then."""
    events = []
    for at, after in states:
        events.append(Event(NOON + at, "circuit", key.provider, key.model, before, after, f"why {after}"))
        before = after
    return events


def gateway(*states: tuple[float, str], before: str = "up") -> list[Event]:
    events = []
    for at, after in states:
        events.append(Event(NOON + at, "gateway", "", "", before, after, f"why {after}"))
        before = after
    return events


def status(at: float, before: str, after: str, provider: str = "openai") -> Event:
    return Event(NOON + at, "status", provider, "", before, after, "1 of 4 circuits OPEN")


def roster(at: float, before: str, after: str, provider: str = "openai") -> Event:
    return Event(NOON + at, "roster", provider, "", before, after, "first seen in this poll")


def view(
    now: float = 0.0, *, failing_since: float | None = None, good_at: float | None = None, circuits: Any = ()
) -> View:
    """What is known at so many seconds after noon; the last good poll was then, or at ``good_at``."""
    good = NOON + (now if good_at is None else good_at)
    poll = Poll(NOON + now, 15.0, "ok" if failing_since is None else "timeout", "no answer within 10 s", 0.1)
    snapshot = Snapshot(good, (), tuple(circuits), ModelNumbers(), {})
    return View(NOON + now, Latest(1, poll, snapshot, None if failing_since is None else NOON + failing_since), 45.0)


def drawn(
    events: Sequence[Event],
    query: str = "circuit,gateway",
    *,
    start: float = -3600.0,
    end: float = 0.0,
    seen: View | None = None,
    kept: float = -7 * DAY,
    known: Known = nothing,
    incidents: Sequence[Incident] = (),
) -> list[Annotation]:
    """The annotations of a range around noon."""
    span, log = TimeRange(NOON + start, NOON + end), Log(*events)
    if incidents:
        log.tell(*incidents)
    return annotate(query, span, seen or view(), log, kept_since=NOON + kept, known=known)  # type: ignore[arg-type]


def only(events: Sequence[Event], query: str = "circuit,gateway", **asked: Any) -> Annotation:
    [found] = drawn(events, query, **asked)
    return found


def spans(found: Sequence[Annotation]) -> list[tuple[float, float]]:
    return [(round(one.start - NOON, 3), round(one.end - NOON, 3)) for one in found]


class TestOpenings:
    def test_an_opening_is_a_region_until_it_closes(self) -> None:
        found = only(circuit((-600, "OPEN"), (-473, "CLOSED")))
        assert spans([found]) == [(-600, -473)]
        assert found.title == "openai / gpt-4.1: circuit OPEN"
        assert found.text == "why OPEN; open for 2m07s; closed: why CLOSED; openai has no other circuit"
        assert found.tags == ("circuit", "openai", "gpt-4.1", "OPEN")
        assert found.new_state == "alerting"

    def test_trying_and_opening_again_is_one_outage_that_says_how_often(self) -> None:
        events = circuit((-600, "OPEN"), (-540, "HALF_OPEN"), (-530, "OPEN"), (-470, "HALF_OPEN"), (-460, "CLOSED"))
        found = only(events)
        assert spans([found]) == [(-600, -460)]
        assert "opened 2 times, tried again 2 times" in found.text
        assert found.tags[-1] == "OPEN"

    def test_two_outages_are_two_regions(self) -> None:
        events = circuit((-600, "OPEN"), (-500, "CLOSED"), (-400, "OPEN"), (-300, "CLOSED"))
        assert spans(drawn(events)) == [(-600, -500), (-400, -300)]

    def test_a_circuit_that_is_still_open_is_open_until_now(self) -> None:
        found = only(circuit((-600, "OPEN")), end=3600)
        assert spans([found]) == [(-600, 0)]
        assert "open for 10m00s, so far" in found.text

    def test_a_circuit_that_was_still_open_is_open_until_the_end_of_the_range(self) -> None:
        found = only(circuit((-600, "OPEN"), (-100, "CLOSED")), end=-300)
        assert spans([found]) == [(-600, -300)]
        assert "open for 5m00s, and on after this range" in found.text
        assert found.new_state == "alerting"

    def test_a_circuit_that_is_being_tried_now_is_yellow(self) -> None:
        found = only(circuit((-600, "OPEN"), (-10, "HALF_OPEN")))
        assert found.title.endswith("circuit HALF_OPEN")
        assert found.tags[-1] == "HALF_OPEN"
        assert found.new_state == "pending"

    def test_a_circuit_open_at_first_sight_says_at_least(self) -> None:
        found = only(circuit((-600, "OPEN"), before=""))
        assert "open for at least 10m00s (it was so at first sight)" in found.text

    def test_a_circuit_that_comes_or_goes_closed_is_no_event(self) -> None:
        assert drawn(circuit((-600, "CLOSED"), (-300, ""), before="")) == []

    def test_a_circuit_that_disappears_while_open_ends_its_region(self) -> None:
        found = only(circuit((-600, "OPEN"), (-60, "")))
        assert spans([found]) == [(-600, -60)]
        assert "open for 9m00s; gone: why" in found.text

    def test_a_flap_between_two_polls_is_a_point(self) -> None:
        found = only(circuit((-600, "OPEN"), (-600, "HALF_OPEN"), (-600, "CLOSED")))
        assert spans([found]) == [(-600, -600)]
        assert "open only between two polls" in found.text
        assert found.new_state == "alerting"

    def test_a_circuit_that_closed_and_opened_within_one_poll_was_never_seen_closed(self) -> None:
        found = only(circuit((-600, "OPEN"), (-300, "CLOSED"), (-300, "OPEN"), (-200, "CLOSED")))
        assert spans([found]) == [(-600, -200)]
        assert "opened 2 times" in found.text

    def test_an_outage_whose_closing_was_lost_is_drawn_no_longer_than_it_was_seen(self) -> None:
        events = [*circuit((-600, "OPEN"), (-500, "HALF_OPEN")), *circuit((-100, "OPEN"))]
        assert spans(drawn(events)) == [(-600, -500), (-100, 0)]

    def test_an_outage_whose_opening_was_lost_is_drawn_from_where_it_was_seen(self) -> None:
        events = [*circuit((-600, "CLOSED"), before=""), *circuit((-300, "HALF_OPEN"), (-200, "CLOSED"), before="OPEN")]
        assert spans(drawn(events)) == [(-300, -200)]

    def test_stale_data_is_no_proof_that_it_is_open_still(self) -> None:
        found = only(circuit((-600, "OPEN")), "circuit", seen=view(failing_since=-285, good_at=-300))
        assert found.text.endswith("not known since 2026-11-21 11:55:00 UTC, the last good poll")
        over = only(circuit((-600, "OPEN"), (-300, "CLOSED")), seen=view(-200, good_at=-300))
        assert "not known" not in over.text


class TestHowFarItReached:
    @staticmethod
    def of(model: str, *states: tuple[float, str], provider: str = "openai") -> list[Event]:
        return circuit((-7000, "CLOSED"), *states, key=Key(provider, model), before="")

    def test_the_text_says_how_many_circuits_of_the_provider_were_open_with_it(self) -> None:
        events = [
            *self.of("a", (-600, "OPEN")),
            *self.of("b", (-500, "OPEN"), (-400, "CLOSED")),
            *self.of("c"),
            *self.of("d", (-500, "OPEN"), provider="groq"),
        ]
        found = only(events, 'circuit{model="a"}')
        assert "2 of 3 circuits of openai open at worst" in found.text

    def test_circuits_open_before_or_after_do_not_count(self) -> None:
        events = [
            *self.of("a", (-600, "OPEN"), (-500, "CLOSED")),
            *self.of("b", (-500, "OPEN"), (-400, "CLOSED")),
            *self.of("c", (-500, "OPEN"), (-400, "CLOSED")),
            *self.of("d", (-700, "OPEN"), (-600, "CLOSED")),
            *self.of("e", (-700, "OPEN"), (-600, "CLOSED")),
        ]
        assert "1 of 5 circuits of openai open" in only(events, 'circuit{model="a"}').text

    def test_circuits_that_are_gone_do_not_count(self) -> None:
        events = [*self.of("a", (-600, "OPEN")), *self.of("b", (-900, ""))]
        assert "openai has no other circuit" in only(events).text

    def test_a_circuit_whose_first_event_is_no_longer_recorded_counts_from_the_beginning(self) -> None:
        events = [*self.of("a", (-600, "OPEN"), (-500, "CLOSED")), *circuit((-60, ""), key=Key("openai", "b"))]
        assert "1 of 2 circuits of openai open" in only(events).text

    def test_a_breaker_of_the_whole_provider_says_so(self) -> None:
        found = only(circuit((-600, "OPEN"), key=Key("openai")))
        assert found.title == "openai: circuit OPEN"
        assert "this breaker is the whole provider's" in found.text
        assert found.tags == ("circuit", "openai", "OPEN")


class TestTheRange:
    def test_what_began_before_the_range_is_drawn_just_inside_it_and_says_since_when(self) -> None:
        found = only(circuit((-9000, "OPEN"), (-300, "CLOSED")))
        assert spans([found]) == [(-3591, -300)]
        assert found.text.startswith("why OPEN; since 09:30 UTC; open for 2h25m; closed: why CLOSED;")

    def test_what_lasts_from_before_the_range_until_after_it_is_drawn(self) -> None:
        found = only(circuit((-9000, "OPEN"), (0, "CLOSED")), start=-600, end=-300)
        assert spans([found]) == [(-599.25, -300)]
        assert "since 09:30 UTC; open for 2h25m, and on after this range" in found.text

    def test_what_is_seen_of_it_may_be_so_short_that_it_is_drawn_from_its_middle(self) -> None:
        found = only(circuit((-9000, "OPEN"), (-3594, "CLOSED")))
        assert spans([found]) == [(-3597, -3594)]

    def test_a_beginning_on_another_day_is_told_with_the_day(self) -> None:
        found = only(circuit((-13 * 3600, "OPEN")))
        assert "since 2026-11-20 23:00 UTC" in found.text

    def test_what_began_within_the_range_does_not_say_since(self) -> None:
        assert "since" not in only(circuit((-600, "OPEN"))).text

    def test_what_began_as_the_range_did_is_drawn_just_inside_it_too(self) -> None:
        assert spans(drawn(circuit((-3600, "OPEN")))) == [(-3591, 0)]

    def test_an_outage_at_first_sight_before_the_range_says_since_when_it_was_seen(self) -> None:
        found = only(circuit((-9000, "OPEN"), before=""))
        assert "since 09:30 UTC; open for at least 2h30m (it was so at first sight)" in found.text

    def test_just_inside_is_by_the_range_that_was_asked_for_whatever_of_it_is_past(self) -> None:
        [found] = drawn(circuit((-9000, "OPEN")), start=-3600, end=4400)
        assert spans([found]) == [(-3580, 0)]

    def test_a_gateway_outage_that_began_before_the_range_is_drawn_so_too(self) -> None:
        found = only(gateway((-9000, "down"), (-300, "up")))
        assert spans([found]) == [(-3591, -300)]
        assert found.text == "why down; since 09:30 UTC; out for 2h25m; back: why up"

    def test_a_range_of_one_moment_is_drawn_there(self) -> None:
        assert spans(drawn(circuit((-600, "OPEN")), start=-300, end=-300)) == [(-300, -300)]

    @pytest.mark.parametrize(("start", "end"), [(-9000, -601), (-499, 0)])
    def test_what_lies_outside_the_range_is_not_drawn(self, start: float, end: float) -> None:
        events = [
            *circuit((-600, "OPEN"), (-500, "CLOSED")),
            status(-600, "healthy", "down"),
            *gateway((-550, "down"), (-520, "up")),
        ]
        assert drawn(events, start=start, end=end) == []

    def test_nothing_is_known_of_the_future(self) -> None:
        assert drawn(circuit((-600, "OPEN")), start=1, end=3600) == []

    def test_the_same_past_range_gives_the_same_answer_later(self) -> None:
        events = [*circuit((-600, "OPEN"), (-100, "CLOSED"), (-50, "OPEN")), *gateway((-400, "down"), (-200, "up"))]
        asked: dict[str, Any] = {"start": -700, "end": -300}
        then = drawn(events[:1] + events[3:4], **asked, seen=view(-250, failing_since=-400))
        assert drawn(events, **asked, seen=view(5000)) == then


class TestHistoryThatIsGone:
    def test_an_opening_that_was_pruned_is_drawn_from_where_the_history_begins(self) -> None:
        found = only(circuit((-600, "CLOSED"), before="OPEN"), start=-30 * DAY, kept=-4200)
        assert spans([found]) == [(-4200, -600)]
        assert "since" not in found.text
        assert "open for at least 1h00m (it began before what is still recorded); closed: why CLOSED" in found.text

    def test_within_the_history_it_fills_the_range(self) -> None:
        found = only(circuit((-600, "CLOSED"), before="HALF_OPEN"))
        assert spans([found]) == [(-3591, -600)]
        assert "since" not in found.text

    def test_before_the_history_only_its_end_is_known(self) -> None:
        found = drawn(circuit((-600, "CLOSED"), before="OPEN"), kept=-300)
        assert spans(found) == [(-600, -600)]

    def test_the_present_outage_begins_when_the_circuit_says(self) -> None:
        still = Circuit("openai", "gpt-4.1", CircuitState.OPEN, "gateway", NOON - 60, True, NOON - 9 * DAY, (), "")
        events = circuit((-60, "OPEN"), (-50, "HALF_OPEN"), (-40, "OPEN"), before="HALF_OPEN")
        found = only(events, seen=view(circuits=[still]))
        assert spans([found]) == [(-3591, 0)]
        assert "since 2026-11-12 12:00 UTC; open for 9d00h, so far; opened at least 2 times" in found.text

    def test_the_present_outage_says_nothing_of_an_earlier_one(self) -> None:
        still = Circuit("openai", "gpt-4.1", CircuitState.OPEN, "gateway", NOON - 60, True, NOON - 60, (), "")
        events = circuit((-900, "CLOSED"), (-60, "OPEN"), before="OPEN")
        assert spans(drawn(events, seen=view(circuits=[still]))) == [(-3591, -900), (-60, 0)]

    def test_an_id_does_not_depend_on_the_range(self) -> None:
        events = circuit((-600, "CLOSED"), before="OPEN")
        assert only(events).id == only(events, start=-900).id


class TestGatewayOutages:
    def test_an_outage_is_a_region(self) -> None:
        found = only(gateway((-600, "down"), (-300, "up")))
        assert spans([found]) == [(-600, -300)]
        assert found.title == "gateway outage"
        assert found.text == "why down; out for 5m00s; back: why up"
        assert found.tags == ("gateway", "down")
        assert found.new_state == "no_data"

    def test_an_outage_that_lasts_is_open_ended(self) -> None:
        found = only(gateway((-600, "down")), end=9000, seen=view(failing_since=-600, good_at=-615))
        assert spans([found]) == [(-600, 0)]
        assert "out for 10m00s, so far" in found.text

    def test_an_outage_at_first_sight_says_at_least(self) -> None:
        assert "out for at least 10m00s" in only(gateway((-600, "down"), before="")).text

    def test_an_outage_the_log_could_not_take_is_known_from_the_present_state(self) -> None:
        found = only([], seen=view(failing_since=-600))
        assert spans([found]) == [(-600, 0)]
        assert "no answer within 10 s" in found.text

    def test_an_outage_after_the_range_is_not_in_it(self) -> None:
        assert drawn([], end=-700, seen=view(failing_since=-600)) == []


class TestPoints:
    @pytest.mark.parametrize(
        ("after", "colour"), [("healthy", "ok"), ("degraded", "pending"), ("down", "alerting"), ("unknown", "no_data")]
    )
    def test_a_change_of_status_is_a_point_in_its_colour(self, after: str, colour: str) -> None:
        found = only([status(-600, "somehow", after)], "status")
        assert spans([found]) == [(-600, -600)]
        assert (found.title, found.text) == (f"openai: somehow → {after}", "1 of 4 circuits OPEN")
        assert (found.tags, found.new_state) == (("status", "openai", after), colour)

    def test_providers_that_come_and_go_are_points(self) -> None:
        came, went = drawn([roster(-600, "absent", "present"), roster(-300, "present", "absent")], "roster")
        assert (came.title, came.new_state, came.tags[0]) == ("openai appeared", "ok", "roster")
        assert (went.title, went.new_state) == ("openai vanished", "no_data")


class TestIncidents:
    def told(self, *incidents: Incident, **asked: Any) -> list[Annotation]:
        return drawn([], asked.pop("query", "incident"), incidents=incidents, **asked)

    def test_one_is_a_region_from_its_first_poll_to_the_one_that_showed_it_healthy(self) -> None:
        one = incident(
            "groq", NOON - 900, 720, requests=1030.0, failed=412.0, affected=("a", "b"), reached=2, among=3, number=3
        )
        [found] = self.told(one)
        assert spans([found]) == [(-900, -180)]
        assert found.title == "groq: down"
        assert found.text == (
            "regression, 12m00s, over 3m00s ago; down: 12 of 80 requests failed in 2 min (15 %);"
            " 2 of 3 models: a, b; 412 of 1,030 requests failed; recurring: the 3rd within 24 h"
        )
        assert (found.tags, found.new_state) == (("incident", "groq", "down"), "alerting")

    def test_one_that_lasts_goes_up_to_now(self) -> None:
        [found] = self.told(incident("groq", NOON - 60, 60, lasts=True, peak=Status.DEGRADED, cause="slow"))
        assert spans([found]) == [(-60, 0)]
        assert found.text == "ongoing for 1m00s, too early to say; degraded: slow"
        assert found.new_state == "pending"

    def test_one_that_began_before_the_range_says_since_when(self) -> None:
        [found] = self.told(incident("groq", NOON - 4000, 720), start=-3600.0)
        assert spans([found]) == [(-3591, -3280)]
        assert found.text.startswith("since 10:53 UTC; ")

    def test_one_that_is_outside_the_range_is_not_drawn(self) -> None:
        assert self.told(incident("groq", NOON - 4000, 300)) == []

    def test_neighbours_of_a_provider_are_one_region_that_says_how_many_and_which_was_worst(self) -> None:
        one, other = incident("groq", NOON - 900, 5, peak=Status.DEGRADED), incident("groq", NOON - 880, 5)
        [found] = self.told(one, other)
        assert spans([found]) == [(-900, -875)]
        assert found.text.startswith("2 incidents, the worst; blip, 5s, over 14m35s ago; down: ")
        [alone] = self.told(one)
        assert alone.id == found.id

    def test_nothing_is_said_of_now_that_is_not_known(self) -> None:
        [found] = self.told(incident("groq", NOON - 900, 60, lasts=True), seen=view(good_at=-840))
        assert found.text.startswith("too early to say, 1m00s, not known since 2026-11-21 11:46:00 UTC; down: ")

    def fleet(self, seconds: float = 300) -> list[Incident]:
        names = ("a", "b", "c", "d")
        parts = [incident(name, NOON - 900, seconds, fleet=NOON - 900) for name in names]
        return [incident("", NOON - 900, 300, affected=names, reached=4, among=6, cause="4 of 6 at once"), *parts]

    def test_one_of_the_fleet_is_one_region_and_not_each_of_its_providers(self) -> None:
        [found] = self.told(*self.fleet())
        assert found.title == "4 of 6 providers at once"
        assert found.text.endswith("down: 4 of 6 at once; 4 of 6 providers: a, b, c, d")

    def test_who_outlasts_it_has_a_region_too(self) -> None:
        assert len(self.told(*self.fleet(seconds=301))) == 5

    def test_who_asks_for_one_provider_sees_its_own_part_too(self) -> None:
        found = self.told(*self.fleet(), query='incident{provider="b"}')
        assert [one.tags for one in found] == [("incident", "b", "down"), ("incident", "down")]
        assert found[0].text.endswith("part of a fleet incident")
        assert self.told(*self.fleet(), query='incident{provider="x"}') == []


class TestTheQuery:
    EVENTS = (
        *circuit((-600, "OPEN"), (-500, "CLOSED")),
        *circuit((-550, "OPEN"), (-450, "CLOSED"), key=Key("groq", "llama(3)+x")),
        status(-400, "healthy", "down"),
        status(-350, "healthy", "down", "groq"),
        roster(-300, "absent", "present", "mistral"),
        *gateway((-200, "down"), (-100, "up")),
    )
    INCIDENTS = (incident("xai", NOON - 250, 30),)
    EVERYTHING = (
        "circuit openai", "circuit groq", "status openai", "status groq", "roster mistral", "incident xai", "gateway",
    )  # fmt: skip

    @pytest.mark.parametrize(
        ("query", "tags"),
        [
            ("", ["incident xai", "gateway"]),
            ("  ", ["incident xai", "gateway"]),
            (" , ", ["incident xai", "gateway"]),
            ("{}", ["incident xai", "gateway"]),
            ("all", EVERYTHING),
            ("incident", ["incident xai"]),
            ('incident{provider=~"x.*"}', ["incident xai"]),
            ('incident{provider="groq"}', []),
            ('all{provider="groq"}', ["circuit groq", "status groq", "gateway"]),
            ('all{kind="status",provider="groq"}', ["status groq"]),
            (
                'status{provider="groq"},all{provider="openai"}',
                ["circuit openai", "status openai", "status groq", "gateway"],
            ),
            ("circuit", ["circuit openai", "circuit groq"]),
            ("status", ["status openai", "status groq"]),
            ("roster", ["roster mistral"]),
            ("gateway", ["gateway"]),
            ('circuit{provider="groq"}', ["circuit groq"]),
            ('circuit{provider=~"{openai,groq}"}', ["circuit openai", "circuit groq"]),
            ('circuit{provider=~"openai"}', ["circuit openai"]),
            ('circuit{provider=~"(openai|groq)",model=~"gpt.*"}', ["circuit openai"]),
            ('circuit{provider!~"groq"}', ["circuit openai"]),
            ('status{provider=~"gr.*"}', ["status groq"]),
            ('roster{provider="openai"}', []),
            (
                'circuit{provider="groq"}, status{provider=~"{openai,x}"} ,gateway',
                ["circuit groq", "status openai", "gateway"],
            ),
            ("{roster,gateway}", ["roster mistral", "gateway"]),
            ("annotations", EVERYTHING),
            ('annotations{provider="groq"}', ["circuit groq", "status groq", "gateway"]),
            ('annotations{kind="circuit"}', ["circuit openai", "circuit groq"]),
            ('annotations{kind=~"status|roster",provider!="groq"}', ["status openai", "roster mistral"]),
            ('annotations{kind!="gateway",provider="groq"},gateway', ["circuit groq", "status groq", "gateway"]),
            ('annotations{kind="circus"}', []),
        ],
    )
    def test_a_query_picks_kinds_and_selectors(self, query: str, tags: Sequence[str]) -> None:
        found = drawn(self.EVENTS, query, incidents=self.INCIDENTS)
        assert [" ".join(one.tags[:2]).removesuffix(" down") for one in found] == list(tags)

    def test_a_filter_on_the_kind_chooses_among_all_where_the_query_names_none(self) -> None:
        selection = Selection("", [matcher("kind", "=", "status")])
        assert selection.kinds == {"status"}

    def test_a_gateway_outage_is_every_providers(self) -> None:
        assert len(drawn(self.EVENTS, 'gateway{provider=~"openai"}')) == 1

    def test_a_variables_only_value_comes_without_escapes_and_matches_itself(self) -> None:
        def known(_label: str) -> list[str]:
            return ["gpt-4.1", "llama(3)+x"]

        assert len(drawn(self.EVENTS, 'circuit{model=~"llama(3)+x"}', known=known)) == 1
        assert [one.tags[1] for one in drawn(self.EVENTS, 'circuit{model!~"llama(3)+x"}', known=known)] == ["openai"]

    @pytest.mark.parametrize(
        ("query", "says"),
        [
            ("circuits", "unknown kind of annotation 'circuits'; did you mean 'circuit'?"),
            ("provider_health_score", "unknown kind of annotation 'provider_health_score'"),
            ("circuit,sttus", "did you mean 'status'?"),
            ('circuit{provider=~"("}', "not a regular expression"),
            ('status,circuit{provider~"x"}', 'unknown operator "~" at character 24'),
            ('{provider="x"}', "a metric name is missing"),
            ("circuit," * (MAX_PICKS + 1), f"at most {MAX_PICKS} kinds"),
            ("x" * (MAX_TEXT_CHARACTERS + 1), "too long"),
            ('circuit{prov="x"}', "circuit has no label 'prov'; it has provider, model"),
            ('circuit{kind="status"}', "circuit has no label 'kind'"),
            ('status{status="down"}', "status has no label 'status'"),
            ('annotations{state="OPEN"}', "annotations has no label 'state'"),
        ],
    )
    def test_a_query_that_cannot_be_read_says_why(self, query: str, says: str) -> None:
        with pytest.raises(TargetError) as caught:
            drawn(self.EVENTS, query)
        assert says in caught.value.message
        assert caught.value.hint

    @given(st.text(st.one_of(st.sampled_from("circuit,{}=~\"'\\ "), st.characters(exclude_categories=[]))))
    def test_any_text_is_a_query_or_a_target_error(self, query: str) -> None:
        try:
            drawn(self.EVENTS, query)
        except TargetError as error:
            assert error.message.isprintable()


def flaps(count: int, *, start: float = -11 * 3600, key: Key = GPT, every: float = 90) -> list[Event]:
    """Openings of ten seconds, at equal intervals."""
    states = [(start + every * n + late, state) for n in range(count) for late, state in ((0, "OPEN"), (10, "CLOSED"))]
    return circuit(*states, key=key)


class TestOutagesThatAreOneRegion:
    @staticmethod
    def of(model: str, *states: tuple[float, str], provider: str = "groq") -> list[Event]:
        return circuit((-7000, "CLOSED"), *states, key=Key(provider, model), before="")

    def test_overlapping_circuits_of_a_provider_are_one_region_that_names_them(self) -> None:
        events = [
            *self.of("llama", (-600, "OPEN"), (-480, "CLOSED")),
            *self.of("qwen", (-600, "OPEN"), (-500, "CLOSED")),
            *self.of("gemma", (-590, "OPEN"), (-460, "CLOSED")),
        ]
        found = only(events)
        assert spans([found]) == [(-600, -460)]
        assert found.title == "groq: 3 of 3 circuits OPEN"
        assert found.text == (
            "3 outages of 3 circuits: gemma, llama, qwen; why OPEN; open for 2m20s; closed: why CLOSED"
        )
        assert found.tags == ("circuit", "groq", "OPEN")
        assert found.new_state == "alerting"

    def test_circuits_of_other_providers_are_regions_of_their_own(self) -> None:
        events = [*self.of("a", (-600, "OPEN")), *self.of("a", (-590, "OPEN"), provider="openai")]
        assert [one.title for one in drawn(events)] == ["groq / a: circuit OPEN", "openai / a: circuit OPEN"]

    def test_circuits_that_were_never_open_count_among_all_and_are_not_named(self) -> None:
        events = [*self.of("a", (-600, "OPEN")), *self.of("b", (-590, "OPEN")), *self.of("calm")]
        found = only(events)
        assert found.title == "groq: 2 of 3 circuits OPEN"
        assert "2 outages of 2 circuits: a, b;" in found.text

    def test_the_title_counts_what_was_open_at_once(self) -> None:
        events = [
            *self.of("a", (-600, "OPEN"), (-500, "CLOSED")),
            *self.of("b", (-520, "OPEN"), (-420, "CLOSED")),
            *self.of("c", (-440, "OPEN"), (-400, "CLOSED")),
        ]
        found = only(events)
        assert found.title == "groq: 2 of 3 circuits OPEN"
        assert "3 outages of 3 circuits: a, b, c" in found.text
        assert "2 of 3 circuits of groq open at worst" in found.text

    def test_the_text_says_which_are_still_open_and_the_colour_is_that_of_now(self) -> None:
        events = [
            *self.of("a", (-600, "OPEN"), (-500, "CLOSED")),
            *self.of("b", (-600, "OPEN"), (-20, "HALF_OPEN")),
            *self.of("c", (-600, "OPEN"), (-10, "HALF_OPEN")),
        ]
        found = only(events)
        assert found.title == "groq: 3 of 3 circuits OPEN"
        assert "open for 10m00s, so far" in found.text
        assert found.text.endswith("b still HALF_OPEN, c still HALF_OPEN")
        assert (found.tags[-1], found.new_state) == ("HALF_OPEN", "pending")
        worse = only([*events, Event(NOON - 5, "circuit", "groq", "c", "HALF_OPEN", "OPEN", "why OPEN")])
        assert worse.text.endswith("b still HALF_OPEN, c still OPEN")
        assert (worse.tags[-1], worse.new_state) == ("OPEN", "alerting")

    def test_each_reason_is_told_once_and_of_many_the_first(self) -> None:
        events = [
            replace(event, reason=event.model) for n in range(5) for event in self.of(f"m{n}", (-600 + n, "OPEN"))
        ]
        assert "; m0; m1; m2 and 2 more reasons; open for" in only(events).text
        same = [event for n in range(5) for event in self.of(f"m{n}", (-600 + n, "OPEN"))]
        assert only(same).text.count("why OPEN") == 1

    def test_of_many_models_the_first_are_named_and_the_others_counted(self) -> None:
        events = [event for n in range(14) for event in self.of(f"m{n:02}", (-600, "OPEN"), (-500, "CLOSED"))]
        assert (
            "14 outages of 14 circuits: m00, m01, m02, m03, m04, m05, m06, m07, m08, m09 and 4 more;"
            in only(events).text
        )

    def test_a_breaker_of_the_whole_provider_is_named_beside_those_of_its_models(self) -> None:
        found = only([*self.of("a", (-600, "OPEN")), *self.of("", (-590, "OPEN"))])
        assert found.title == "groq: 2 of 2 circuits OPEN"
        assert "2 outages of 2 circuits: a, the whole provider's;" in found.text

    def test_a_region_with_an_outage_of_unknown_beginning_lasted_at_least_as_long(self) -> None:
        found = only([*circuit((-600, "OPEN"), before="", key=Key("groq", "a")), *self.of("b", (-590, "OPEN"))])
        assert "open for at least 10m00s (it was so at first sight), so far" in found.text

    def test_neighbours_closer_than_a_200th_of_the_range_are_one_and_say_how_many(self) -> None:
        found = only(flaps(7, start=-3000, every=27))
        assert spans([found]) == [(-3000, -3000 + 6 * 27 + 10)]
        assert found.title == "openai / gpt-4.1: circuit OPEN"
        assert found.text.startswith("7 outages; why OPEN; open for 1m10s in all; closed: why CLOSED;")
        assert len(drawn(flaps(7, start=-3000, every=28))) == 7

    def test_neighbours_of_a_provider_need_not_be_of_one_model(self) -> None:
        found = only([*self.of("a", (-600, "OPEN"), (-500, "CLOSED")), *self.of("b", (-490, "OPEN"), (-400, "CLOSED"))])
        assert found.title == "groq: 1 of 2 circuits OPEN"
        assert "2 outages of 2 circuits: a, b; why OPEN; open for 3m10s in all" in found.text

    def test_neighbouring_gateway_outages_are_one_region_too(self) -> None:
        found = only(gateway((-600, "down"), (-550, "up"), (-540, "down"), (-500, "up")))
        assert spans([found]) == [(-600, -500)]
        assert found.text == "2 outages; why down; out for 1m30s in all; back: why up"

    def test_a_region_that_began_before_the_range_says_since_when(self) -> None:
        found = only(
            [*self.of("a", (-4000, "OPEN"), (-3500, "CLOSED")), *self.of("b", (-3550, "OPEN"), (-3000, "CLOSED"))]
        )
        assert spans([found]) == [(-3591, -3000)]
        assert "since 10:53 UTC; open for 16m40s" in found.text

    def test_what_is_outside_the_range_is_no_part_of_a_region_that_reaches_into_it(self) -> None:
        events = circuit((-620, "OPEN"), (-610, "CLOSED"), (-600, "OPEN"), (-500, "CLOSED"))
        assert spans(drawn(events, start=-605)) == [(-600, -500)]

    def test_ids_are_the_same_in_all_ranges_that_see_the_same_and_no_two_regions_share_one(self) -> None:
        events = [*flaps(7, start=-3000, every=15), *self.of("a", (-2000, "OPEN")), *self.of("b", (-1990, "OPEN"))]
        hour, other = drawn(events), drawn(events, start=-3300, end=-100)
        assert [one.id for one in hour] == [one.id for one in other]
        assert len({one.id for one in hour}) == 2

    def test_only_what_the_query_picks_is_in_a_region(self) -> None:
        events = [*self.of("a", (-600, "OPEN")), *self.of("b", (-590, "OPEN"))]
        found = only(events, 'circuit{model="a"}')
        assert found.title == "groq / a: circuit OPEN"
        assert "2 of 2 circuits of groq open at worst" in found.text


class TestManyEvents:
    def test_more_regions_of_a_provider_than_can_be_told_apart_are_fewer_that_say_how_many(self) -> None:
        found = only(flaps(MAX_REGIONS + 10, every=600), start=-DAY)
        assert spans([found]) == [(-11 * 3600, -11 * 3600 + (MAX_REGIONS + 9) * 600 + 10)]
        assert found.text.startswith("60 outages; why OPEN; open for 10m00s in all; closed: why CLOSED;")
        assert len(drawn(flaps(MAX_REGIONS, every=600), start=-DAY)) == MAX_REGIONS

    def test_a_closer_look_shows_each_outage(self) -> None:
        begin = -11 * 3600
        assert len(drawn(flaps(214), start=begin, end=begin + 3599)) == 40

    def test_no_provider_has_more_regions_than_its_share_and_a_calm_one_keeps_its_own(self) -> None:
        calm = [*flaps(2, start=-9000, key=Key("groq", "a"), every=300)]
        found = drawn([*flaps(100, start=-10_800, every=100), *calm], start=-10_800)
        assert [one.title for one in found].count("groq / a: circuit OPEN") == 2
        assert sum(one.tags[1] == "openai" for one in found) <= MAX_REGIONS

    def test_a_flapping_circuit_that_is_open_now_lasts_until_now(self) -> None:
        found = only([*flaps(7, start=-200, every=27), *circuit((-15, "OPEN"))])
        assert spans([found]) == [(-200, 0)]
        assert found.text.startswith("8 outages; why OPEN; open for 1m25s in all, so far;")

    def test_of_too_many_events_the_newest_are_shown_and_the_others_counted(self) -> None:
        events = [status(-3000 + n, "healthy", "down") for n in range(MAX_EVENTS + 234)]
        first, *others = drawn(events, "status")
        assert first.title == "234 earlier events are not shown"
        assert first.start == NOON - 3000 + 233
        assert [one.start for one in others] == [NOON - 3000 + n for n in range(234, MAX_EVENTS + 234)]

    def test_what_still_lasts_is_among_the_newest(self) -> None:
        events = [status(-3000 + n, "healthy", "down") for n in range(MAX_EVENTS)]
        found = drawn([*events, *circuit((-9000, "OPEN"))], "all")
        assert found[0].tags[0] == "circuit"
        assert found[1].title == "1 earlier event is not shown"


STATES = st.sampled_from(["CLOSED", "OPEN", "HALF_OPEN", ""])
TIMES = st.integers(0, 60).map(lambda minutes: -3600.0 + 60 * minutes)
WANDERINGS = st.lists(st.tuples(TIMES, STATES), max_size=40).map(lambda steps: sorted(steps, key=lambda step: step[0]))


class TestForAnyHistory:
    @given(st.data())
    def test_regions_of_a_circuit_hold_every_opening_and_never_overlap(self, data: st.DataObject) -> None:
        a, b, now, kept = data.draw(st.tuples(TIMES, TIMES, TIMES, TIMES))
        events = circuit(*data.draw(WANDERINGS), before=data.draw(STATES))
        start, end = min(a, b), max(a, b)
        if data.draw(st.booleans()):  # a log that lost events, so that what was before is not what came before
            events = [replace(event, before=data.draw(STATES)) for event in events]
        found = drawn(events, start=start, end=end, seen=view(now), kept=kept)
        regions = spans(found)
        assert all(start <= begin <= finish <= min(end, now) for begin, finish in regions)
        assert all(before[1] < after[0] for before, after in pairwise(regions))
        assert len({one.id for one in found}) == len(found)
        for event in events:
            at = event.at - NOON
            if event.after in BAD and start <= at <= min(end, now):
                assert any(begin - (end - start) / 400 <= at <= finish for begin, finish in regions)

    @given(st.data())
    def test_regions_of_a_provider_hold_the_openings_of_all_its_circuits_and_never_overlap(
        self, data: st.DataObject
    ) -> None:
        a, b, now = data.draw(st.tuples(TIMES, TIMES, TIMES))
        start, end = min(a, b), max(a, b)
        circuits = [Key(provider, model) for provider in ("groq", "openai") for model in "ab"]
        held = [event for key in circuits for event in circuit(*data.draw(WANDERINGS), key=key, before="")]
        found = drawn(held, start=start, end=end, seen=view(now))
        assert len({one.id for one in found}) == len(found)
        for provider in ("groq", "openai"):
            regions = spans([one for one in found if one.tags[1] == provider])
            assert all(before[1] < after[0] for before, after in pairwise(regions))
            for event in held:
                at = event.at - NOON
                if event.provider == provider and event.after in BAD and start <= at <= min(end, now):
                    assert any(begin - (end - start) / 400 <= at <= finish for begin, finish in regions)

    @given(steps=WANDERINGS, a=TIMES, b=TIMES)
    def test_no_region_holds_a_time_at_which_the_circuit_was_seen_closed(
        self, steps: list[tuple[float, str]], a: float, b: float
    ) -> None:
        regions = spans(drawn(circuit(*steps, before=""), start=min(a, b), end=max(a, b)))
        last_of_poll: Mapping[float, str] = dict(steps)
        for at, state in last_of_poll.items():
            assert state in BAD or not any(begin <= at < finish for begin, finish in regions)


class TestWhatIsRead:
    @settings(max_examples=300, deadline=None)
    @given(st.data())
    def test_what_happened_around_a_range_says_all_that_everything_would(self, data: st.DataObject) -> None:
        a, b, now = data.draw(st.tuples(TIMES, TIMES, TIMES))
        models = [Key("openai", model) for model in data.draw(st.sets(st.sampled_from("abc"), min_size=1))]
        held = [event for key in models for event in circuit(*data.draw(WANDERINGS), key=key, before="")]
        span = TimeRange(NOON + min(a, b), NOON + max(a, b))
        held.sort(key=lambda event: event.at)
        asked = {"query": "circuit", "span": span, "view": view(now), "kept_since": NOON - 7 * DAY}
        found = [annotate(store=log(held), **asked) for log in (EventLog, WholeLog)]  # type: ignore[arg-type]
        assert found[0] == found[1]

    def test_a_range_after_a_long_history_costs_what_happened_in_it(self) -> None:
        old = [event for number in range(50) for event in flaps(2_000, start=-5 * DAY, key=Key("groq", str(number)))]
        held = [*old, *circuit((-600, "OPEN"), (-300, "CLOSED"))]
        took = []
        for log in (Log(*held), WholeLog(held)):
            began = time.thread_time()
            found = annotate("circuit", TimeRange(NOON - 900, NOON), view(), log, kept_since=NOON - DAY)  # type: ignore[arg-type]
            took.append(time.thread_time() - began)
        assert took[0] < took[1] / 4, "it is no cheaper than reading all of it"
        assert [one.title for one in found] == ["openai / gpt-4.1: circuit OPEN"]


class Source:
    """A gateway that reports these states of one circuit, a poll each; None is a poll that fails."""

    def __init__(self, *states: CircuitState | None) -> None:
        self.states = iter(states)

    def read(self, _: Learnt) -> Signals:
        state = next(self.states)
        if state is None:
            raise GatewayError("no answer")
        sources = {"circuit_state": ("circuit_breaker_state", "test")}
        return Signals(
            circuits={Key("openai", "gpt-4.1"): state},
            families={"circuit_breaker_state": frozenset({"openai"})},
            sources=sources,
            dialects=("test",),
        )


def test_what_the_poller_wrote_down_is_what_is_drawn(tmp_path: Path) -> None:
    closed, opened, trying = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
    polls = [closed, opened, trying, opened, closed, None, None, closed, opened]
    store = Store(tmp_path, retention_seconds=7 * DAY)
    now = NOON
    poller = Poller(Source(*polls), store, Policy(), interval_seconds=15.0, clock=reads(lambda: now))  # type: ignore[arg-type]
    for _ in polls:
        polled(poller)
        now += 15
    seen = View(NOON + 130, store.latest(), 45.0)
    found = annotate("circuit,gateway", TimeRange(NOON, NOON + 3600), seen, store, kept_since=NOON - 7 * DAY)
    assert spans(found) == [(15, 60), (75, 105), (120, 130)]
    assert [one.tags[0] for one in found] == ["circuit", "gateway", "circuit"]
    changes = annotate("status", TimeRange(NOON, NOON + 3600), seen, store, kept_since=NOON - 7 * DAY)
    assert [one.title for one in changes][:1] == ["openai: healthy → down"]
    store.close()
