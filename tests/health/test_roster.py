"""Who is there: nobody vanishes because a line or a family is missing, and nobody stays for ever."""

from __future__ import annotations

import pytest

from bridge.health import roster
from tests.health.polls import Bridge, says

BOTH = {"groq": 90, "xai": 90}
XAI = {"xai": 90}


def came_and_went(bridge: Bridge) -> list[tuple[str, str]]:
    return [(event.provider, event.after) for event in bridge.events if event.kind == "roster"]


def test_at_the_first_poll_nobody_is_said_to_have_appeared() -> None:
    bridge = Bridge()
    bridge.poll(says(reported_score=BOTH))
    assert bridge.providers == ["groq", "xai"]
    assert came_and_went(bridge) == []


def test_a_provider_appears_with_the_first_poll_that_shows_it() -> None:
    bridge = Bridge()
    bridge.poll(says(reported_score=XAI))
    bridge.poll(says(reported_score=BOTH))
    assert came_and_went(bridge) == [("groq", "present")]
    [event] = bridge.events
    assert (event.at, event.before) == (bridge.at, "absent")
    bridge.poll(says(reported_score=BOTH))
    assert came_and_went(bridge) == []


def test_a_provider_vanishes_when_it_is_absent_from_three_good_polls_in_a_row() -> None:
    bridge = Bridge()
    bridge.poll(says(reported_score=BOTH))
    shown = []
    for _ in range(3):
        bridge.poll(says(reported_score=XAI))
        shown.append((bridge.providers, came_and_went(bridge)))
    assert shown == [(["groq", "xai"], []), (["groq", "xai"], []), (["xai"], [("groq", "absent")])]
    assert bridge.events[0].reason == "in no family of the last 3 polls"
    bridge.poll(says(reported_score=XAI))
    assert bridge.events == []


def test_while_it_is_absent_its_numbers_are_not_known() -> None:
    bridge = Bridge()
    bridge.poll(says(reported_score=BOTH, requests=BOTH))
    bridge.poll(says(reported_score=XAI, requests=XAI))
    assert bridge.value("groq", "provider_reported_health_score") is None
    assert bridge.value("groq", "provider_health_score") is None


def test_the_three_polls_must_be_in_a_row() -> None:
    bridge = Bridge()
    for scores in (BOTH, XAI, XAI, BOTH, XAI, XAI):
        bridge.poll(says(reported_score=scores))
    assert bridge.providers == ["groq", "xai"]


def test_one_line_in_any_family_is_presence() -> None:
    bridge = Bridge()
    bridge.poll(says(reported_score=BOTH, cost=BOTH, circuits={"groq/a": "CLOSED", "xai": "CLOSED"}))
    for _ in range(5):
        bridge.poll(says(reported_score=XAI, cost=XAI, circuits={"groq/a": "CLOSED", "xai": "CLOSED"}))
        assert bridge.providers == ["groq", "xai"]


def test_who_comes_back_after_vanishing_appears_again() -> None:
    bridge = Bridge()
    for scores in (BOTH, XAI, XAI, XAI, BOTH):
        bridge.poll(says(reported_score=scores))
    assert came_and_went(bridge) == [("groq", "present")]
    assert bridge.verdict("groq").status_since == bridge.at, "what it was before is forgotten"


def test_a_vanished_providers_circuits_go_with_it() -> None:
    bridge = Bridge()
    bridge.poll(says(circuits={"groq": "OPEN", "xai": "CLOSED"}))
    for _ in range(3):
        bridge.poll(says(circuits={"xai": "CLOSED"}))
    assert bridge.states() == {"xai": "CLOSED"}
    derived = Bridge()
    for n in (0, 5):
        derived.poll(says(requests={"groq": n, "xai": 0}, failures={"groq": n, "xai": 0}))
    assert derived.states()["groq"] == "OPEN"
    for _ in range(3):
        derived.poll(says(requests={"xai": 0}, failures={"xai": 0}))
    assert derived.states() == {"xai": "CLOSED"}


CIRCUITS = {"groq": "CLOSED", "xai": "CLOSED"}


