"""What the living gateways print is kept in the repository, is read as the truth beside it, and is what they print."""

from __future__ import annotations

import pytest

from bridge.model import CircuitState, Key
from tests.captures import Polled, poll, recorded
from tests.living import recording
from tests.living.life import FAILING, FAILS, KINDS, RECOVERS, RESTARTS


@pytest.fixture(scope="module", params=KINDS)
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def polls(dialect: str) -> list[Polled]:
    return poll(recorded(dialect))


def test_the_recording_is_what_the_gateway_prints_today(dialect: str) -> None:
    assert recording.read(dialect) == recording.record(dialect)


def test_each_exposition_is_read_in_its_own_dialect_and_every_line_of_it_is_understood(
    dialect: str, polls: list[Polled]
) -> None:
    for polled in polls:
        assert polled.signals.rejected_lines == 0
        if polled.at - recording.BEGAN != RESTARTS:  # then it has not yet counted anything
            assert (polled.signals.dialects, polled.signals.notices) == ((dialect,), ())


def test_circuits_are_in_the_states_their_gateway_was_in(dialect: str, polls: list[Polled]) -> None:
    expected = {
        (polled.number, Key(*name.split("/", 1))): CircuitState(int(KINDS[dialect].states[state]))
        for polled in polls
        for name, state in polled.scrape.truth["states"].items()
    }
    shown = {
        (polled.number, key): circuit.state
        for polled in polls
        for key, circuit in polled.circuits.items()
        if circuit.source == "gateway" and circuit.state is not None
    }
    assert {place: state for place, state in shown.items() if expected[place] != state} == {}
    opened = {
        number for (number, key), state in shown.items() if key.provider == FAILING and state is CircuitState.OPEN
    }
    assert bool(opened) == bool(KINDS[dialect].breaker_of)


def test_the_failing_provider_is_the_only_one_that_is_shown_bad(polls: list[Polled]) -> None:
    bad = {
        (polled.at - recording.BEGAN, name)
        for polled in polls
        for name, verdict in polled.verdicts.items()
        if verdict.status.word in ("degraded", "down")
    }
    assert {name for _, name in bad} == {FAILING}
    assert FAILS <= min(bad)[0] <= FAILS + 10


def test_totals_are_the_calls_since_the_gateway_was_started(dialect: str, polls: list[Polled]) -> None:
    total = {polled.at - recording.BEGAN: polled.snapshot.fleet["fleet_requests"] for polled in polls}
    calls = {polled.at - recording.BEGAN: polled.scrape.truth["calls"] for polled in polls}
    if total[0.0] is None:
        assert dialect in ("gatewayz-documented", "circuit-breaker"), "it counts no requests"
        return
    assert total[RECOVERS] == calls[RECOVERS]
    assert total[RESTARTS + 8] == calls[RESTARTS + 8] - calls[RESTARTS]
