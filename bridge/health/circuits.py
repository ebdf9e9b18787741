"""All circuits through one poll: the reported ones followed, the others derived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bridge.health import breaker, windows
from bridge.health.breaker import Derivation, Traffic
from bridge.health.memory import STEPPING_SIGNALS, Memory
from bridge.health.roster import VANISHED_AFTER_POLLS
from bridge.model import Circuit, CircuitState, CounterId, Event, Key, Signals
from bridge.policy import BreakerPolicy

Rises = Mapping[str, Mapping[CounterId, float]]
"""What each counter rose by since the poll before, signal by signal."""
REPORTED, DERIVED = "gateway", "bridge"


@dataclass(slots=True)
class CircuitsAfter:
    """The circuits after a poll, what to remember of them, and what happened."""

    at: float
    circuits: dict[Key, Circuit] = field(default_factory=dict)
    reported: dict[Key, CircuitState] = field(default_factory=dict)
    derivations: dict[Key, Derivation] = field(default_factory=dict)
    unreported: dict[Key, int] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def shown(self) -> tuple[Circuit, ...]:
        """The circuits as this poll shows them: one whose line is missing is not known just now."""
        return tuple(
            replace(
                circuit,
                opens=tuple(opened for opened in circuit.opens if opened > self.at - breaker.DAY_SECONDS),
                state=None if key in self.unreported else circuit.state,
                reason="not in this poll's exposition" if key in self.unreported else circuit.reason,
            )
            for key, circuit in sorted(self.circuits.items())
        )


def update(
    memory: Memory, signals: Signals, roster: Mapping[str, int], at: float, policy: BreakerPolicy
) -> CircuitsAfter:
    """Every circuit after this poll. A provider's own breaker, once known, stands for all of its models."""
    after = CircuitsAfter(at)
    earlier, counters = memory.last_known, _stepping(signals.counters.known())
    rises = windows.by_signal(windows.steps(earlier, counters))
    traffic = _traffic(rises)
    restarted = windows.was_reset(earlier, counters)
    told = _told_by_outages(memory, signals, rises)
    reported = {**dict.fromkeys(signals.circuits, ""), **{key: reason for key, (_, reason) in told.items()}}
    states = {**signals.circuits, **{key: state for key, (state, _) in told.items()}}
    _follow_reported(after, memory, states, reported, _moves(rises), traffic, at)
    _keep_missing(after, memory, roster, restarted, traffic)
    _derive_others(after, _keys_to_derive(after, memory, signals, roster, traffic), memory, traffic, at, policy)
    for key, circuit in memory.circuits.items():
        if key not in after.circuits:
            reason = "the gateway reports its own breaker" if Key(key.provider) in after.reported else "no longer there"
            before = circuit.state.name if circuit.state is not None else ""
            after.events.append(Event(at, "circuit", key.provider, key.model, before, "", reason))
    return after


def _stepping(counters: Mapping[CounterId, float]) -> dict[CounterId, float]:
    return {counter: value for counter, value in counters.items() if counter.signal in STEPPING_SIGNALS}


def _traffic(rises: Rises) -> dict[Key, Traffic]:
    """What the poll added, by model, and by provider as the sum of its models."""
    added: dict[str, dict[Key, float]] = {}
    for signal in ("requests", "failures", "rejected"):
        added[signal] = windows.sums(rises[signal], lambda counter: Key(counter.provider))
        for key, rise in windows.sums(rises[signal], lambda counter: counter.key).items():
            if key.model:
                added[signal][key] = rise
    keys = {key for by_key in added.values() for key in by_key}
    traffic = {}
    for key in keys:
        failures = added["failures"].get(key, 0.0)
        successes = max(0.0, added["requests"].get(key, 0.0) - failures)
        traffic[key] = Traffic(successes, failures, added["rejected"].get(key, 0.0))
    return traffic


def _moves(rises: Rises) -> dict[Key, dict[tuple[str, str], float]]:
    """How often each circuit made each transition since the poll before, as far as that is counted."""
    moved: dict[Key, dict[tuple[str, str], float]] = {}
    for counter, rise in rises["transitions"].items():
        if rise > 0:
            before, _, now = counter.detail.partition(">")
            edges = moved.setdefault(counter.key, {})
            edges[before, now] = edges.get((before, now), 0.0) + rise
    return moved


def _told_by_outages(memory: Memory, signals: Signals, rises: Rises) -> dict[Key, tuple[CircuitState, str]]:
    """States, and why, of circuits whose gateway counts outages: OPEN from an outage on, until the next success.

    Where both came between two polls, or at first sight, the impairment says whether the last request succeeded (0).
    """
    if "outages" not in signals.sources:
        return {}
    outages = windows.sums(rises["outages"], lambda counter: counter.key)
    successes = windows.sums(rises["successes"], lambda counter: counter.key)
    requests = windows.sums(rises["requests"], lambda counter: counter.key)
    impaired = signals.gauges.get("impairment", {})
    states: dict[Key, tuple[CircuitState, str]] = {}
    for key in {**requests, **successes, **outages}:
        began, ended, before = outages.get(key, 0.0), successes.get(key, 0.0), memory.reported.get(key)
        put_out = any(counter.key == key for counter in signals.counters if counter.signal == "outages")
        last_failed = put_out and impaired.get(key, 1.0) > 0
        if began and not ended:
            states[key] = CircuitState.OPEN, f"the gateway put it out of use, {began:g} times since the poll before"
        elif ended and not began:
            states[key] = CircuitState.CLOSED, "a request succeeded"
        elif began or before is None:
            how = "its last request failed" if last_failed else "no outage, or a success since"
            states[key] = CircuitState.OPEN if last_failed else CircuitState.CLOSED, how
        else:
            states[key] = before, ""
    return states


