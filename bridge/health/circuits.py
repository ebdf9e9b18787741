"""All circuits through one poll: the reported ones followed, the others derived."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bridge.health import breaker
from bridge.health.breaker import Derivation, Recent
from bridge.health.memory import Memory
from bridge.health.recent import RecentTraffic, Sums
from bridge.health.traffic import Arrivals
from bridge.model import VANISHED_AFTER_POLLS, Circuit, CircuitState, Event, Key, Moment, Signals
from bridge.policy import Policy

REPORTED, DERIVED = "gateway", "bridge"
NO_CHANGE = (CircuitState.CLOSED, "no failure seen that would open it")


@dataclass(slots=True)
class CircuitsAfter:
    """The circuits after a poll, what to remember of them, and what happened."""

    at: float
    circuits: dict[Key, Circuit] = field(default_factory=dict)
    reported: dict[Key, CircuitState] = field(default_factory=dict)
    derivations: dict[Key, Derivation] = field(default_factory=dict)
    """Of circuits that need one: of those that are closed, only where they closed lately."""
    unreported: dict[Key, int] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def shown(self) -> tuple[Circuit, ...]:
        """The circuits as this poll shows them: one whose line is missing is not known just now."""
        return tuple(self._shown(key, circuit) for key, circuit in sorted(self.circuits.items()))

    def _shown(self, key: Key, circuit: Circuit) -> Circuit:
        if circuit.opens and circuit.opens[0] <= self.at - breaker.DAY_SECONDS:
            opens = tuple(opened for opened in circuit.opens if opened > self.at - breaker.DAY_SECONDS)
            circuit = replace(circuit, opens=opens)
        if key in self.unreported:
            return replace(circuit, state=None, reason="not in this poll's exposition")
        return circuit


@dataclass(frozen=True, slots=True)
class Arrived:
    """What the circuits of one poll are worked out from."""

    moment: Moment
    memory: Memory
    signals: Signals
    roster: Mapping[str, int]
    arrivals: Arrivals
    recent: RecentTraffic
    counted: Collection[Key]
    """Keys with counters of requests or failures in this poll."""
    restarted: Callable[[str], bool]
    """Says whether the gateway's counters of a provider began again."""


def update(arrived: Arrived, policy: Policy) -> CircuitsAfter:
    """Every circuit after this poll. A provider's own breaker, once known, stands for all of its models."""
    memory, signals, at = arrived.memory, arrived.signals, arrived.moment.at
    after = CircuitsAfter(at)
    told = _told_by_outages(memory, signals, arrived.arrivals)
    reasons = {**dict.fromkeys(signals.circuits, ""), **{key: reason for key, (_, reason) in told.items()}}
    states = {**signals.circuits, **{key: state for key, (state, _) in told.items()}}
    _follow_reported(after, arrived, states, reasons)
    _keep_missing(after, arrived)
    _derive_others(after, _keys_to_derive(after, arrived), arrived, policy)
    for key, circuit in memory.circuits.items():
        if key not in after.circuits:
            reason = "the gateway reports its own breaker" if Key(key.provider) in after.reported else "no longer there"
            before = circuit.state.name if circuit.state is not None else ""
            after.events.append(Event(at, "circuit", key.provider, key.model, before, "", reason))
    return after


