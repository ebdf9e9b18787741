"""What is known of each model at one poll: its circuit, traffic and latency, and the status that follows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from bridge.health import score
from bridge.health.rounding import rounded
from bridge.health.traffic import OfModels
from bridge.model import Circuit, CircuitState, Key, ModelNumbers
from bridge.policy import Policy


def numbers(
    present: Collection[str],
    shown: Sequence[Circuit],
    unseen: Mapping[Key, CircuitState],
    measured: OfModels,
    policy: Policy,
) -> ModelNumbers:
    """The numbers of all models that have a circuit or counters, of providers that are ``present``.

    ``unseen`` as in ``verdict.Case``.
    """
    reported = {it.key: unseen.get(it.key, it.state) for it in shown if it.source == "gateway"}
    models = {it.key for it in shown if it.model} | set(measured.counted) | set(measured.latency_p95_seconds)
    statuses = {}
    for key in models:
        states = [state for state in (reported.get(key), reported.get(Key(key.provider))) if state is not None]
        requests, error_rate = measured.requests.get(key, 0.0), measured.error_rates.get(key)
        statuses[key] = float(score.model_status(states, requests, error_rate, policy.breaker))
    exact: Mapping[str, Mapping[Key, float]] = {
        "model_status": statuses,
        "model_circuit_breaker_state": {it.key: float(it.state) for it in shown if it.model and it.state is not None},
        "model_error_rate": measured.error_rates,
        "model_request_rate": measured.request_rates,
        "model_latency_p95_seconds": measured.latency_p95_seconds,
    }
    return ModelNumbers.from_values(
        {
            metric: {key: rounded(metric, value) for key, value in its.items() if key.provider in present}
            for metric, its in exact.items()
        }
    )
