"""Circuit breakers: following the gateway's own, and deriving those it does not report.

Pure: a circuit's next state is a function of its last one and of what a poll brings. Several transitions may carry the
time of one poll; their order is the order in which they are returned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bridge.model import Circuit, CircuitState, Event, Key
from bridge.policy import BreakerPolicy

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
DAY_SECONDS = 86_400.0
MAX_OPENS_KEPT = 1_000
MAX_STEPS_BETWEEN_POLLS = 100

REPORTED = "reported by the gateway"
"""Why a circuit is in a state that its gateway says it is in."""

Step = tuple[CircuitState, str]
"""A state entered, and why."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one poll added to a circuit."""

    successes: float = 0.0
    failures: float = 0.0
    rejected: float = 0.0


@dataclass(frozen=True, slots=True)
class Derivation:
    """What the derived breaker needs to go on: its window of (time, successes, failures), and its trial counts."""

    window: tuple[tuple[float, float, float], ...] = ()
    trial_successes: float = 0.0
    trial_failures: float = 0.0
    last_proof: float | None = None
    """When the breaker was last known to be open: the opening, or later rejections."""


def derive(
    state: CircuitState, memory: Derivation, traffic: Traffic, at: float, policy: BreakerPolicy
) -> tuple[Sequence[Step], Derivation]:
    """The derived breaker's next moves after a poll at ``at``: states entered, in order, and what to remember.

    Rejected requests are proof of an open circuit, whatever else is said.
    """
    steps: list[Step] = []
    if traffic.rejected > 0:
        if state is not OPEN:
            steps.append((OPEN, f"the gateway rejected {traffic.rejected:g} requests"))
        return steps, Derivation(last_proof=at)
    if state is CLOSED:
        return _while_closed(memory, traffic, at, policy)
    if state is OPEN:
        proof = at if memory.last_proof is None else memory.last_proof
        if at - proof < policy.timeout_seconds:
            return [], replace(memory, last_proof=proof)
        steps.append((HALF_OPEN, f"{policy.timeout_seconds:g} s without proof of failure: trying again"))
        memory = Derivation()
    memory = replace(
        memory,
        trial_successes=memory.trial_successes + traffic.successes,
        trial_failures=memory.trial_failures + traffic.failures,
    )
    if memory.trial_failures >= policy.half_open_max_failures:
        steps.append((OPEN, f"{memory.trial_failures:g} failures while trying"))
        return steps, Derivation(last_proof=at)
    if memory.trial_successes >= policy.success_threshold:
        steps.append((CLOSED, f"{memory.trial_successes:g} successes while trying"))
        return steps, Derivation()
    return steps, memory


def _while_closed(
    memory: Derivation, traffic: Traffic, at: float, policy: BreakerPolicy
) -> tuple[Sequence[Step], Derivation]:
    window = tuple(entry for entry in memory.window if entry[0] > at - policy.window_seconds)
    if traffic.successes or traffic.failures:
        window = (*window, (at, traffic.successes, traffic.failures))
    successes = sum(entry[1] for entry in window)
    failures = sum(entry[2] for entry in window)
    requests = successes + failures
    period = f"in {policy.window_seconds:g} s"
    if failures >= policy.failure_threshold and successes == 0:
        return [(OPEN, f"{failures:g} failures and no success {period}")], Derivation(last_proof=at)
    if requests >= policy.min_requests and failures / requests >= policy.failure_rate:
        share = f"{failures:g} of {requests:g} requests failed {period} ({failures / requests:.0%})"
        return [(OPEN, share)], Derivation(last_proof=at)
    return [], Derivation(window=window)


def follow(
    shown: CircuitState | None,
    before: CircuitState | None,
    now: CircuitState,
    moved: Mapping[tuple[str, str], float],
    traffic: Traffic,
    reported: str = REPORTED,
) -> Sequence[Step]:
    """How a reported circuit got from ``before`` to ``now``: the states entered, in order.

    ``shown`` is the state the bridge holds it to be in, ``before`` the one last reported, and ``moved`` says how often
    each transition was counted since the poll before. Where that explains the way, the way is told in full, reopenings
    between two polls included; else only that the state is another one now. Rejections that nothing reported explains
    prove that the circuit is open, whatever is said of it. ``reported`` is the reason for what is reported.
    """
    walk = _walk(before, now, moved) if before is not None else []
    if walk and shown is not before and walk[0] is shown:
        walk = walk[1:]  # rejections had told of this one before the gateway did
        if not walk:
            return []
    if walk:
        passing = f"{reported} (counted between two polls)"
        return [*((state, passing) for state in walk[:-1]), (walk[-1], passing if walk[-1] == before else reported)]
    if traffic.rejected > 0 and before is CLOSED and now is CLOSED:
        proof = f"the gateway rejected {traffic.rejected:g} requests while it reported the circuit closed"
        return [] if shown is OPEN else [(OPEN, proof)]
    return [] if now == shown else [(now, reported)]


def _walk(before: CircuitState, now: CircuitState, moved: Mapping[tuple[str, str], float]) -> Sequence[CircuitState]:
    """The states entered on a way from ``before`` to ``now`` that uses every counted transition once; else nothing.

    Only HALF_OPEN has two ways out: back to OPEN is taken first, as it leads round again.
    """
    left = Counter({edge: int(count) for edge, count in moved.items() if count >= 1})
    if not left or sum(left.values()) > MAX_STEPS_BETWEEN_POLLS:
        return []
    walk: list[CircuitState] = []
    place = before
    while sum(left.values()):
        following = [state for state in (OPEN, HALF_OPEN, CLOSED) if left[place.name, state.name] > 0]
        if not following:
            return []
        left[place.name, following[0].name] -= 1
        place = following[0]
        walk.append(place)
    return walk if place == now else []


def enter(circuit: Circuit, steps: Sequence[Step], at: float) -> tuple[Circuit, list[Event]]:
    """The circuit after these steps at ``at``, and the events they are."""
    events = []
    for state, reason in steps:
        before = circuit.state.name if circuit.state is not None else ""
        events.append(Event(at, "circuit", circuit.provider, circuit.model, before, state.name, reason))
        opens = tuple(opened for opened in circuit.opens if opened > at - DAY_SECONDS)
        if state is OPEN:
            opens = (*opens, at)[-MAX_OPENS_KEPT:]
        circuit = replace(
            circuit,
            state=state,
            since=at,
            since_known=bool(before),
            first_opened=None if state is CLOSED else circuit.first_opened or (at if state is OPEN else None),
            opens=opens,
            reason=reason,
        )
    return circuit, events


def unseen(key: Key, source: str, at: float) -> Circuit:
    """A circuit nothing is known of yet."""
    return Circuit(key.provider, key.model, None, source, at, False, None, (), "")


def worst(states: Sequence[CircuitState]) -> CircuitState | None:
    """OPEN, then HALF_OPEN, then CLOSED; None of none."""
    return max(states, key=lambda state: state.severity, default=None)