def _told_by_outages(memory: Memory, signals: Signals, arrivals: Arrivals) -> dict[Key, tuple[CircuitState, str]]:
    """States, and why, of circuits whose gateway counts outages: OPEN from an outage on, until the next success.

    Where both came between two polls, or at first sight, the impairment says whether the last request succeeded (0).
    """
    if "outages" not in signals.sources:
        return {}
    outages, successes = arrivals.counted("outages"), arrivals.counted("successes")
    impaired = signals.gauges.get("impairment", {})
    there = {counter.key for counter in signals.counters.ids if counter.signal == "outages"}
    states: dict[Key, tuple[CircuitState, str]] = {}
    for key in {**arrivals.counted("requests"), **successes, **outages}:
        began, ended, before = outages.get(key, 0.0), successes.get(key, 0.0), memory.reported.get(key)
        last_failed = key in there and impaired.get(key, 1.0) > 0
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
    after: CircuitsAfter, arrived: Arrived, states: Mapping[Key, CircuitState], reasons: Mapping[Key, str]
) -> None:
    memory, moved = arrived.memory, arrived.arrivals.moves()
    rejecting = set(arrived.arrivals.with_rejections())
    for key, state in states.items():
        after.reported[key] = state
        known = memory.circuits.get(key)
        quiet = key not in moved and key.provider not in rejecting and memory.reported.get(key) is state
        if quiet and known is not None and known.state is state and known.source == REPORTED:
            after.circuits[key] = known
            continue
        circuit = known or _first_sight(key, memory, after.at)
        last = memory.reported.get(key, circuit.state)
        its_moves, added = moved.get(key, {}), arrived.arrivals.of(key)
        steps = breaker.follow(circuit.state, last, state, its_moves, added, reasons[key] or breaker.REPORTED)
        circuit = breaker.told_by(circuit, REPORTED)
        counted = circuit.openings + breaker.untold_openings(last, state, its_moves)
        circuit, events = breaker.enter(circuit, steps, after.at)
        after.circuits[key] = replace(circuit, openings=max(circuit.openings, counted))
        after.events.extend(events)


def _first_sight(key: Key, memory: Memory, at: float) -> Circuit:
    """A circuit reported for the first time. A provider that was watched before had its breaker closed until now."""
    stood_in = [circuit.state for circuit in memory.circuits.values() if circuit.provider == key.provider]
    circuit = breaker.unseen(key, REPORTED, at)
    if key.model or not stood_in:
        return circuit
    return replace(circuit, state=CircuitState.CLOSED, reason="no transition was reported until now")


def _keep_missing(after: CircuitsAfter, arrived: Arrived) -> None:
    """Reported circuits without a line in this poll: not known for a while, then gone; gone at once after a restart.

    A gateway that restarts with an open breaker shows it in rejections alone: the circuit goes on, derived from them.
    """
    memory = arrived.memory
    for key in memory.reported.keys() - after.reported.keys():
        circuit = memory.circuits[key]
        missing = memory.unreported.get(key, 0) + 1
        if arrived.restarted(key.provider):
            if arrived.arrivals.of(key).rejected > 0:
                after.circuits[key] = breaker.told_by(circuit, DERIVED)
        elif key.provider in arrived.roster and missing < VANISHED_AFTER_POLLS:
            after.circuits[key] = circuit
            after.reported[key] = memory.reported[key]
            after.unreported[key] = missing


def _derive_others(after: CircuitsAfter, keys: Sequence[Key], arrived: Arrived, policy: Policy) -> None:
    """The breakers of these keys. A closed one that stays closed takes no more than a look at many at once."""
    memory = arrived.memory
    window = _Window(arrived, policy)
    rejecting = set(arrived.arrivals.with_rejections())
    for key in keys:
        known = after.circuits.get(key) or _derived_before(memory, key)
        state = CircuitState.CLOSED if known is None or known.state is None else known.state
        derivation = memory.derivations.get(key, Derivation())
        steps: Sequence[breaker.Step] = ()
        if state is not CircuitState.CLOSED or window.may_open(key) or key.provider in rejecting:
            added, recent = arrived.arrivals.of(key), window.of(key)
            steps, derivation = breaker.derive(state, derivation, added, recent, arrived.moment.steady, policy.breaker)
        circuit = known or breaker.unseen(key, DERIVED, after.at)
        if circuit.state is None and not steps:
            steps = [NO_CHANGE]
        if steps:
            circuit, events = breaker.enter(circuit, steps, after.at)
            after.events.extend(events)
        after.circuits[key] = circuit
        if window.still_matters(derivation):
            after.derivations[key] = derivation


