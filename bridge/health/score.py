"""The health score, its parts, and the status that follows from it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from bridge.model import CircuitState, Status
from bridge.policy import BreakerPolicy

WEIGHTS = {"availability": 0.4, "error rate": 0.3, "latency": 0.3}
DEGRADED_BELOW = 80.0
DOWN_BELOW = 50.0
MODEL_DEGRADED_FROM = 0.1
"""Error rate (0-1) from which on a model is degraded; it is down from the breaker's failure rate on."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a score: 0 (worst) to 1, None without evidence; ``stand_in`` when the reported score fills it."""

    name: str
    weight: float
    value: float | None
    stand_in: bool = False


def latency_score(latency_seconds: float, good: float, bad: float) -> float:
    """1 at ``good`` seconds or less, 0 at ``bad`` or more, linear between."""
    return min(1.0, max(0.0, (bad - latency_seconds) / (bad - good)))


def parts(
    availability_percent: float | None,
    error_rate: float | None,
    latency: float | None,
    reported_score: float | None,
) -> tuple[Part, ...]:
    """The three parts; for one without evidence the gateway's own score (0-100) stands in, if there is one."""
    evidence = {
        "availability": None if availability_percent is None else availability_percent / 100,
        "error rate": None if error_rate is None else 1 - error_rate,
        "latency": latency,
    }
    stand_in = None if reported_score is None else reported_score / 100
    return tuple(
        Part(name, weight, stand_in if evidence[name] is None else evidence[name], evidence[name] is None)
        for name, weight in WEIGHTS.items()
    )


def health_score(of: tuple[Part, ...]) -> float | None:
    """0-100: the weighted mean of the parts there is evidence for; None without any."""
    known = [(part.weight, part.value) for part in of if part.value is not None]
    if not known:
        return None
    return 100 * sum(weight * value for weight, value in known) / sum(weight for weight, _ in known)


def status(score: float | None, states: list[CircuitState | None], *, reported: bool = True) -> tuple[Status, str]:
    """The verdict on a provider with this score and these circuits (None: a circuit not known), and why.

    Without a score, circuits that the bridge derived (not ``reported``) say nothing as long as all of them are closed.
    """
    known = [state for state in states if state is not None]
    open_count = known.count(CircuitState.OPEN)
    if score is None and not known:
        return Status.UNKNOWN, "nothing is known of it"
    if score is None and not reported and set(known) == {CircuitState.CLOSED}:
        return Status.UNKNOWN, "too little is known of it: neither errors nor latency, and its circuits are derived"
    if states and open_count == len(states):
        return Status.DOWN, "every circuit is OPEN" if len(states) > 1 else "its circuit is OPEN"
    if score is not None and score < DOWN_BELOW:
        return Status.DOWN, f"score {score:.1f} is under {DOWN_BELOW:g}"
    if open_count:
        return Status.DEGRADED, f"{open_count} of {len(states)} circuits OPEN"
    if CircuitState.HALF_OPEN in known:
        return Status.DEGRADED, f"{known.count(CircuitState.HALF_OPEN)} of {len(states)} circuits HALF_OPEN"
    if score is not None and score < DEGRADED_BELOW:
        return Status.DEGRADED, f"score {score:.1f} is under {DEGRADED_BELOW:g}"
    return Status.HEALTHY, "no circuit OPEN" + ("" if score is None else f", score {score:.1f}")


def model_status(
    reported: Collection[CircuitState], requests: float, error_rate: float | None, policy: BreakerPolicy
) -> Status:
    """The status of a model, whose circuit, and whose provider's, the gateway may report. Derived ones decide nothing.

    ``requests`` are those over the window of rates. Of fewer than the breaker's ``min_requests`` some failures say
    nothing, but that none failed does.
    """
    found = [Status.HEALTHY] * (CircuitState.CLOSED in reported)
    found += [Status.DOWN] * (CircuitState.OPEN in reported)
    found += [Status.DEGRADED] * (CircuitState.HALF_OPEN in reported)
    if error_rate == 0 or (error_rate is not None and requests >= policy.min_requests):
        down, degraded = error_rate >= policy.failure_rate, error_rate >= MODEL_DEGRADED_FROM
        found.append(Status.DOWN if down else Status.DEGRADED if degraded else Status.HEALTHY)
    return max(found, default=Status.UNKNOWN)
