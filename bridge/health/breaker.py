"""Circuit breakers: following the gateway's own, and deriving those it does not report.

Pure: a circuit's next state is a function of its last one and of what a poll brings. Several transitions may carry the
time of one poll; their order is the order in which they are returned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bridge.health.traffic import Added
from bridge.model import Circuit, CircuitState, Event, Floats, Key
from bridge.policy import BreakerPolicy

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
DAY_SECONDS = 86_400.0
MAX_OPENS_KEPT = 1_000
MAX_STEPS_BETWEEN_POLLS = 100
JITTER_SECONDS = 0.5
"""Polls are never on time to the millisecond: a time-out that is over but for this is over."""

REPORTED = "reported by the gateway"
"""Why a circuit is in a state that its gateway says it is in."""

Step = tuple[CircuitState, str]
"""A state entered, and why."""


@dataclass(frozen=True, slots=True)
class Derivation:
    """What the derived breaker needs to go on, beside the traffic of the last polls."""

    trial_successes: float = 0.0
    trial_failures: float = 0.0
    last_proof: float | None = None
    """When the breaker was last known to be open: the opening, or later rejections."""
    closed_at: float | None = None
    """When it closed: what came before no longer counts."""


@dataclass(frozen=True, slots=True)
class Recent:
    """A closed circuit's traffic in the window."""

    successes: float = 0.0
    failures: float = 0.0
    seconds: float = 0.0
    """How long the polls that brought it lasted together."""


def derive(
    state: CircuitState, memory: Derivation, added: Added, recent: Recent, at: float, policy: BreakerPolicy
) -> tuple[Sequence[Step], Derivation]:
    """The derived breaker's next moves after a poll at ``at`` (steady): states entered, in order, and what to remember.

    ``added`` is what the poll brought, ``recent`` what the window holds with it. Rejected requests are proof of an open
    circuit, whatever else is said. The poll that ends the time-out brings no trial traffic: what it counted is older.
    """
    if added.rejected > 0:
        steps = [] if state is OPEN else [(OPEN, f"the gateway rejected {added.rejected:g} requests")]
        return steps, Derivation(last_proof=at)
    if state is CLOSED:
        return _while_closed(memory, recent, at, policy)
    if state is OPEN:
        proof = at if memory.last_proof is None else memory.last_proof
        if at - proof < policy.timeout_seconds - JITTER_SECONDS:
            return [], replace(memory, last_proof=proof)
        return [(HALF_OPEN, f"{policy.timeout_seconds:g} s without proof of failure: trying again")], Derivation()
    memory = replace(
        memory,
        trial_successes=memory.trial_successes + added.successes,
        trial_failures=memory.trial_failures + added.failures,
    )
    if memory.trial_failures >= policy.half_open_max_failures:
        return [(OPEN, f"{memory.trial_failures:g} failures while trying")], Derivation(last_proof=at)
    if memory.trial_successes >= policy.success_threshold:
        return [(CLOSED, f"{memory.trial_successes:g} successes while trying")], Derivation(closed_at=at)
    return [], memory


def _while_closed(
    memory: Derivation, recent: Recent, at: float, policy: BreakerPolicy
) -> tuple[Sequence[Step], Derivation]:
    requests = recent.successes + recent.failures
    period = f"in {recent.seconds:.0f} s"
    if recent.failures >= policy.failure_threshold and recent.successes == 0:
        return [(OPEN, f"{recent.failures:g} failures and no success {period}")], Derivation(last_proof=at)
    if requests >= policy.min_requests and recent.failures / requests >= policy.failure_rate:
        share = f"{recent.failures:g} of {requests:g} requests failed {period} ({recent.failures / requests:.0%})"
        return [(OPEN, share)], Derivation(last_proof=at)
    return [], memory


def may_open(successes: Floats, failures: Floats, policy: BreakerPolicy) -> NDArray[np.bool_]:
    """For many closed circuits at once: which of them would open on this traffic."""
    requests = successes + failures
    alone = (failures >= policy.failure_threshold) & (successes == 0)
    some = (requests >= policy.min_requests) & (failures >= policy.failure_rate * requests)
    either: NDArray[np.bool_] = np.logical_or(alone, some)
    return either


def follow(
    shown: CircuitState | None,
    before: CircuitState | None,
    now: CircuitState,
    moved: Mapping[tuple[str, str], float],
    added: Added,
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
    if added.rejected > 0 and before is CLOSED and now is CLOSED:
        proof = f"the gateway rejected {added.rejected:g} requests while it reported the circuit closed"
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


def untold_openings(before: CircuitState | None, now: CircuitState, moved: Mapping[tuple[str, str], float]) -> int:
    """Openings that were counted between two polls, but on moves that make no way from ``before`` to ``now``."""
    return 0 if before is not None and _walk(before, now, moved) else int(moved.get((CLOSED.name, OPEN.name), 0))


def told_by(circuit: Circuit, source: str) -> Circuit:
    """The circuit as this source tells of it: its openings are counted anew where that is another than before."""
    return circuit if circuit.source == source else replace(circuit, source=source, openings=0)


def enter(circuit: Circuit, steps: Sequence[Step], at: float) -> tuple[Circuit, list[Event]]:
    """The circuit after these steps at ``at`` (epoch seconds), and the events they are.

    An outage lasts from OPEN until CLOSED: opening again out of HALF_OPEN belongs to it.
    """
    events = []
    for state, reason in steps:
        before = circuit.state.name if circuit.state is not None else ""
        events.append(Event(at, "circuit", circuit.provider, circuit.model, before, state.name, reason))
        opens = tuple(opened for opened in circuit.opens if opened > at - DAY_SECONDS)
        if state is OPEN and circuit.first_opened is None:
            opens = (*opens, at)[-MAX_OPENS_KEPT:]
            circuit = replace(circuit, openings=circuit.openings + 1)
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
