"""Samples → signals, by dialect: the values of one exposition, in the bridge's own units."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bridge.gateway import plan as plans
from bridge.gateway.dialect import Dialect, SignalSource
from bridge.gateway.exposition import Exposition
from bridge.gateway.identities import Identities
from bridge.gateway.plan import STATE_WORDS, Plan, Route
from bridge.model import CircuitState, Counters, Floats, Key, Named, Signals

RANGES = {"reported_score": (0.0, 100.0), "availability": (0.0, 100.0), "error_rate": (0.0, 1.0)}
_COMBINE: Mapping[str | None, Callable[[Sequence[float]], float]] = {
    None: lambda values: values[-1],
    "sum": sum,
    "mean": lambda values: sum(values) / len(values),
    "lowest": min,
    "highest": max,
}


class Translator:
    """Reads one gateway's expositions in the given dialects. Not for use by two threads at once."""

    def __init__(self, dialects: Sequence[Dialect]) -> None:
        self._dialects = tuple(sorted(dialects, key=lambda dialect: -dialect.specificity))
        self._identities = Identities()
        self._plan = Plan((), ())
        self._generation = -1

    def restore(self, names: Iterable[Named]) -> None:
        """Go on with the names that were in use before a restart."""
        self._identities.restore(names)

    def translate(self, exposition: Exposition) -> Signals:
        """What the exposition says. Nothing in it makes this raise; what is contradictory gets a notice."""
        if exposition.generation != self._generation:
            before = self._plan
            self._plan = plans.make(self._dialects, exposition.series, self._identities)
            if self._plan.counter_ids == before.counter_ids:
                self._plan.counter_ids = before.counter_ids
            self._generation = exposition.generation
        plan, values = self._plan, exposition.values
        published = values.tolist()
        reading = _Reading()
        for place, route in plan.others:
            reading.take(route, published[place])
        return Signals(
            gauges=reading.gauges_in_our_units(plan),
            counters=_counters(plan, values),
            circuits=reading.circuits(),
            families={family: frozenset(providers) for family, providers in plan.families.items()},
            sources=plan.sources(),
            ties=plan.ties(),
            dialects=tuple(dialect.name for dialect in plan.recognised),
            scrape_succeeded=_scrape_succeeded(plan, values),
            samples=len(values),
            rejected_lines=exposition.rejected_lines,
            first_rejected=tuple(str(rejected) for rejected in exposition.first_rejected),
            names=self._identities.in_use(),
            kinds=plan.kinds,
            notices=(*plan.notices, *reading.notices),
        )


def _counters(plan: Plan, values: Floats) -> Counters:
    """The counters' values; one that is negative or not finite is not known."""
    numbers = values[plan.counter_places]
    numbers[~((numbers >= 0) & (numbers < math.inf))] = math.nan
    return Counters(plan.counter_ids, numbers * plan.counter_factors)


@dataclass(slots=True)
class _Reading:
    """Collects the gauges and states of one exposition."""

    gauges: dict[str, dict[Key, list[float]]] = field(default_factory=dict)
    numeric_states: dict[Key, tuple[float, str | None]] = field(default_factory=dict)
    one_hot: dict[Key, dict[str, float]] = field(default_factory=dict)
    notices: dict[str, None] = field(default_factory=dict)

    def take(self, route: Route, value: float) -> None:
        """Note one series' value. NaN and infinities mean that the provider is there and the value is not known."""
        if not math.isfinite(value):
            return
        if route.state is not None:
            self.one_hot.setdefault(route.key, {})[route.state] = value
        elif route.source.signal == "circuit_state":
            self.numeric_states[route.key] = value, route.source.state_of(value)
        else:
            self.gauges.setdefault(route.source.signal, {}).setdefault(route.key, []).append(value)

    def gauges_in_our_units(self, plan: Plan) -> dict[str, dict[Key, float]]:
        """All gauges, one number a provider or model."""
        by_signal = {one.source.signal: one.source for one in plan.chosen if one.source.signal in self.gauges}
        return {signal: self._in_our_unit(source) for signal, source in by_signal.items()}

    def _in_our_unit(self, source: SignalSource) -> dict[Key, float]:
        combine = _COMBINE[source.combine or ("sum" if source.signal == "cost" else None)]
        published = {key: combine(values) for key, values in self.gauges[source.signal].items()}
        factor = source.factor
        if source.unit == "ratio or percent" and all(value <= 1 for value in published.values()):
            factor = 100.0
        low, high = RANGES.get(source.signal, (-math.inf, math.inf))
        values = {}
        for key, value in published.items():
            if low <= value * factor <= high:
                values[key] = value * factor
            else:
                self.notices[f"{source.family} of {key} is {value:g}, outside its range: not known"] = None
        return values

    def circuits(self) -> dict[Key, CircuitState]:
        """Each circuit's state, as far as it says one."""
        circuits: dict[Key, CircuitState] = {}
        for key, (number, word) in self.numeric_states.items():
            if word is not None:
                circuits[key] = STATE_WORDS[word]
            else:
                self.notices[f"circuit state of {key} is {number:g}, which is no state: not known"] = None
        for key, states in self.one_hot.items():
            current = [STATE_WORDS[word] for word, value in states.items() if value == 1 and word in STATE_WORDS]
            if len(current) != 1:
                said = f"says {len(current)} states at once" if current else "says no state it could be in"
                self.notices[f"circuit of {key} {said}"] = None
            if current:
                circuits[key] = max(current, key=lambda state: state.severity)
        return circuits


def _scrape_succeeded(plan: Plan, values: Floats) -> bool | None:
    return bool(np.all(values[plan.scrape_success] == 1)) if plan.scrape_success else None
