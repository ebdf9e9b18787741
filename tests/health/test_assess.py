"""One poll assessed: what is known of a provider at first sight, restarts, long intervals, and what is told of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.model import CounterId, Counters, Key, Signals, Status
from bridge.policy import Policy
from tests.health.polls import Bridge, says


def hourly(signals: Signals) -> Signals:
    """The same from a gateway whose requests start again with each hour."""
    return replace(signals, hourly=frozenset({"requests"}))


def status(bridge: Bridge, provider: str) -> Status:
    return bridge.verdict(provider).status


class TestFirstSight:
    def test_a_provider_known_by_counters_alone_is_unknown_until_there_is_something_to_judge(self) -> None:
        bridge = Bridge()
        bridge.poll(says(requests={"groq": 1000}, failures={"groq": 1000}))
        assert status(bridge, "groq") is Status.UNKNOWN
        assert bridge.value("groq", "provider_health_score") is None
        bridge.poll(says(requests={"groq": 1010}, failures={"groq": 1000}))
        assert status(bridge, "groq") is Status.HEALTHY

    def test_silence_says_nothing(self) -> None:
        bridge = Bridge()
        for _ in range(5):
            bridge.poll(says(requests={"groq": 7}, failures={"groq": 0}))
        assert status(bridge, "groq") is Status.UNKNOWN

    def test_a_circuit_the_gateway_reports_says_enough(self) -> None:
        bridge = Bridge()
        bridge.poll(says(circuits={"groq": "CLOSED"}))
        assert status(bridge, "groq") is Status.HEALTHY


class TestALineThatIsMissing:
    def test_for_one_poll_makes_no_provider_better_than_it_was(self) -> None:
        bridge = Bridge()
        for line in ({"groq/a": "OPEN", "xai/b": "CLOSED"}, {"xai/b": "CLOSED"}, {"groq/a": "OPEN", "xai/b": "CLOSED"}):
            bridge.poll(says(circuits=line, reported_score={"groq": 90, "xai": 90}))
            assert status(bridge, "groq") is Status.DOWN
        assert [event for event in bridge.history if event.kind == "status"] == []


class TestLongIntervals:
    @pytest.mark.parametrize(("interval", "words"), [(15, "5 minutes"), (300, "20 minutes"), (600, "40 minutes")])
    def test_rates_look_back_four_intervals_at_least_and_explain_says_so(self, interval: float, words: str) -> None:
        bridge = Bridge(Policy(poll_interval_seconds=interval))
        for n in range(30):
            bridge.poll(says(requests={"groq": 10 * n * interval}, failures={"groq": n * interval}), after=interval)
        assert bridge.value("groq", "provider_request_rate") == 10.0
        assert bridge.value("groq", "provider_error_rate") == 0.1
        assert bridge.evidence("groq", "error rate").note == f"over {words}"

    def test_failures_of_an_outage_of_the_gateway_are_not_squeezed_into_a_minute(self) -> None:
        bridge = Bridge()
        for n in range(5):
            bridge.poll(says(requests={"groq": n}, failures={"groq": 0}))
        bridge.poll(says(requests={"groq": 13}, failures={"groq": 8}), after=75 * 60)
        assert bridge.states() == {"groq": "CLOSED"}


class TestRestarts:
    def test_the_turn_of_the_hour_is_no_restart_of_the_gateway(self) -> None:
        bridge = Bridge()
        lines = {"groq/a": "CLOSED", "xai/b": "OPEN"}
        bridge.poll(hourly(says(circuits=lines, requests={"groq": 900, "xai": 500})))
        bridge.poll(hourly(says(circuits={"groq/a": "CLOSED"}, requests={"groq": 1, "xai": 2})))
        assert bridge.states() == {"groq/a": "CLOSED", "xai/b": None}, "not known just now, and not gone"

    def test_a_single_counter_that_fell_is_no_restart(self) -> None:
        bridge = Bridge()
        bridge.poll(says(circuits={"groq": "OPEN"}, requests={"groq/a": 9, "groq/b": 9, "groq/c": 9}))
        bridge.poll(says(requests={"groq/a": 9, "groq/b": 3, "groq/c": 9}))
        assert bridge.states() == {"groq": None}

    def test_counters_that_fall_and_rise_again_and_again_are_told_of(self) -> None:
        bridge = Bridge()
        for n in range(12):
            replica = 1000.0 if n % 2 else 10.0
            bridge.poll(says(requests={"groq": replica + n, "xai": replica}, failures={"groq": 0, "xai": 0}))
        assert any("several replicas" in notice for notice in bridge.snapshot.notices)

    def test_one_restart_is_not_worth_a_word(self) -> None:
        bridge = Bridge()
        for requests in (100, 110, 5, 10, 20):
            bridge.poll(says(requests={"groq": requests}, failures={"groq": 0}))
        assert bridge.snapshot.notices == ()


def test_a_series_that_was_away_for_an_hour_and_returns_unchanged_brings_no_requests() -> None:
    bridge = Bridge()
    everything = says(requests={"groq": 1e5, "xai": 1}, failures={"groq": 1e4, "xai": 0}, cost={"groq": 1})
    for _ in range(3):
        bridge.poll(everything)
    for _ in range(240):
        bridge.poll(says(requests={"xai": 1}, failures={"xai": 0}, cost={"groq": 1}))
    for _ in range(3):
        bridge.poll(everything)
    assert bridge.states() == {"groq": "CLOSED", "xai": "CLOSED"}
    assert bridge.value("groq", "provider_request_rate") == 0.0


def test_no_more_requests_failed_in_the_fleet_than_there_were() -> None:
    bridge = Bridge()
    for n in range(5):  # retries: the gateway counts more failures than requests of one provider
        bridge.poll(says(requests={"groq": 10 * n, "xai": 10 * n}, failures={"groq": 50 * n, "xai": 0}))
    assert bridge.snapshot.fleet["fleet_error_rate"] == 0.5


def test_a_value_that_is_not_known_in_one_poll_is_no_reset() -> None:
    bridge, counter = Bridge(), CounterId("requests", "groq", "", "", "requests of groq")
    for value in (100.0, float("nan"), 105.0):
        bridge.poll(replace(says(requests={"groq": 0}), counters=Counters.of({counter: value})))
    [step] = bridge.memory.recent.steps[-1:]
    assert step.successes[bridge.memory.recent.index.place_of_key[Key("groq")]] == 5.0


def test_replicas_of_which_each_counts_some_series_higher_are_told_of() -> None:
    bridge = Bridge()
    for n in range(12):
        there, here = (1000.0, 10.0) if n % 2 else (10.0, 1000.0)
        failures = {"groq": 0, "xai": 0}
        bridge.poll(says(requests={"groq": there + n, "xai": here + n, "mistral": here}, failures=failures))
    assert any("several replicas" in notice for notice in bridge.snapshot.notices)
