"""Circuit breakers by service: a day in the life of two services, each poll with what must be said of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pytest

from bridge import model
from bridge.gateway.dialect_file import select
from bridge.gateway.exposition import ExpositionReader
from bridge.gateway.translate import Translator
from bridge.health.assess import assess
from bridge.health.memory import Memory
from bridge.model import Circuit, Event, Signals, Snapshot
from bridge.policy import Policy

STATES = {"CLOSED": 0, "OPEN": 1, "HALF_OPEN": 2}


EDGES = (("closed", "open"), ("open", "half_open"), ("half_open", "open"), ("half_open", "closed"))


def exposition(
    state: str, moved: tuple[int, ...] = (0, 0, 0, 0), failures: int = 0, *, search: str | None = "CLOSED"
) -> bytes:
    """What the gateway says: ``payments`` after so many moves along each of ``EDGES``, and ``search`` beside it."""
    lines = [f'circuit_breaker_state{{service="payments"}} {STATES[state]}', "http_requests_total 12"]
    if search is not None:
        lines.append(f'circuit_breaker_state{{service="search"}} {STATES[search]}')
    lines += [
        f'circuit_breaker_state_changes_total{{service="payments",from_state="{old}",to_state="{new}"}} {count}'
        for (old, new), count in zip(EDGES, moved, strict=True)
        if count
    ]
    if failures:
        lines.append(f'circuit_breaker_failures_total{{service="payments",error_type="timeout"}} {failures}')
    return "\n".join([*lines, ""]).encode()


@dataclass(frozen=True)
class Moment:
    """One poll of the day, and what it must come to."""

    at: float
    what: str
    body: bytes
    state: str
    since: float
    first_opened: float | None
    opens: tuple[float, ...]
    score: float
    status: str


FAILING = exposition("OPEN", (1, 0, 0, 0), 5)
TRIED = exposition("HALF_OPEN", (1, 1, 0, 0), 5)
FAILED_AGAIN = exposition("OPEN", (1, 1, 1, 0), 7)
TRIED_UNSEEN = exposition("OPEN", (1, 2, 2, 0), 9)
RECOVERED_UNSEEN = exposition("CLOSED", (1, 3, 2, 1), 9)
DAY = [
    Moment(0, "healthy", exposition("CLOSED"), "CLOSED", 0, None, (), 100, "healthy"),
    Moment(15, "failing", FAILING, "OPEN", 15, 15, (15,), 0, "down"),
    Moment(30, "still failing", FAILING, "OPEN", 15, 15, (15,), 0, "down"),
    Moment(45, "tried again", TRIED, "HALF_OPEN", 45, 15, (15,), 100, "degraded"),
    Moment(60, "failed again", FAILED_AGAIN, "OPEN", 60, 15, (15,), 0, "down"),
    Moment(75, "tried and failed between polls", TRIED_UNSEEN, "OPEN", 75, 15, (15,), 0, "down"),
    Moment(90, "recovered between polls", RECOVERED_UNSEEN, "CLOSED", 90, None, (15,), 100, "healthy"),
    Moment(105, "restarted", exposition("CLOSED"), "CLOSED", 90, None, (15,), 100, "healthy"),
    Moment(120, "failing anew", FAILING, "OPEN", 120, 120, (15, 120), 0, "down"),
]


def replayed(day: list[tuple[float, bytes]]) -> Iterator[tuple[Signals, Snapshot, list[Event]]]:
    reader, translator, memory = ExpositionReader(), Translator(select("auto")), Memory()
    for at, body in day:
        signals = translator.translate(reader.read(body), memory.learnt)
        memory, snapshot, events = assess(memory, signals, model.Moment(at, at), Policy())
        yield signals, snapshot, events


@cache
def lived() -> dict[float, tuple[Signals, Snapshot, list[Event]]]:
    polls = [(moment.at, moment.body) for moment in DAY]
    return {at: said for (at, _), said in zip(polls, replayed(polls), strict=True)}


def circuit_of(snapshot: Snapshot, provider: str) -> Circuit | None:
    return next((circuit for circuit in snapshot.circuits if circuit.provider == provider), None)


@pytest.mark.parametrize("moment", DAY, ids=lambda moment: moment.what)
class TestDay:
    def test_the_service_is_a_provider_and_its_breaker_is_taken_as_it_is(self, moment: Moment) -> None:
        signals, snapshot, _ = lived()[moment.at]
        circuit = circuit_of(snapshot, "payments")
        assert signals.dialects == ("circuit-breaker",)
        assert circuit is not None
        assert circuit.state is not None
        assert (circuit.state.name, circuit.model, circuit.source) == (moment.state, "", "gateway")
        assert (circuit.since, circuit.first_opened, circuit.opens) == (moment.since, moment.first_opened, moment.opens)

    def test_score_status_and_how_many_are_open_follow_from_the_breaker_alone(self, moment: Moment) -> None:
        payments, search = lived()[moment.at][1].verdicts
        # Availability is the share of circuits that are not OPEN; with nothing else known it is the whole score.
        assert payments.values["provider_health_score"] == pytest.approx(moment.score)
        assert payments.status.word == moment.status
        assert payments.values["provider_open_circuits"] == (moment.state == "OPEN")
        assert payments.values["provider_circuits"] == 1
        assert (search.status.word, search.values["provider_health_score"]) == ("healthy", 100)

    def test_failures_without_requests_are_no_error_rate(self, moment: Moment) -> None:
        for verdict in lived()[moment.at][1].verdicts:
            for metric in ("error_rate", "request_rate", "latency_seconds", "reported_health_score", "cost_usd"):
                assert verdict.values[f"provider_{metric}"] is None


def test_reopenings_between_two_polls_are_told_one_by_one() -> None:
    told = {
        at: [(e.before, e.after) for e in events if e.kind == "circuit" and e.before]
        for at, (*_, events) in lived().items()
    }
    assert told[75] == [("OPEN", "HALF_OPEN"), ("HALF_OPEN", "OPEN")]
    assert told[90] == [("OPEN", "HALF_OPEN"), ("HALF_OPEN", "CLOSED")]
    assert told[30] == told[105] == []


def test_a_service_whose_line_is_missing_is_not_known_and_after_three_polls_gone() -> None:
    quiet = exposition("CLOSED", search=None)
    day = [(0.0, exposition("CLOSED", search="OPEN")), *((15.0 * poll, quiet) for poll in (1, 2, 3))]
    seen = [circuit_of(snapshot, "search") for _, snapshot, _ in replayed(day)]
    assert [circuit and circuit.state and circuit.state.name for circuit in seen] == ["OPEN", None, None, None]
    assert [circuit is not None for circuit in seen] == [True, True, True, False]


@pytest.mark.parametrize("number", ["3", "-1", "0.5", "NaN", "+Inf"])
def test_a_number_that_is_no_state_is_not_known(number: str) -> None:
    body = f'circuit_breaker_state{{service="payments"}} {number}\n'.encode()
    [(signals, snapshot, _)] = replayed([(0.0, body)])
    [verdict] = snapshot.verdicts
    assert (signals.circuits, verdict.status.word, verdict.values["provider_health_score"]) == ({}, "unknown", None)


@pytest.mark.parametrize("label", ["provider", "name", "target"])
def test_another_gateways_breakers_of_the_same_name_are_not_taken_for_services(label: str) -> None:
    body = f'circuit_breaker_state{{{label}="payments"}} 1\n'.encode()
    [(signals, snapshot, _)] = replayed([(0.0, body)])
    assert (signals.dialects, snapshot.verdicts) == ((), ())
