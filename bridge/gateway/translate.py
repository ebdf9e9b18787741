"""Samples → signals, by dialect: the values of one exposition, in the bridge's own units."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bridge.gateway import plan as plans
from bridge.gateway.choice import Chosen
from bridge.gateway.dialect import MAYBE_RATIO, Dialect
from bridge.gateway.exposition import Exposition
from bridge.gateway.plan import Plan
from bridge.gateway.routes import STATE_WORDS, Route
from bridge.model import CircuitState, Counters, Floats, Key, Learnt, Signals

RANGES = {"reported_score": (0.0, 100.0), "availability": (0.0, 100.0), "error_rate": (0.0, 1.0)}
RATIO_LIMIT = 1 + 1e-6
"""A value above it is no ratio; one just above 1 is a ratio with an error of rounding."""
NOTICES_OF_A_KIND = 3
"""How many things of one kind are said one by one; of more, how many more there are."""
_COMBINE: Mapping[str, Callable[[Sequence[float]], float]] = {
    "sum": sum,
    "mean": lambda values: sum(values) / len(values),
    "lowest": min,
    "highest": max,
}
_UNSAID = {
    "cost": "sum",
    "reported_score": "lowest",
    "availability": "lowest",
    "error_rate": "highest",
    "latency": "highest",
    "impairment": "highest",
}
"""How several series of one key are combined where the dialect does not say: the worst one counts."""


class Translator:
    """Reads one gateway's expositions in the given dialects. Not thread-safe."""

    def __init__(self, dialects: Sequence[Dialect]) -> None:
        self._dialects = tuple(sorted(dialects, key=lambda dialect: -dialect.specificity))
        self._plan = Plan((), ())
        self._generation = -1
        self._learnt = Learnt()

    def translate(self, exposition: Exposition, learnt: Learnt | None = None) -> Signals:
        """What the exposition says. Nothing in it makes this raise; what is contradictory gets a notice.

        ``learnt`` is what the last accepted exposition taught; nothing, if this is the first.
        """
        learnt = learnt or Learnt()
        plan, values = self._planned(exposition, learnt), exposition.values
        published = values.tolist()
        reading = _Reading(learnt)
        for place, route in plan.others:
            reading.take(route, published[place])
        gauges, circuits = reading.gauges_in_our_units(plan), reading.circuits()
        dialects = tuple(dialect.name for dialect in plan.recognised)
        return Signals(
            gauges=gauges,
            counters=_counters(plan, values),
            circuits=circuits,
            families={family: frozenset(providers) for family, providers in plan.families.items()},
            sources=plan.sources(),
            ties=plan.ties(),
            dialects=dialects,
            scrape_succeeded=_scrape_succeeded(plan, values),
            samples=len(values),
            rejected_lines=exposition.rejected_lines,
            first_rejected=tuple(str(rejected) for rejected in exposition.first_rejected),
            learnt=Learnt(plan.names, reading.units, dialects or learnt.dialects),
            failures_told_apart_by=plan.failures_told_apart_by,
            hourly=plan.hourly(),
            kinds=plan.kinds,
            notices=(*exposition.notices, *plan.notices, *reading.told()),
        )

    def _planned(self, exposition: Exposition, learnt: Learnt) -> Plan:
        """The meaning of the exposition's series; the one before, where it is the same."""
        same_names = learnt.names == self._learnt.names or (
            learnt.names == self._plan.names and not any(one.absent for one in learnt.names)
        )
        same_dialects = learnt.dialects in (self._learnt.dialects, tuple(one.name for one in self._plan.recognised))
        if exposition.generation != self._generation or not (same_names and same_dialects):
            before = self._plan
            self._plan = plans.make(self._dialects, exposition.series, learnt)
            if self._plan.counter_ids == before.counter_ids:
                self._plan.counter_ids = before.counter_ids
            self._generation, self._learnt = exposition.generation, learnt
        return self._plan


def _counters(plan: Plan, values: Floats) -> Counters:
    """The counters' values; one that is negative or not finite is not known."""
    numbers = values[plan.counter_places]
    numbers[~((numbers >= 0) & (numbers < math.inf))] = math.nan
    return Counters(plan.counter_ids, numbers * plan.counter_factors)


@dataclass(slots=True)
class _Circuit:
    """What the series of one circuit say, in one family."""

    numbers: list[tuple[float, str | None]] = field(default_factory=list)
    """Each with the state that it stands for."""
    one_hot: dict[frozenset[tuple[str, str]], dict[str, float]] = field(default_factory=dict)
    """By the other labels of the series."""


