"""GatewayZ's /prometheus/data/metrics, polled through a scripted day: the bridge says what the gateway itself knew.

The exposition of this gateway lies (its error rate, availability and latency never move from 0, 100 and 0), loses
families, and breaks its own lines. The truth stands beside each scrape; times are those of the polls.
"""

from __future__ import annotations

import pytest

from bridge.model import CircuitState, Event, Key, Status
from tests.captures import Polled, evidence, replay

OPEN = CircuitState.OPEN
UNREADABLE = 'we"ird\\pro\nvider'
"""A provider whose name has a line break in it: the gateway writes each of its lines as two."""
JAPANESE = "名前-provider"
SONNET = Key("openrouter", "anthropic/claude-3-5-sonnet")
LLAMA_8B, QWEN, LLAMA_70B = Key("groq", "llama-3.1-8b"), Key("groq", "qwen-2.5-32b"), Key("groq", "llama-3.3-70b")
LIES = {"error rate": ("error_rate", 0.0), "availability": ("availability", 100.0), "average latency": ("latency", 0.0)}


@pytest.fixture(scope="module")
def polls() -> tuple[Polled, ...]:
    return replay("gatewayz-data")


def true_states(poll: Polled) -> dict[Key, CircuitState]:
    return {
        Key(circuit["provider"], circuit["model"]): CircuitState[circuit["state"]]
        for circuit in poll.scrape.truth["circuits"]
        if circuit["provider"] != UNREADABLE
    }


def true_scores(poll: Polled) -> dict[str, float]:
    scores = poll.scrape.truth["published_scores"]
    return {provider: score for provider, score in scores.items() if provider != UNREADABLE}


def events(polls: tuple[Polled, ...], kind: str) -> list[tuple[int, Event]]:
    return [(poll.number, event) for poll in polls for event in poll.events if event.kind == kind]


def test_every_reported_score_is_the_one_the_gateway_published(polls: tuple[Polled, ...]) -> None:
    for poll in polls:
        shown = {
            provider: score
            for provider, score in poll.values("provider_reported_health_score").items()
            if score is not None
        }
        assert shown == true_scores(poll), poll.scrape.name


def test_every_circuit_is_in_the_state_the_gateways_own_object_was_in(polls: tuple[Polled, ...]) -> None:
    for poll in polls:
        assert {key: circuit.state for key, circuit in poll.circuits.items()} == true_states(poll), poll.scrape.name
        assert {circuit.source for circuit in poll.circuits.values()} == {"gateway"}


def test_every_provider_and_nobody_else_is_on_the_roster(polls: tuple[Polled, ...]) -> None:
    for poll in polls:
        everyone = true_scores(poll).keys() | {key.provider for key in true_states(poll)}
        assert poll.verdicts.keys() == everyone, poll.scrape.name


def test_only_the_broken_halves_of_lines_are_rejected(polls: tuple[Polled, ...]) -> None:
    assert {poll.scrape.phase for poll in polls if poll.snapshot.rejected_lines} == {"oddnames"}
    for poll in polls:
        broken = poll.scrape.body.count(b'pro\nvider"')
        assert poll.snapshot.rejected_lines == 2 * broken, poll.scrape.name


def test_a_name_in_another_script_is_read_like_any_other(polls: tuple[Polled, ...]) -> None:
    last = polls[-1]
    assert last.values("provider_reported_health_score")[JAPANESE] == true_scores(last)[JAPANESE]
    assert last.circuits[Key(JAPANESE, "日本/モデル:v1")].state is CircuitState.CLOSED


def test_gauges_that_never_move_are_set_aside_from_the_first_poll_on_and_the_reason_is_told(
    polls: tuple[Polled, ...],
) -> None:
    for poll in polls:
        for provider in true_scores(poll):
            for name, (signal, published) in LIES.items():
                found = evidence(poll.verdicts[provider], name)
                assert poll.signals.gauges[signal][Key(provider)] == published
                assert found.published == published, (poll.scrape.name, provider, name)
                assert found.note.startswith("set aside: avg_latency_ms is 0 for ")
                assert "impossible, and availability, error_rate, latency share that source" in found.note
        assert set(poll.values("provider_error_rate").values()) == {None}
        assert set(poll.values("provider_latency_seconds").values()) == {None}


def test_availability_is_the_share_of_circuits_that_are_not_open(polls: tuple[Polled, ...]) -> None:
    for poll in polls:
        of_provider: dict[str, list[CircuitState]] = {}
        for key, state in true_states(poll).items():
            of_provider.setdefault(key.provider, []).append(state)
        for provider, states in of_provider.items():
            shown = poll.verdicts[provider].values
            assert shown["provider_circuits"] == len(states)
            assert shown["provider_open_circuits"] == states.count(OPEN)
            assert shown["provider_availability"] == round(100 * (len(states) - states.count(OPEN)) / len(states), 1)


def test_groq_alone_is_down_while_its_circuits_are_open(polls: tuple[Polled, ...]) -> None:
    all_open = [p.number for p in polls if {true_states(p)[key] for key in (LLAMA_8B, QWEN, LLAMA_70B)} == {OPEN}]
    assert all_open == list(range(16, 35))
    down = [
        (poll.number, verdict.provider)
        for poll in polls
        for verdict in poll.snapshot.verdicts
        if verdict.status is Status.DOWN
    ]
    # Two polls before the last circuit opens, two of three are open and the gateway's own score is at 33.
    assert down == [(number, "groq") for number in range(14, 35)]
    assert evidence(polls[14].verdicts["groq"], "status").note == "down: score 34.3 is under 50"
    assert evidence(polls[16].verdicts["groq"], "status").note == "down: every circuit is OPEN"


