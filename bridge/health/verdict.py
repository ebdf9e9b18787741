"""One provider's verdict: each number, where it comes from, and what was not believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bridge.health import failure_classes, score
from bridge.health.breaker import worst
from bridge.health.evidence import Gauges, weigh
from bridge.health.rounding import rounded
from bridge.health.traffic import Traffic
from bridge.model import Circuit, CircuitState, Evidence, Key, Signals, Verdict
from bridge.policy import Policy


@dataclass(frozen=True, slots=True)
class Case:
    """Everything a verdict is found from, for all providers of one poll."""

    signals: Signals
    traffic: Traffic
    disbelieved: Mapping[str, str]
    lost_families: Mapping[str, float]
    policy: Policy
    unseen: Mapping[Key, CircuitState] = field(default_factory=dict)
    """Circuits whose line is missing in this poll, and the state they were last seen in."""

    def over_window(self, provider: str) -> str:
        """How far back a provider's rates look, in words."""
        seconds = self.traffic.covered_seconds.get(provider) or self.traffic.window_seconds
        return f"over {span_words(max(1, round(seconds)))}"


def span_words(seconds: float) -> str:
    """``5 minutes``, ``90 seconds``, ``2 hours``: the largest unit that leaves nothing over."""
    size, unit = next(
        (
            (size, unit)
            for size, unit in ((3600, "hour"), (60, "minute"))
            if seconds >= 2 * size and seconds % size == 0
        ),
        (1, "second"),
    )
    return f"{seconds / size:g} {unit}s"


def find(case: Case, provider: str, circuits: Sequence[Circuit], at: float) -> Verdict:
    """The verdict on one provider with these circuits. Its status is dated ``at``; the caller knows better."""
    states = [circuit.state for circuit in circuits]
    served = case.traffic.requests.get(provider)
    if served is None and provider in case.traffic.counted:
        served = 0.0  # one poll does not tell of any
    gauges = weigh(provider, case.signals, states, case.disbelieved, served)
    reported = _published(case, gauges, "reported_score", "reported score", "percent")
    error_rate = _error_rate(case, provider, gauges, open_circuit=CircuitState.OPEN in states)
    availability = _availability(case, provider, gauges, circuits)
    average = _average_latency(case, provider, gauges)
    p95 = _p95(case, provider)
    latency_score = _latency_score(case.policy, average.value, p95.value)
    contradicted = error_rate.value == 0 and CircuitState.OPEN in states
    parts = score.parts(availability.value, None if contradicted else error_rate.value, latency_score, reported.value)
    health = rounded("provider_health_score", score.health_score(parts))
    judged = [case.unseen.get(circuit.key, circuit.state) for circuit in circuits]
    status, why = score.status(health, judged, reported=any(circuit.source == "gateway" for circuit in circuits))
    known = [state for state in states if state is not None]
    circuit = worst(known)
    cost = case.signals.gauges.get("cost", {})
    own_cost = [value for key, value in cost.items() if key.provider == provider]
    exact: dict[str, float | None] = {
        "provider_health_score": health,
        "provider_reported_health_score": reported.value,
        "provider_status": float(status),
        "provider_circuit_breaker_state": None if circuit is None else float(circuit),
        "provider_open_circuits": float(known.count(CircuitState.OPEN)) if known else None,
        "provider_circuits": float(len(circuits)) if circuits else None,
        "provider_error_rate": error_rate.value,
        **failure_classes.ratios(case.signals, case.traffic, provider),
        "provider_availability": availability.value,
        "provider_latency_seconds": average.value,
        "provider_latency_p95_seconds": p95.value,
        "provider_request_rate": case.traffic.request_rates.get(provider),
        "provider_cost_usd": sum(own_cost) if own_cost else None,
    }
    values = {metric: rounded(metric, value) for metric, value in exact.items()}
    found = [
        Evidence("status", float(status), "status", "bridge", f"{status.word}: {why}"),
        Evidence("health score", health, "percent", "bridge", _formula(parts)),
        reported,
        replace(availability, value=values["provider_availability"]),
        replace(error_rate, value=values["provider_error_rate"]),
        *failure_classes.evidence(case.signals, case.traffic, provider, case.over_window(provider)),
        replace(average, value=values["provider_latency_seconds"]),
        replace(p95, value=values["provider_latency_p95_seconds"]),
        Evidence(
            "open circuits", values["provider_open_circuits"], f"of {len(circuits)}", _circuits_source(case, circuits)
        ),
        Evidence("requests per second", values["provider_request_rate"], "per second", *_rate_source(case, provider)),
    ]
    if own_cost:
        cost_note = "as the gateway counts it"
        found.append(Evidence("cost", values["provider_cost_usd"], "USD", _source(case, "cost"), cost_note))
    kind = case.signals.kinds.get(provider)
    if kind:
        found.append(Evidence("kind", None, "", "dialect", kind))
    return Verdict(provider, status, at, values, tuple(found), why)


def _source(case: Case, signal: str) -> str:
    """A signal's family and dialect, as ``health_score (gatewayz-data)``."""
    family, dialect = case.signals.sources[signal]
    return f"{family} ({dialect})"


