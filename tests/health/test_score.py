"""The score is the weighted sum the contract states, made of what is known alone; the status follows from it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.health import score
from bridge.model import CircuitState, Status
from bridge.policy import Policy
from tests.health.polls import Bridge, says

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


def health(
    availability: float | None = None,
    error_rate: float | None = None,
    latency: float | None = None,
    reported: float | None = None,
) -> float | None:
    return score.health_score(score.parts(availability, error_rate, latency, reported))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        pytest.param({"availability": 100, "error_rate": 0, "latency": 1}, 100, id="perfect"),
        pytest.param({"availability": 0, "error_rate": 1, "latency": 0}, 0, id="nothing works"),
        pytest.param({"availability": 0, "error_rate": 0, "latency": 1}, 60, id="availability weighs 0.4"),
        pytest.param({"availability": 100, "error_rate": 1, "latency": 1}, 70, id="the error rate weighs 0.3"),
        pytest.param({"availability": 100, "error_rate": 0, "latency": 0}, 70, id="latency weighs 0.3"),
        pytest.param({"availability": 75, "error_rate": 0.1, "latency": 0.5}, 72, id="all of them"),
        pytest.param({"availability": 0, "error_rate": 0}, 100 * 0.3 / 0.7, id="re-weighted without latency"),
        pytest.param({"latency": 0.25}, 25, id="one part alone is the score"),
        pytest.param({"error_rate": 1, "latency": 1}, 50, id="re-weighted without availability"),
        pytest.param({"availability": 0, "reported": 50}, 30, id="the reported score stands in for two parts"),
        pytest.param({"reported": 42}, 42, id="the reported score stands in for all"),
        pytest.param(
            {"availability": 100, "error_rate": 0, "latency": 1, "reported": 1}, 100, id="and for none that is known"
        ),
        pytest.param({}, None, id="no part, no score"),
    ],
)
def test_a_score_is_made_of_the_parts_there_is_evidence_for(parts: dict[str, float], expected: float | None) -> None:
    assert health(**parts) == (None if expected is None else pytest.approx(expected))


maybe_percent = st.one_of(st.none(), st.floats(0, 100))
maybe_share = st.one_of(st.none(), st.floats(0, 1))


@settings(deadline=None)
@given(maybe_percent, maybe_share, maybe_share, maybe_percent)
def test_a_score_lies_between_its_worst_and_its_best_part(
    availability: float | None, error_rate: float | None, latency: float | None, reported: float | None
) -> None:
    parts = score.parts(availability, error_rate, latency, reported)
    known = [100 * part.value for part in parts if part.value is not None]
    found = score.health_score(parts)
    if found is None:
        assert known == []
    else:
        assert min(known) - 1e-9 <= found <= max(known) + 1e-9


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, 1), (1.99, 1), (2, 1), (4, 0.75), (6, 0.5), (9, 0.125), (10, 0), (1e9, 0)]
)
def test_latency_scores_1_when_good_0_when_bad_and_is_linear_between(seconds: float, expected: float) -> None:
    assert score.latency_score(seconds, good=2, bad=10) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("health", "states", "status", "why"),
    [
        (None, [], Status.UNKNOWN, "nothing is known of it"),
        (None, [None], Status.UNKNOWN, "nothing is known of it"),
        (None, [CLOSED], Status.HEALTHY, "no circuit OPEN"),
        (90.0, [], Status.HEALTHY, "no circuit OPEN, score 90.0"),
        (80.0, [CLOSED], Status.HEALTHY, "no circuit OPEN, score 80.0"),
        (79.9, [CLOSED], Status.DEGRADED, "score 79.9 is under 80"),
        (50.0, [CLOSED], Status.DEGRADED, "score 50.0 is under 80"),
        (49.9, [CLOSED], Status.DOWN, "score 49.9 is under 50"),
        (49.9, [], Status.DOWN, "score 49.9 is under 50"),
        (100.0, [OPEN], Status.DOWN, "its circuit is OPEN"),
        (100.0, [OPEN, OPEN], Status.DOWN, "every circuit is OPEN"),
        (None, [OPEN], Status.DOWN, "its circuit is OPEN"),
        (100.0, [OPEN, CLOSED, CLOSED, CLOSED], Status.DEGRADED, "1 of 4 circuits OPEN"),
        (100.0, [OPEN, HALF_OPEN], Status.DEGRADED, "1 of 2 circuits OPEN"),
        (100.0, [OPEN, None], Status.DEGRADED, "1 of 2 circuits OPEN"),
        (40.0, [OPEN, CLOSED], Status.DOWN, "score 40.0 is under 50"),
        (100.0, [HALF_OPEN], Status.DEGRADED, "1 of 1 circuits HALF_OPEN"),
        (100.0, [HALF_OPEN, CLOSED], Status.DEGRADED, "1 of 2 circuits HALF_OPEN"),
        (None, [HALF_OPEN, CLOSED], Status.DEGRADED, "1 of 2 circuits HALF_OPEN"),
        (100.0, [None, CLOSED], Status.HEALTHY, "no circuit OPEN, score 100.0"),
    ],
)
def test_a_status_follows_from_score_and_circuits_and_says_why(
    health: float | None, states: list[CircuitState | None], status: Status, why: str
) -> None:
    assert score.status(health, states) == (status, why)


class TestVerdict:
    """The same through a whole assessment: where each part comes from."""

    def test_a_score_shows_its_parts_and_where_another_stands_in(self) -> None:
        bridge = Bridge()
        bridge.poll(says(circuits={"groq/a": "OPEN", "groq/b": "CLOSED"}, reported_score={"groq": 70}))
        assert bridge.value("groq", "provider_health_score") == pytest.approx(0.4 * 50 + 0.6 * 70)
        assert bridge.evidence("groq", "health score").note == (
            "100 × (0.4 × availability 0.500 + 0.3 × (1 − error rate) 0.700 (reported score stands in)"
            " + 0.3 × latency 0.700 (reported score stands in))"
        )

    def test_what_is_left_out_is_said(self) -> None:
        bridge = Bridge()
        bridge.poll(says(circuits={"groq": "CLOSED"}))
        assert bridge.value("groq", "provider_health_score") == 100
        assert bridge.evidence("groq", "health score").note == (
            "100 × (0.4 × availability 1.000); left out for want of evidence: error rate, latency"
        )

    def test_without_evidence_there_is_no_score(self) -> None:
        bridge = Bridge()
        bridge.poll(says(cost={"groq": 1.5}))
        assert bridge.value("groq", "provider_health_score") is None
        assert bridge.verdict("groq").status is Status.UNKNOWN
        assert bridge.evidence("groq", "health score").note.startswith("no evidence; left out")
        assert bridge.value("groq", "provider_cost_usd") == 1.5

    def test_the_reported_score_is_untouched_and_beside_ours(self) -> None:
        bridge = Bridge()
        bridge.poll(says(reported_score={"groq": 97}, availability={"groq": 50}, error_rate={"groq": 0.5}))
        assert bridge.value("groq", "provider_reported_health_score") == 97
        assert bridge.value("groq", "provider_health_score") == pytest.approx(20 + 15 + 0.3 * 97)

    def test_the_95th_percentile_scores_before_the_average(self) -> None:
        histogram, average = Bridge(), Bridge()
        for n in (1, 11):
            buckets = {"groq": {"5": 0, "7": n, "+Inf": n}}
            histogram.poll(says(buckets=buckets, seconds={"groq": 5.5 * n}, latency={"groq": 2}))
            average.poll(says(latency={"groq": 6}))
        p95 = histogram.value("groq", "provider_latency_p95_seconds")
        assert p95 == pytest.approx(5 + 2 * 0.95)
        assert histogram.value("groq", "provider_health_score") == 38.7
        assert histogram.value("groq", "provider_latency_seconds") == pytest.approx(5.5), "measured, not the gauge"
        assert average.value("groq", "provider_health_score") == pytest.approx(50)

    def test_latency_is_scored_by_the_policys_bounds(self) -> None:
        bridge = Bridge(Policy(latency_good_seconds=1, latency_bad_seconds=3))
        bridge.poll(says(latency={"groq": 2.5}))
        assert bridge.value("groq", "provider_health_score") == pytest.approx(25)

    def test_availability_is_the_gauge_then_the_circuits_then_the_requests(self) -> None:
        counted = [
            {"requests": {"groq/a": 100.0 * n, "xai": 0}, "failures": {"groq/a": 25.0 * n, "xai": 0}} for n in (0, 1)
        ]
        gauge, circuits, hour = Bridge(), Bridge(), Bridge()
        for numbers in counted:
            gauge.poll(says(availability={"groq": 80}, circuits={"groq/a": "OPEN", "groq/b": "CLOSED"}, **numbers))
            circuits.poll(says(circuits={"groq/a": "OPEN", "groq/b": "CLOSED"}, **numbers))
            hour.poll(says(**numbers))
        assert gauge.value("groq", "provider_availability") == 80
        assert circuits.value("groq", "provider_availability") == 50
        assert circuits.evidence("groq", "availability").source == "bridge, 1 of 2 circuits not OPEN"
        assert circuits.evidence("groq", "availability").note == ""
        assert hour.value("groq", "provider_availability") == pytest.approx(75)
        assert hour.evidence("groq", "availability").source == "bridge, from failures (test) over 15 seconds"

    def test_failures_that_are_over_do_not_hold_a_provider_down(self) -> None:
        bridge = Bridge()
        for n in range(50):
            bridge.poll(says(requests={"groq": 10 * n}, failures={"groq": min(10 * n, 100)}))
        assert bridge.value("groq", "provider_error_rate") == 0
        assert bridge.value("groq", "provider_availability") == 100

    def test_circuits_that_are_not_known_have_no_say(self) -> None:
        bridge = Bridge()
        bridge.poll(says(circuits={"groq/a": "OPEN", "groq/b": "CLOSED", "xai": "CLOSED"}))
        bridge.poll(says(circuits={"groq/b": "CLOSED", "xai": "CLOSED"}))
        values = bridge.verdict("groq").values
        assert values["provider_availability"] == 100
        assert values["provider_open_circuits"] == 0
        assert values["provider_circuits"] == 2
        bridge.poll(says(circuits={"xai": "CLOSED"}, cost={"groq": 1}))
        assert bridge.value("groq", "provider_open_circuits") is None
        assert bridge.value("groq", "provider_circuit_breaker_state") is None
        assert bridge.value("groq", "provider_availability") is None
        bridge.poll(says(circuits={"groq/a": "OPEN", "groq/b": "OPEN"}))
        bridge.poll(says(circuits={"groq/b": "OPEN"}))
        assert bridge.value("groq", "provider_availability") == 0

    def test_a_fleet_whose_circuits_are_all_unknown_has_no_number_of_open_ones(self) -> None:
        bridge = Bridge()
        bridge.poll(says(circuits={"groq": "CLOSED"}, cost={"groq": 1}))
        assert bridge.snapshot.fleet["fleet_open_circuits"] == 0
        bridge.poll(says(cost={"groq": 1}))
        assert bridge.snapshot.fleet["fleet_open_circuits"] is None

    def test_a_provider_without_circuits_has_no_number_of_them(self) -> None:
        bridge = Bridge()
        bridge.poll(says(cost={"groq": 1}))
        assert bridge.value("groq", "provider_circuits") is None

    def test_a_derived_open_circuit_counts_against_availability_before_the_hours_requests(self) -> None:
        bridge = Bridge()
        for n in (0, 5):
            counted = {"requests": {"groq/a": n, "groq/b": 9 * n}, "failures": {"groq/a": n, "groq/b": 0}}
            bridge.poll(says(**counted))
        assert bridge.states() == {"groq/a": "OPEN", "groq/b": "CLOSED"}
        assert bridge.value("groq", "provider_availability") == 50


class TestStatusHistory:
    def test_a_status_is_dated_by_the_poll_that_brought_it(self) -> None:
        bridge = Bridge()
        since = []
        for reported in (90, 95, 70, 60, 85):
            bridge.poll(says(reported_score={"groq": reported}))
            since.append(bridge.at - bridge.verdict("groq").status_since)
        assert since == [0, 15, 0, 15, 0]

    def test_a_change_is_one_event_and_the_first_verdict_is_none(self) -> None:
        bridge = Bridge()
        for reported in (90, 70, 70, 40):
            bridge.poll(says(reported_score={"groq": reported}))
        changes = [(event.at, event.before, event.after, event.reason) for event in bridge.history]
        assert changes == [
            (bridge.at - 30, "healthy", "degraded", "score 70.0 is under 80"),
            (bridge.at, "degraded", "down", "score 40.0 is under 50"),
        ]

    def test_the_fleet_is_the_mean_of_scores_and_the_sum_of_the_rest(self) -> None:
        bridge = Bridge()
        for n in (0, 30):
            bridge.poll(
                says(
                    reported_score={"groq": 80, "xai": 40},
                    circuits={"groq/a": "OPEN", "groq/b": "OPEN", "xai": "CLOSED"},
                    error_rate={"groq": 0.1, "xai": 0.3},
                    requests={"groq": n, "xai": 2 * n},
                    cost={"groq": 1, "xai": 2},
                )
            )
        fleet = bridge.snapshot.fleet
        scores = [bridge.value(provider, "provider_health_score") for provider in ("groq", "xai")]
        assert fleet["fleet_health_score"] == pytest.approx(sum(scores) / 2)
        assert fleet["fleet_open_circuits"] == 2
        assert fleet["fleet_error_rate"] == pytest.approx(0.2)
        assert fleet["fleet_request_rate"] == pytest.approx(90 / 15)
        assert fleet["fleet_requests"] == 90
        assert fleet["fleet_cost_usd"] == 3

    def test_a_fleet_of_which_nothing_is_known_has_no_numbers(self) -> None:
        bridge = Bridge()
        bridge.poll(says())
        assert set(bridge.snapshot.fleet.values()) == {None}
        assert bridge.snapshot.verdicts == ()
