"""One good poll, assessed: memory and signals in; memory, snapshot and events out. Pure, and the same every time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bridge.health import circuits, evidence, roster, traffic, verdict
from bridge.health.memory import Memory
from bridge.health.traffic import Traffic
from bridge.model import Circuit, CircuitState, Event, ModelNumbers, Signals, Snapshot, Verdict
from bridge.policy import Policy


def assess(memory: Memory, signals: Signals, at: float, policy: Policy) -> tuple[Memory, Snapshot, list[Event]]:
    """Assess the signals of the good poll at ``at`` (epoch seconds, after ``memory.at``)."""
    lost = roster.lost_families(memory, signals, at)
    present, came_and_went = roster.update(memory, signals, lost, at)
    breakers = circuits.update(memory, signals, present, at, policy.breaker)
    after = replace(
        memory.with_counters(at, signals.counters.known()),
        circuits=breakers.circuits,
        reported=breakers.reported,
        derivations=breakers.derivations,
        unreported=breakers.unreported,
        absences=present,
        families=signals.families,
        names=signals.names,
        lost_families=lost,
        disbelieved=evidence.disbelieved_ties(memory, signals),
    )
    measured = traffic.measure(after, given=signals.sources.keys())
    case = verdict.Case(signals, measured, after.disbelieved, lost, policy)
    shown = breakers.shown()
    by_provider: dict[str, list[Circuit]] = {provider: [] for provider in present}
    for circuit in shown:
        by_provider[circuit.provider].append(circuit)
    undated = [verdict.find(case, provider, of_it, at) for provider, of_it in sorted(by_provider.items())]
    verdicts, status_changes = _dated(undated, memory, at)
    after = replace(after, statuses={found.provider: (found.status, found.status_since) for found in verdicts})
    snapshot = Snapshot(
        at=at,
        verdicts=tuple(verdicts),
        circuits=shown,
        models=_models(shown, measured),
        fleet=_fleet(verdicts, shown, measured),
        dialects=signals.dialects,
        samples=signals.samples,
        rejected_lines=signals.rejected_lines,
        notices=(*signals.notices, *_notices(after)),
    )
    return after, snapshot, [*came_and_went, *breakers.events, *status_changes]


def _notices(after: Memory) -> list[str]:
    """What is to be known of the poll, beside what the reading of it says."""
    notices = [f"the gateway has stopped giving {family}" for family in sorted(after.lost_families)]
    if after.forgotten:
        gone = f"{after.forgotten} that are gone were forgotten before their time"
        notices.append(f"the gateway keeps naming its series anew: {gone}")
    return notices


def _dated(found: Sequence[Verdict], memory: Memory, at: float) -> tuple[list[Verdict], list[Event]]:
    """The verdicts with the time since when they stand, and the changes of status. A first verdict changes nothing."""
    dated, changes = [], []
    for one in found:
        before, since = memory.statuses.get(one.provider, (one.status, at))
        if before is not one.status:
            since = at
            reason = one.evidence[0].note.partition(": ")[2]
            changes.append(Event(at, "status", one.provider, "", before.word, one.status.word, reason))
        dated.append(replace(one, status_since=since))
    return dated, changes


def _models(shown: Sequence[Circuit], measured: Traffic) -> ModelNumbers:
    states = {it.key: float(it.state) for it in shown if it.model and it.state is not None}
    return ModelNumbers.from_values(
        {"model_circuit_breaker_state": states, "model_error_rate": measured.model_error_rates}
    )


def _fleet(verdicts: Sequence[Verdict], shown: Sequence[Circuit], measured: Traffic) -> dict[str, float | None]:
    """The fleet's numbers; None where no provider has the one they are made of."""
    known = [circuit.state for circuit in shown if circuit.state is not None]
    requests = sum(measured.requests.values())
    error_rate = _mean(verdicts, "provider_error_rate")
    if measured.failures_counted:
        error_rate = sum(measured.failures.values()) / requests if requests > 0 else None
    return {
        "fleet_health_score": _mean(verdicts, "provider_health_score"),
        "fleet_open_circuits": float(known.count(CircuitState.OPEN)) if known else None,
        "fleet_error_rate": error_rate,
        "fleet_request_rate": _total(verdicts, "provider_request_rate"),
        "fleet_requests": sum(measured.requests_total.values()) if measured.requests_total else None,
        "fleet_cost_usd": _total(verdicts, "provider_cost_usd"),
    }


def _known(verdicts: Sequence[Verdict], metric: str) -> list[float]:
    return [value for found in verdicts if (value := found.values[metric]) is not None]


def _mean(verdicts: Sequence[Verdict], metric: str) -> float | None:
    values = _known(verdicts, metric)
    return sum(values) / len(values) if values else None


def _total(verdicts: Sequence[Verdict], metric: str) -> float | None:
    values = _known(verdicts, metric)
    return sum(values) if values else None