def _circuits_source(case: Case, circuits: Sequence[Circuit]) -> str:
    """Who said what state the circuits are in."""
    reporting = [signal for signal in ("circuit_state", "outages") if signal in case.signals.sources]
    if not circuits:
        return ""
    if any(circuit.source == "gateway" for circuit in circuits) and reporting:
        return ", ".join(_source(case, signal) for signal in reporting)
    signal = "failures" if "failures" in case.signals.sources else "rejected"
    return f"bridge, derived from {_source(case, signal)}" if signal in case.signals.sources else "bridge, derived"


def _published(case: Case, gauges: Gauges, signal: str, name: str, unit: str) -> Evidence:
    """A gauge as it is: believed, set aside with the reason, or not there."""
    if signal in gauges.believed:
        return Evidence(name, gauges.believed[signal], unit, _source(case, signal))
    if signal in gauges.set_aside:
        aside = gauges.set_aside[signal]
        return Evidence(name, None, unit, _source(case, signal), f"set aside: {aside.reason}", aside.published)
    if case.lost_families:
        families = ", ".join(sorted(case.lost_families))
        return Evidence(name, None, unit, "", f"not known: the gateway has stopped giving {families} for everyone")
    return Evidence(name, None, unit, "", "the gateway does not give it")


def _error_rate(case: Case, provider: str, gauges: Gauges, *, open_circuit: bool) -> Evidence:
    published = _published(case, gauges, "error_rate", "error rate", "ratio")
    if not case.traffic.failures_counted or provider not in case.traffic.counted:
        return published
    value = case.traffic.error_rate(provider)
    note = case.over_window(provider)
    if value is None:
        requests = case.traffic.requests.get(provider)
        note = "one poll is not enough for a rate" if requests is None else f"no requests {note}"
    elif value == 0 and open_circuit:
        note = (
            f"{note}, as PromQL's increase(): what a counter stood at when it appeared is not in it; contradicted by"
            " an OPEN circuit, and left out of the score"
        )
    return Evidence("error rate", value, "ratio", f"bridge, from {_source(case, 'failures')}", note)


def _availability(case: Case, provider: str, gauges: Gauges, circuits: Sequence[Circuit]) -> Evidence:
    """The gauge, else the share of circuits not OPEN, else what of the requests in the window did not fail.

    Derived circuits that are all closed say no more than the counters they come from, so there the counters speak.
    """
    gauge = _published(case, gauges, "availability", "availability", "percent")
    if gauge.value is not None:
        return gauge
    aside = "" if gauge.published is None else gauge.note
    known = [circuit for circuit in circuits if circuit.state is not None]
    open_count = sum(circuit.state is CircuitState.OPEN for circuit in known)
    if known and (open_count or any(circuit.source == "gateway" for circuit in known)):
        share = 100.0 * (len(known) - open_count) / len(known)
        source = f"bridge, {len(known) - open_count} of {len(known)} circuits not OPEN"
        return Evidence("availability", share, "percent", source, aside, gauge.published)
    failed = case.traffic.error_rate(provider)
    if failed is not None:
        source = f"bridge, from {_source(case, 'failures')} {case.over_window(provider)}"
        return Evidence("availability", 100.0 * (1 - failed), "percent", source, aside, gauge.published)
    return gauge


def _average_latency(case: Case, provider: str, gauges: Gauges) -> Evidence:
    measured = case.traffic.latency_seconds.get(provider)
    if measured is not None:
        source = f"bridge, from {_source(case, 'latency_histogram')}"
        return Evidence("average latency", measured, "seconds", source, case.over_window(provider))
    return _published(case, gauges, "latency", "average latency", "seconds")


def _p95(case: Case, provider: str) -> Evidence:
    name = "latency p95"
    if "latency_histogram" not in case.signals.sources:
        return Evidence(name, None, "seconds", "", "the gateway gives no histogram")
    value = case.traffic.latency_p95_seconds.get(provider)
    note = (
        case.over_window(provider)
        if value is not None
        else f"no requests {case.over_window(provider)}, or not two polls yet"
    )
    return Evidence(name, value, "seconds", f"bridge, from {_source(case, 'latency_histogram')}", note)


def _latency_score(policy: Policy, average: float | None, p95: float | None) -> float | None:
    seconds = average if p95 is None else p95
    if seconds is None:
        return None
    return score.latency_score(seconds, policy.latency_good_seconds, policy.latency_bad_seconds)


def _formula(parts: Sequence[score.Part]) -> str:
    """The score's parts as a person can check them: ``0.4 × availability 0.75 + 0.3 × …``."""
    told = []
    for part in parts:
        if part.value is not None:
            stand_in = " (reported score stands in)" if part.stand_in else ""
            name = "(1 − error rate)" if part.name == "error rate" else part.name
            told.append(f"{part.weight:g} × {name} {part.value:.3f}{stand_in}")
    missing = [part.name for part in parts if part.value is None]
    left_out = f"; left out for want of evidence: {', '.join(missing)}" if missing else ""
    return ("100 × (" + " + ".join(told) + ")" if told else "no evidence") + left_out


def _rate_source(case: Case, provider: str) -> tuple[str, str]:
    if provider in case.traffic.requests:
        return f"bridge, from {_source(case, 'requests')}", case.over_window(provider)
    if provider in case.traffic.counted:
        return f"bridge, from {_source(case, 'requests')}", "one poll is not enough for a rate"
    return "", "the gateway counts no requests for it"