def _follow_reported(
    after: CircuitsAfter,
    memory: Memory,
    reported: Mapping[Key, CircuitState],
    reasons: Mapping[Key, str],
    moved: Mapping[Key, Mapping[tuple[str, str], float]],
    traffic: Mapping[Key, Traffic],
    at: float,
) -> None:
    for key, state in reported.items():
        circuit = memory.circuits.get(key) or _first_sight(key, memory, at)
        last = memory.reported.get(key, circuit.state)
        its_moves, its_traffic = moved.get(key, {}), traffic.get(key, Traffic())
        steps = breaker.follow(circuit.state, last, state, its_moves, its_traffic, reasons[key] or breaker.REPORTED)
        circuit, events = breaker.enter(replace(circuit, source=REPORTED), steps, at)
        after.circuits[key] = circuit
        after.reported[key] = state
        after.events.extend(events)


def _first_sight(key: Key, memory: Memory, at: float) -> Circuit:
    """A circuit reported for the first time. A provider that was watched before had its breaker closed until now."""
    stood_in = [circuit.state for circuit in memory.circuits.values() if circuit.provider == key.provider]
    circuit = breaker.unseen(key, REPORTED, at)
    if key.model or not stood_in:
        return circuit
    return replace(circuit, state=CircuitState.CLOSED, reason="no transition was reported until now")


def _keep_missing(
    after: CircuitsAfter,
    memory: Memory,
    roster: Mapping[str, int],
    restarted: bool,
    traffic: Mapping[Key, Traffic],
) -> None:
    """Reported circuits without a line in this poll: not known for a while, then gone; gone at once after a restart.

    A gateway that restarts with an open breaker shows it in rejections alone: the circuit goes on, derived from them.
    """
    for key in memory.reported.keys() - after.reported.keys():
        circuit = memory.circuits[key]
        missing = memory.unreported.get(key, 0) + 1
        if restarted:
            if traffic.get(key, Traffic()).rejected > 0:
                after.circuits[key] = replace(circuit, source=DERIVED)
        elif key.provider in roster and missing < VANISHED_AFTER_POLLS:
            after.circuits[key] = circuit
            after.reported[key] = memory.reported[key]
            after.unreported[key] = missing


def _derive_others(
    after: CircuitsAfter,
    keys: Sequence[Key],
    memory: Memory,
    traffic: Mapping[Key, Traffic],
    at: float,
    policy: BreakerPolicy,
) -> None:
    for key in keys:
        circuit = after.circuits.get(key) or _derived_before(memory, key) or breaker.unseen(key, DERIVED, at)
        known = circuit.state is not None
        state = circuit.state if circuit.state is not None else CircuitState.CLOSED
        memory_of_it = memory.derivations.get(key, Derivation())
        steps, derivation = breaker.derive(state, memory_of_it, traffic.get(key, Traffic()), at, policy)
        if not known and not steps:
            steps = [(CircuitState.CLOSED, "no failure seen that would open it")]
        after.circuits[key], events = breaker.enter(circuit, steps, at)
        after.derivations[key] = derivation
        after.events.extend(events)


def _derived_before(memory: Memory, key: Key) -> Circuit | None:
    """A circuit the bridge derived at the poll before; not one the gateway reported, which is another."""
    circuit = memory.circuits.get(key)
    return circuit if circuit is not None and circuit.source == DERIVED else None


def _lasting(memory: Memory, roster: Mapping[str, int], counted: Mapping[str, set[Key]]) -> list[Key]:
    """Derived circuits that nothing counts for in this poll, and that are not gone yet."""
    silent = [
        key
        for key, circuit in memory.circuits.items()
        if circuit.source == DERIVED
        and key.provider in roster
        and (circuit.state is not CircuitState.CLOSED or roster[key.provider] > 0)
        and key not in counted.get(key.provider, ())
    ]
    if not silent:
        return []
    remembered = {counter.key for counter in (*memory.hour.ids, *memory.recent.ids)}
    remembered |= {Key(key.provider) for key in remembered}
    return [key for key in silent if key in remembered]


def _keys_to_derive(
    after: CircuitsAfter,
    memory: Memory,
    signals: Signals,
    roster: Mapping[str, int],
    traffic: Mapping[Key, Traffic],
) -> list[Key]:
    """Whose breakers the bridge works out: models with counters of their own, unless their provider's breaker is known.

    One that is not closed goes on without counters for as long as its last ones are remembered (an hour), and so do all
    while their provider is absent for a poll or two. A provider-level rejection proves that the gateway's breaker is
    the provider's, so that one is followed from then on.
    """
    counted: dict[str, set[Key]] = {}
    if {"requests", "failures"} <= signals.sources.keys():
        for counter in signals.counters.known():
            if counter.signal in ("requests", "failures"):
                counted.setdefault(counter.provider, set()).add(counter.key)
    for key, seen in traffic.items():
        if seen.rejected > 0:
            counted.setdefault(key.provider, set())
    for key in _lasting(memory, roster, counted):
        counted.setdefault(key.provider, set()).add(key)
    keys: list[Key] = []
    for provider, candidates in counted.items():
        whole = Key(provider)
        if whole in after.reported:
            continue
        own = (
            traffic.get(whole, Traffic()).rejected > 0
            or whole in after.circuits
            or (whole in memory.circuits and memory.circuits[whole].source == DERIVED and whole in memory.derivations)
        )
        if own:
            keys.append(whole)
            continue
        keys.extend(key for key in sorted(candidates) if key.model and key not in after.reported)
        reports_models = any(key.provider == provider for key in after.reported)
        if not reports_models and not any(key.model for key in candidates):
            keys.append(whole)
    return keys