class TestLostFamily:
    def test_one_that_a_release_dropped_for_good_is_no_longer_expected_after_the_window(self) -> None:
        bridge = Bridge()
        bridge.poll(says(circuits=CIRCUITS, reported_score={"groq": 90, "xai": 90, "novita": 90}))
        for _ in range(20):
            bridge.poll(says(circuits=CIRCUITS))
            assert "novita" in bridge.providers
        for _ in range(4):
            bridge.poll(says(circuits=CIRCUITS))
        assert bridge.memory.lost_families == {}
        assert bridge.providers == ["groq", "xai"], "it is in no family that is left"
        assert bridge.snapshot.notices == ()

    def test_while_one_is_lost_names_that_never_repeat_do_not_pile_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(roster, "MAX_PROVIDERS", 60)
        bridge = Bridge()
        bridge.poll(says(circuits={"groq/a": "CLOSED"}, reported_score={"groq": 90}))
        for number in range(15):
            bridge.poll(says(circuits={f"p{number}-{one}/a": "CLOSED" for one in range(50)} | {"groq/a": "CLOSED"}))
            assert bridge.memory.lost_families
            assert len(bridge.providers) <= 60
            assert "groq" in bridge.providers

    def test_nobody_vanishes_while_it_is_lost_and_its_values_are_unknown(self) -> None:
        bridge = Bridge()
        everyone = {"groq": 90, "xai": 90, "novita": 90}
        bridge.poll(says(circuits=CIRCUITS, reported_score=everyone, requests=everyone))
        for _ in range(10):
            bridge.poll(says(circuits=CIRCUITS))
            assert bridge.providers == ["groq", "novita", "xai"], "novita is in no other family"
            assert bridge.value("xai", "provider_reported_health_score") is None
            assert bridge.value("xai", "provider_request_rate") is None
            assert came_and_went(bridge) == []
        assert bridge.snapshot.notices == (
            "the gateway has stopped giving reported_score",
            "the gateway has stopped giving requests",
        )
        assert bridge.memory.lost_families == {"reported_score": 15, "requests": 15}
        assert bridge.evidence("xai", "reported score").note == (
            "not known: the gateway has stopped giving reported_score, requests for everyone"
        )

    def test_absences_count_again_once_it_is_back(self) -> None:
        bridge = Bridge()
        bridge.poll(says(circuits=CIRCUITS, reported_score=BOTH | {"novita": 1}))
        bridge.poll(says(circuits=CIRCUITS))
        present = []
        for _ in range(3):
            bridge.poll(says(circuits=CIRCUITS, reported_score=BOTH))
            present.append("novita" in bridge.providers)
            assert bridge.snapshot.notices == ()
        assert present == [True, True, False]

    def test_an_absence_from_before_goes_on_where_it_was(self) -> None:
        bridge = Bridge()
        bridge.poll(says(circuits=CIRCUITS, reported_score=BOTH | {"novita": 1}))
        for scores in (BOTH, BOTH, {}, BOTH):
            assert "novita" in bridge.providers
            bridge.poll(says(circuits=CIRCUITS, reported_score=scores))
        assert "novita" not in bridge.providers

    @pytest.mark.parametrize(
        "polls",
        [
            pytest.param(
                [says(circuits=CIRCUITS, reported_score=XAI), says(circuits=CIRCUITS)], id="not everyone had it"
            ),
            pytest.param(
                [says(circuits=CIRCUITS, reported_score=BOTH), says(circuits=CIRCUITS, reported_score=XAI)],
                id="one line is left",
            ),
            pytest.param([says(reported_score=BOTH, requests=BOTH), says(requests=BOTH)], id="no circuits at all"),
            pytest.param([says(circuits=CIRCUITS)], id="it was never there"),
        ],
    )
    def test_it_is_lost_only_when_everyone_had_it_and_circuits_still_stand(self, polls: list) -> None:
        bridge = Bridge()
        for poll in polls:
            bridge.poll(poll)
        assert bridge.memory.lost_families == {}
        assert bridge.snapshot.notices == ()
