"""GatewayZ's own /metrics, polled through outages, a brownout, a slowdown and a restart, against the truth."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.model import CircuitState, Key, Status
from tests.captures import START, Polled, evidence, poll, replay, scrapes

GATEWAY = "gatewayz-metrics"
GROQ, OPENAI = Key("groq"), Key("openai")
RESTART = 44
WINDOW_POLLS = 20
"""Intervals of 15 s in the window of rates."""


@pytest.fixture(scope="module")
def polls() -> tuple[Polled, ...]:
    return replay(GATEWAY)


def really(polls: tuple[Polled, ...], number: int, provider: str, what: str) -> float:
    """Requests or failures that really happened in the five minutes before a poll."""
    window = polls[max(1, number - WINDOW_POLLS + 1) : number + 1]
    return sum(one.scrape.truth["this_interval"].get(provider, {}).get(what, 0) for one in window)


def circuit_events(polls: tuple[Polled, ...], key: Key) -> list[tuple[int, str, str]]:
    return [
        (one.number, event.before, event.after)
        for one in polls
        for event in one.events
        if event.kind == "circuit" and Key(event.provider, event.model) == key
    ]


def test_every_breaker_is_in_the_state_of_the_gateways_own_object_before_it_is_reported_too(
    polls: tuple[Polled, ...],
) -> None:
    for one in polls:
        truth = {provider: CircuitState[state.upper()] for provider, state in one.scrape.truth["breakers"].items()}
        assert one.values("provider_circuit_breaker_state") == truth, one.scrape.name


def test_until_a_breaker_is_reported_the_derived_one_stands_in_and_says_so(polls: tuple[Polled, ...]) -> None:
    for one in polls:
        reported = one.signals.circuits.keys()
        for key, circuit in one.circuits.items():
            assert circuit.source == ("gateway" if key in reported else "bridge"), (one.scrape.name, key)
            assert bool(key.model) == (key not in reported), "derived where the counters are: per model"
    assert GROQ not in polls[7].circuits
    assert polls[8].circuits[GROQ].source == "gateway"
    gone = {event.reason for event in polls[8].events if event.kind == "circuit" and event.model}
    assert gone == {"the gateway reports its own breaker"}
    assert polls[8].verdicts["groq"].values["provider_circuits"] == 1


def test_reopenings_between_two_polls_are_told_though_the_states_looked_still(polls: tuple[Polled, ...]) -> None:
    assert {polls[number].circuits[GROQ].state for number in range(8, 20)} == {CircuitState.OPEN}
    assert circuit_events(polls, GROQ) == [
        (8, "CLOSED", "OPEN"),
        (12, "OPEN", "HALF_OPEN"),
        (12, "HALF_OPEN", "OPEN"),
        (16, "OPEN", "HALF_OPEN"),
        (16, "HALF_OPEN", "OPEN"),
        (20, "OPEN", "HALF_OPEN"),
        (20, "HALF_OPEN", "CLOSED"),
        (RESTART, "CLOSED", ""),
    ]
    assert circuit_events(polls, OPENAI) == [
        (28, "CLOSED", "OPEN"),
        (32, "OPEN", "HALF_OPEN"),
        (32, "HALF_OPEN", "CLOSED"),
        (RESTART, "CLOSED", ""),
    ]
    closing = [event.reason for event in polls[20].events if event.kind == "circuit"]
    assert closing == ["reported by the gateway (counted between two polls)", "reported by the gateway"]
    between = [event for event in polls[12].events if event.kind == "circuit"]
    assert {event.reason for event in between} == {"reported by the gateway (counted between two polls)"}
    assert {event.at for event in between} == {polls[12].at}


def test_since_moves_with_each_reopening_and_the_first_opening_of_the_outage_stays(polls: tuple[Polled, ...]) -> None:
    first, second, third = (polls[number].at for number in (8, 12, 16))
    for number in range(8, 20):
        circuit = polls[number].circuits[GROQ]
        since = third if number >= 16 else second if number >= 12 else first
        assert (circuit.since, circuit.first_opened, circuit.opens) == (since, first, (first,)), number
        opened_at = polls[number].scrape.truth["opened_at"]["groq"]
        assert 0 <= since - opened_at <= 15, "no later than the next poll, never before it happened"
    closed = polls[20].circuits[GROQ]
    assert (closed.since, closed.first_opened, closed.opens) == (polls[20].at, None, (first,))


def test_who_is_down_is_who_has_an_open_breaker(polls: tuple[Polled, ...]) -> None:
    for one in polls:
        down = {verdict.provider for verdict in one.snapshot.verdicts if verdict.status is Status.DOWN}
        assert down == {provider for provider, state in one.scrape.truth["breakers"].items() if state == "open"}


def test_an_error_rate_of_zero_beside_an_open_circuit_says_why_it_is_zero(polls: tuple[Polled, ...]) -> None:
    """All of groq's calls fail, in a counter that appears with 5: PromQL's increase() knows nothing of those."""
    zero = [one for one in polls[8:20] if one.values("provider_error_rate")["groq"] == 0]
    assert [one.number for one in zero] == [8, 9, 10, 11]
    for one in zero:
        [verdict] = [verdict for verdict in one.snapshot.verdicts if verdict.provider == "groq"]
        [rate] = [evidence for evidence in verdict.evidence if evidence.name == "error rate"]
        assert "what a counter stood at when it appeared is not in it" in rate.note
        [health] = [evidence for evidence in verdict.evidence if evidence.name == "health score"]
        assert "error rate" in health.note.partition("left out for want of evidence: ")[2], "and it scores nothing"


def test_request_rates_agree_with_the_calls_that_really_ran_through_the_restart_too(polls: tuple[Polled, ...]) -> None:
    for one in polls[WINDOW_POLLS:]:
        for provider, rate in one.values("provider_request_rate").items():
            assert rate is not None
            # A series' first sample is nothing that rose, so that a few of the first calls are missing.
            assert rate * 300 == pytest.approx(really(polls, one.number, provider, "requests"), rel=0.05), (
                one.scrape.name,
                provider,
            )


def test_a_restart_makes_no_spike_in_the_error_rate_and_no_outage(polls: tuple[Polled, ...]) -> None:
    for one in polls[RESTART:]:
        for provider, rate in one.values("provider_error_rate").items():
            truth = really(polls, one.number, provider, "failures") / really(polls, one.number, provider, "requests")
            assert rate == pytest.approx(truth, abs=0.015), (one.scrape.name, provider)
            assert rate <= truth + 0.003
        assert {circuit.state for circuit in one.circuits.values()} == {CircuitState.CLOSED}
    roster = [event for one in polls for event in one.events if event.kind == "roster"]
    assert roster == []


def test_a_restart_forgets_the_breakers_it_made_anew(polls: tuple[Polled, ...]) -> None:
    gone = [event for event in polls[RESTART].events if event.kind == "circuit" and not event.after]
    assert [(event.provider, event.model, event.reason) for event in gone] == [
        ("groq", "", "no longer there"),
        ("openai", "", "no longer there"),
    ]
    assert {circuit.source for circuit in polls[RESTART].circuits.values()} == {"bridge"}


def test_a_slowdown_shows_in_latency_and_not_in_the_error_rate(polls: tuple[Polled, ...]) -> None:
    before = polls[35].verdicts["anthropic"].values
    assert before["provider_latency_p95_seconds"] == pytest.approx(2.5, abs=0.5)
    for one in (one for one in polls if one.scrape.phase == "latency"):
        verdict = one.verdicts["anthropic"]
        assert verdict.values["provider_latency_p95_seconds"] > 10
        assert verdict.values["provider_latency_seconds"] > before["provider_latency_seconds"]
        assert verdict.values["provider_error_rate"] == 0
        assert verdict.status is Status.DEGRADED
        assert evidence(verdict, "health score").note.endswith("+ 0.3 × latency 0.000)")
        others = {o.provider for o in one.snapshot.verdicts if o.values["provider_latency_p95_seconds"] > 10}
        assert others <= {"anthropic", "openai"}, "openai's time-outs of the brownout are in the window"


def test_without_calls_in_the_window_there_is_no_error_rate(polls: tuple[Polled, ...]) -> None:
    """The quiet gateway goes on saying the same for five minutes more."""
    *before, last = scrapes(GATEWAY)
    still = [replace(last, at=last.at + 15 * number) for number in range(WINDOW_POLLS + 1)]
    silent = poll((*before[-3:], *still))[-1]
    for provider, verdict in silent.verdicts.items():
        assert silent.signals.gauges["error_rate"][Key(provider)] == 0, "what the gateway prints"
        assert verdict.values["provider_error_rate"] is None
        assert verdict.values["provider_latency_p95_seconds"] is None
        assert verdict.values["provider_request_rate"] == 0
        assert evidence(verdict, "error rate").note == "no requests over 5 minutes"
    assert silent.snapshot.fleet["fleet_error_rate"] is None


def test_one_poll_is_not_enough_for_a_rate(polls: tuple[Polled, ...]) -> None:
    assert polls[0].at == START + 15
    assert set(polls[0].values("provider_request_rate").values()) == {None}
    assert set(polls[0].values("provider_latency_p95_seconds").values()) == {None}