class _Reading:
    """Collects the gauges and states of one exposition."""

    def __init__(self, learnt: Learnt) -> None:
        self.units = dict(learnt.units)
        """Of families that are a ratio or a percentage: which, as far as it is known."""
        self._gauges: dict[int, dict[Key, list[float]]] = {}
        """By the identity of what was chosen to give them."""
        self._circuits: dict[Key, dict[int, _Circuit]] = {}
        """By the turn of what was chosen to give them."""
        self._notices: dict[str, list[str]] = {}

    def take(self, route: Route, value: float) -> None:
        """Note one series' value. NaN and infinities mean that the provider is there and the value is not known."""
        if not math.isfinite(value):
            return
        if route.source.signal != "circuit_state":
            self._gauges.setdefault(id(route.chosen), {}).setdefault(route.key, []).append(value)
            return
        circuit = self._circuits.setdefault(route.key, {}).setdefault(route.chosen.turn, _Circuit())
        if route.state is None:
            circuit.numbers.append((value, route.source.state_of(value)))
        else:
            circuit.one_hot.setdefault(route.circuit, {})[route.state] = value

    def told(self) -> list[str]:
        """The notices, a few of each kind."""
        told = []
        for kind, notices in self._notices.items():
            told += notices[:NOTICES_OF_A_KIND]
            if len(notices) > NOTICES_OF_A_KIND:
                told.append(f"{len(notices) - NOTICES_OF_A_KIND} more: {kind}")
        return told

    def _notice(self, kind: str, notice: str) -> None:
        self._notices.setdefault(kind, []).append(notice)

    def gauges_in_our_units(self, plan: Plan) -> dict[str, dict[Key, float]]:
        """All gauges, one number a provider or model."""
        by_signal: dict[str, dict[Key, list[float]]] = {}
        combine: dict[str, Callable[[Sequence[float]], float]] = {}
        for chosen in plan.chosen:
            if id(chosen) in self._gauges:
                signal = chosen.source.signal
                combine.setdefault(signal, _COMBINE[chosen.source.combine or _UNSAID[signal]])
                of_signal = by_signal.setdefault(signal, {})
                for key, value in self._in_our_unit(chosen).items():
                    of_signal.setdefault(key, []).append(value)
        return {
            signal: {key: combine[signal](values) for key, values in of_signal.items()}
            for signal, of_signal in by_signal.items()
        }

    def _in_our_unit(self, chosen: Chosen) -> dict[Key, float]:
        source, given = chosen.source, self._gauges[id(chosen)]
        combine = _UNSAID[source.signal] if source.combine is None else source.combine
        if source.combine is None and source.signal != "cost":
            for key, values in given.items():
                if min(values) != max(values):
                    told = f"{source.family} has {len(values)} values for {key}: the {combine} counts"
                    self._notice("several values of one provider, of which the worst counts", told)
        published = {key: _COMBINE[combine](values) for key, values in given.items()}
        factor = source.factor
        if source.unit == MAYBE_RATIO and self._is_ratio(chosen, published):
            factor = 100.0
            published = {key: 1.0 if 1 < value <= RATIO_LIMIT else value for key, value in published.items()}
        low, high = RANGES.get(source.signal, (-math.inf, math.inf))
        values_in_range = {}
        for key, value in published.items():
            if low <= value * factor <= high:
                values_in_range[key] = value * factor
            else:
                told = f"{source.family} of {key} is {value:g}, outside its range: not known"
                self._notice("values outside their range", told)
        return values_in_range

    def _is_ratio(self, chosen: Chosen, published: Mapping[Key, float]) -> bool:
        """Whether a family is a ratio: until a value above 1 has been seen, for then it is a percentage for good."""
        family = f"{chosen.dialect}: {chosen.source.family}"
        known, above = self.units.get(family), max(published.values()) > RATIO_LIMIT
        if above:
            self.units[family] = "percent"
            if known == "ratio":
                told = f"{chosen.source.family} is a percentage after all, a value above 1 says; it was read as a ratio"
                self._notice("families that were read in another unit", told)
        elif known is None and max(published.values()) > 0:  # nothing but 0 is 0 in both
            self.units[family] = "ratio"
        return self.units.get(family) != "percent"

    def circuits(self) -> dict[Key, CircuitState]:
        """Each circuit's state, as far as it says one: in the first family that does."""
        circuits: dict[Key, CircuitState] = {}
        for key, by_turn in self._circuits.items():
            for _, circuit in sorted(by_turn.items()):
                states = self._states(key, circuit)
                if states:
                    circuits[key] = max(states, key=lambda state: state.severity)
                    if len(set(states)) > 1:
                        told = f"{len(states)} series give the circuit of {key} different states: the worst counts"
                        self._notice("circuits in different states, of which the worst counts", told)
                    break
        return circuits

    def _states(self, key: Key, circuit: _Circuit) -> list[CircuitState]:
        """The states that several series give one circuit: one of each number and each set of one-hot series."""
        states = []
        for number, word in circuit.numbers:
            if word is not None:
                states.append(STATE_WORDS[word])
            else:
                told = f"circuit state of {key} is {number:g}, which is no state: not known"
                self._notice("circuit states that are none", told)
        for of_one in circuit.one_hot.values():
            current = [STATE_WORDS[word] for word, value in of_one.items() if value == 1 and word in STATE_WORDS]
            if len(current) != 1:
                said = f"says {len(current)} states at once" if current else "says no state it could be in"
                self._notice("circuits without one state", f"circuit of {key} {said}")
            if current:
                states.append(max(current, key=lambda state: state.severity))
        return states


def _scrape_succeeded(plan: Plan, values: Floats) -> bool | None:
    return bool(np.all(values[plan.scrape_success] == 1)) if plan.scrape_success else None