def test_one_open_model_degrades_openrouter_and_is_not_taken_for_all_four(polls: tuple[Polled, ...]) -> None:
    while_open = [poll for poll in polls if true_states(poll)[SONNET] is OPEN]
    assert [poll.number for poll in while_open] == list(range(7, 28))
    for poll in polls:
        verdict = poll.verdicts["openrouter"]
        if poll in while_open:
            assert verdict.status is Status.DEGRADED, poll.scrape.name
            assert evidence(verdict, "status").note == "degraded: 1 of 4 circuits OPEN"
            assert verdict.values["provider_circuit_breaker_state"] == OPEN
        else:
            assert verdict.status is Status.HEALTHY, poll.scrape.name


def test_nothing_else_changed_status(polls: tuple[Polled, ...]) -> None:
    changes = [(number, event.provider, event.before, event.after) for number, event in events(polls, "status")]
    assert changes == [
        (7, "openrouter", "healthy", "degraded"),
        (14, "groq", "healthy", "down"),
        (28, "openrouter", "degraded", "healthy"),
        (35, "groq", "down", "degraded"),
        (38, "groq", "degraded", "healthy"),
    ]
    since = {verdict.provider: verdict.status_since for verdict in polls[-1].snapshot.verdicts}
    assert since["groq"] == polls[38].at
    assert since["openrouter"] == polls[28].at
    assert since["xai"] == polls[0].at


def test_an_open_circuit_is_dated_by_the_poll_that_first_showed_it_for_as_long_as_it_stays_open(
    polls: tuple[Polled, ...],
) -> None:
    opened: dict[Key, float] = {}
    for poll in polls:
        for key, state in true_states(poll).items():
            if state is not OPEN:
                opened.pop(key, None)
                assert poll.circuits[key].first_opened is None
                continue
            since = opened.setdefault(key, poll.at)
            shown = poll.circuits[key]
            assert (shown.since, shown.first_opened, shown.since_known) == (since, since, True), poll.scrape.name
            assert shown.opens == (since,)


def test_each_change_of_a_circuit_is_one_event(polls: tuple[Polled, ...]) -> None:
    changes = [
        (number, Key(event.provider, event.model), event.before, event.after)
        for number, event in events(polls, "circuit")
        if event.before
    ]
    assert changes == [
        (7, SONNET, "CLOSED", "OPEN"),
        (14, LLAMA_8B, "CLOSED", "OPEN"),
        (14, QWEN, "CLOSED", "OPEN"),
        (16, LLAMA_70B, "CLOSED", "OPEN"),
        (28, SONNET, "OPEN", "CLOSED"),
        (35, LLAMA_8B, "OPEN", "CLOSED"),
        (35, QWEN, "OPEN", "CLOSED"),
        (37, LLAMA_70B, "OPEN", "CLOSED"),
    ]
    assert all(event.at == polls[number].at for number, event in events(polls, "circuit"))


def test_who_appears_is_an_event_and_nobody_is_ever_said_to_have_vanished(polls: tuple[Polled, ...]) -> None:
    assert [(number, event.provider, event.after) for number, event in events(polls, "roster")] == [
        (46, "mistral", "present"),
        (53, JAPANESE, "present"),
    ]


def test_a_gateway_that_lost_its_store_makes_values_unknown_and_nobody_vanish(polls: tuple[Polled, ...]) -> None:
    before = polls[48]
    for poll in (poll for poll in polls if poll.scrape.phase == "redisdown"):
        assert poll.signals.scrape_succeeded is True, "the gateway sees nothing wrong with it"
        assert poll.verdicts.keys() == before.verdicts.keys()
        assert poll.circuits.keys() == before.circuits.keys()
        assert set(poll.values("provider_reported_health_score").values()) == {None}
        assert set(poll.values("provider_request_rate").values()) == {None}
        assert poll.snapshot.fleet["fleet_request_rate"] is None
        assert {verdict.status for verdict in poll.snapshot.verdicts} == {Status.HEALTHY}
        lost = ("avg_latency_ms", "error_rate", "health_score", "provider_availability", "total_requests")
        assert poll.snapshot.notices == tuple(f"the gateway has stopped giving {family}" for family in lost)
        reported = evidence(poll.verdicts["openai"], "reported score")
        assert reported.note.startswith("not known: the gateway has stopped giving avg_latency_ms, ")


def test_a_circuit_keeps_its_date_through_the_loss_of_the_store(polls: tuple[Polled, ...]) -> None:
    before, after = polls[48].circuits, polls[52].circuits
    assert {key: circuit.since for key, circuit in after.items()} == {key: c.since for key, c in before.items()}


def test_request_rates_come_back_with_the_store_without_a_spike(polls: tuple[Polled, ...]) -> None:
    for poll in polls:
        if poll.scrape.phase not in ("baseline", "redisdown"):
            rates = [rate for rate in poll.values("provider_request_rate").values() if rate is not None]
            assert rates
            assert all(0 <= rate < 2 for rate in rates), poll.scrape.name