class _Window:
    """The traffic of the breaker's window, by circuit."""

    def __init__(self, arrived: Arrived, policy: Policy) -> None:
        self._index, self._policy = arrived.recent.index, policy.breaker
        self._end = arrived.moment.steady
        self._reach = policy.breaker.window_seconds + policy.poll_interval_seconds
        since = np.full(len(self._index.keys), -np.inf)
        since_of_provider = np.full(len(self._index.providers), -np.inf)
        for key, derivation in arrived.memory.derivations.items():
            if derivation.closed_at is not None:
                place = self._index.place_of_key.get(key)
                if place is not None:
                    since[place] = derivation.closed_at
                if not key.model and key.provider in self._index.place_of_provider:
                    since_of_provider[self._index.place_of_provider[key.provider]] = derivation.closed_at
        since = np.maximum(since, since_of_provider[self._index.provider_of_key])
        self._by_key = arrived.recent.sums(policy.breaker.window_seconds, policy.poll_interval_seconds, since)
        self._by_provider = arrived.recent.by_provider(self._by_key)
        self._keys_open = self._would_open(self._by_key)
        self._providers_open = self._would_open(self._by_provider)

    def may_open(self, key: Key) -> bool:
        """Whether its traffic would open a closed circuit."""
        place = self._place(key)
        return place is not None and (self._keys_open if key.model else self._providers_open)[place]

    def of(self, key: Key) -> Recent:
        """A circuit's traffic in the window."""
        place, sums = self._place(key), self._by_key if key.model else self._by_provider
        if place is None or not np.isfinite(sums.begins[place]):
            return Recent()
        return Recent(float(sums.successes[place]), float(sums.failures[place]), self._end - float(sums.begins[place]))

    def still_matters(self, derivation: Derivation) -> bool:
        """False once a circuit closed so long ago that all of the window came after it."""
        since = derivation.closed_at
        return derivation != Derivation() and (since is None or self._end - since <= self._reach)

    def _place(self, key: Key) -> int | None:
        return self._index.place_of_key.get(key) if key.model else self._index.place_of_provider.get(key.provider)

    def _would_open(self, sums: Sums) -> list[bool]:
        opens: list[bool] = breaker.may_open(sums.successes, sums.failures, self._policy).tolist()
        return opens


def _derived_before(memory: Memory, key: Key) -> Circuit | None:
    """A circuit the bridge derived at the poll before; not one the gateway reported, which is another."""
    circuit = memory.circuits.get(key)
    return circuit if circuit is not None and circuit.source == DERIVED else None


def _lasting(arrived: Arrived, counted: Mapping[str, set[Key]]) -> list[Key]:
    """Derived circuits that nothing counts for in this poll, and whose last counters are still remembered."""
    silent = [
        key
        for key, circuit in arrived.memory.circuits.items()
        if circuit.source == DERIVED and key.provider in arrived.roster and key not in counted.get(key.provider, ())
    ]
    if not silent:
        return []
    index = arrived.recent.index
    return [
        key
        for key in silent
        if key in index.place_of_key or (not key.model and key.provider in index.place_of_provider)
    ]


def _keys_to_derive(after: CircuitsAfter, arrived: Arrived) -> list[Key]:
    """Whose breakers the bridge works out: models with counters of their own, unless their provider's breaker is known.

    One goes on without counters for as long as its last ones are in the window. A provider-level rejection proves that
    the gateway's breaker is the provider's, so that one is followed from then on.
    """
    memory, rejecting = arrived.memory, arrived.arrivals.with_rejections()
    counted: dict[str, set[Key]] = {}
    if {"requests", "failures"} <= arrived.signals.sources.keys():
        for key in arrived.counted:
            counted.setdefault(key.provider, set()).add(key)
    for provider in rejecting:
        counted.setdefault(provider, set())
    for key in _lasting(arrived, counted):
        counted.setdefault(key.provider, set()).add(key)
    reporting = {key.provider for key in after.reported}
    keys: list[Key] = []
    for provider, candidates in counted.items():
        whole = Key(provider)
        if whole in after.reported:
            continue
        own = (
            (provider in rejecting and arrived.arrivals.of(whole).rejected > 0)
            or whole in after.circuits
            or _derived_before(memory, whole) is not None
        )
        if own:
            keys.append(whole)
            continue
        keys.extend(key for key in sorted(candidates) if key.model and key not in after.reported)
        if provider not in reporting and not any(key.model for key in candidates):
            keys.append(whole)
    return keys
