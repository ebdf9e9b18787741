"""Samples → signals, by dialect.

For each signal the most specific dialect that is recognised in the exposition, and that has samples for it, wins; in
one dialect the entries stand in order of preference. What a series means is worked out when it is first seen and
remembered for as long as the gateway keeps publishing it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bridge.gateway.dialect import COUNTERS, Dialect, SignalSource
from bridge.gateway.exposition import Exposition, Series
from bridge.model import CircuitState, CounterId, Key, Signals

MAX_PROVIDERS = 1_000
MAX_KEYS = 20_000
"""Providers and models together that are followed; what is over is left out, with a notice."""
MAX_NAME_LENGTH = 256
RANGES = {"reported_score": (0.0, 100.0), "availability": (0.0, 100.0), "error_rate": (0.0, 1.0)}
STATE_WORDS = {
    "closed": CircuitState.CLOSED,
    "open": CircuitState.OPEN,
    "half_open": CircuitState.HALF_OPEN,
    "half-open": CircuitState.HALF_OPEN,
    "halfopen": CircuitState.HALF_OPEN,
}


class Translator:
    """Reads one gateway's expositions in the given dialects. Not for use by two threads at once."""

    def __init__(self, dialects: Sequence[Dialect]) -> None:
        self._dialects = sorted(dialects, key=lambda dialect: -dialect.specificity)
        self._plan: tuple[_Chosen, ...] = ()
        self._routes: dict[Series, tuple[_Route, ...]] = {}

    def translate(self, exposition: Exposition) -> Signals:
        """What the exposition says. Nothing in it makes this raise; what is contradictory gets a notice."""
        names = {series.name for series in exposition.samples}
        recognised = [dialect for dialect in self._dialects if not names.isdisjoint(dialect.recognised_by)]
        plan = tuple(_choose(recognised, names))
        if plan != self._plan:
            self._plan, self._routes = plan, {}
        by_name: dict[str, list[_Chosen]] = {}
        for chosen in plan:
            for name in chosen.source.sample_names():
                by_name.setdefault(name, []).append(chosen)

        reading = _Reading()
        known, kept = self._routes, {}
        for series, value in exposition.samples.items():
            if series.name not in by_name:
                continue
            routes = known.get(series)
            if routes is None:
                routes = tuple(_routes(series, by_name[series.name]))
            kept[series] = routes
            for route in routes:
                reading.take(route, value)
        self._routes = kept
        return reading.signals(plan, recognised, exposition)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A signal's source in this exposition, and the dialect it is of."""

    source: SignalSource
    dialect: str


@dataclass(frozen=True, slots=True)
class _Route:
    """What one series gives: a gauge or a one-hot state of ``key``, or the counter ``counter``."""

    source: SignalSource
    key: Key
    counter: CounterId | None = None
    state: str | None = None


def _choose(recognised: Sequence[Dialect], names: set[str]) -> list[_Chosen]:
    """The one source of each signal. Requests and failures come from the same dialect, or their ratio means nothing."""
    present = [
        _Chosen(source, dialect.name)
        for dialect in recognised
        for source in dialect.signals
        if not names.isdisjoint(source.sample_names())
    ]
    counting = next((chosen.dialect for chosen in present if chosen.source.signal == "failures"), None)
    first: dict[str, _Chosen] = {}
    for chosen in present:
        if counting and chosen.source.signal in ("requests", "failures") and chosen.dialect != counting:
            continue
        first.setdefault(chosen.source.signal, chosen)
    return list(first.values())


def _routes(series: Series, candidates: Sequence[_Chosen]) -> list[_Route]:
    return [route for chosen in candidates if (route := _route(series, chosen.source)) is not None]


def _route(series: Series, source: SignalSource) -> _Route | None:
    """What a series means to one signal; None when it is nobody's, or not one that counts."""
    labels = series.labels
    provider = labels.get(source.provider, "")
    model = labels.get(source.model, "") if source.model else ""
    if not provider or max(len(provider), len(model)) > MAX_NAME_LENGTH or not source.counts(labels):
        return None
    key = Key(provider, model)
    if source.signal == "latency_histogram":
        signal = "latency" + series.name.removeprefix(source.family)
        detail = labels.get("le", "") if signal == "latency_bucket" else ""
        if detail and not _is_bound(detail):
            return None
        return _Route(source, key, CounterId(signal, provider, model, detail, series.text))
    if source.signal == "transitions":
        detail = f"{_word(labels, source.from_state)}>{_word(labels, source.to_state)}"
        return _Route(source, key, CounterId("transitions", provider, model, detail, series.text))
    if source.signal in COUNTERS:
        return _Route(source, key, CounterId(source.signal, provider, model, "", series.text))
    if source.signal == "circuit_state" and source.state and source.state in labels:
        return _Route(source, key, state=labels[source.state].lower())
    return _Route(source, key)


def _is_bound(text: str) -> bool:
    """True for a bucket's upper bound: a number, or ``+Inf``."""
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False


def _word(labels: Mapping[str, str], label: str | None) -> str:
    state = STATE_WORDS.get(labels.get(label or "", "").lower())
    return state.name if state is not None else ""


@dataclass(slots=True)
class _Reading:
    """Collects one exposition's signals."""

    gauges: dict[str, dict[Key, float]] = field(default_factory=dict)
    counters: dict[CounterId, float] = field(default_factory=dict)
    numeric_states: dict[Key, float] = field(default_factory=dict)
    one_hot: dict[Key, dict[str, float]] = field(default_factory=dict)
    families: dict[str, set[str]] = field(default_factory=dict)
    keys: set[Key] = field(default_factory=set)
    notices: dict[str, None] = field(default_factory=dict)
    providers: set[str] = field(default_factory=set)

    def take(self, route: _Route, value: float) -> None:
        """Note one series' value. NaN and infinities mean that the provider is there and the value is not known."""
        key = route.key
        if key not in self.keys and not self._admit(key):
            return
        self.families.setdefault(route.source.family, set()).add(key.provider)
        if not math.isfinite(value):
            return
        if route.counter is not None:
            if value >= 0:
                self.counters[route.counter] = value
        elif route.state is not None:
            self.one_hot.setdefault(key, {})[route.state] = value
        elif route.source.signal == "circuit_state":
            self.numeric_states[key] = value
        else:
            self.gauges.setdefault(route.source.signal, {})[key] = value

    def _admit(self, key: Key) -> bool:
        """Bounds what a gateway can make the bridge remember."""
        if len(self.keys) >= MAX_KEYS or (key.provider not in self.providers and len(self.providers) >= MAX_PROVIDERS):
            self.notices[f"more than {MAX_PROVIDERS} providers or {MAX_KEYS} models: the rest is left out"] = None
            return False
        self.keys.add(key)
        self.providers.add(key.provider)
        return True

    def signals(self, plan: Sequence[_Chosen], recognised: Sequence[Dialect], exposition: Exposition) -> Signals:
        """All of it, in the bridge's units."""
        gauges: dict[str, dict[Key, float]] = {}
        for chosen in plan:
            if chosen.source.signal in self.gauges:
                gauges[chosen.source.signal] = self._in_our_unit(chosen.source)
        self._scale_latency(plan)
        circuits = self._circuits()
        sources: dict[str, tuple[str, ...]] = {
            chosen.source.signal: (chosen.source.family, chosen.dialect) for chosen in plan
        }
        ties: dict[str, tuple[str, ...]] = {}
        for chosen in plan:
            if chosen.source.tied:
                tie = f"{chosen.dialect}: {chosen.source.tied}"
                ties[tie] = (*ties.get(tie, ()), chosen.source.signal)
        return Signals(
            gauges=gauges,
            counters=self.counters,
            circuits=circuits,
            families={family: frozenset(providers) for family, providers in self.families.items()},
            sources=sources,
            ties=ties,
            dialects=tuple(dialect.name for dialect in recognised),
            scrape_succeeded=_scrape_succeeded(recognised, exposition),
            samples=len(exposition.samples),
            rejected_lines=exposition.rejected_lines,
            notices=tuple(self.notices),
        )

    def _in_our_unit(self, source: SignalSource) -> dict[Key, float]:
        published = self.gauges[source.signal]
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

    def _scale_latency(self, plan: Sequence[_Chosen]) -> None:
        """Bring histograms in milliseconds to seconds: their sums, and their buckets' bounds."""
        source = next((chosen.source for chosen in plan if chosen.source.signal == "latency_histogram"), None)
        if source is None or source.factor == 1.0:
            return
        for counter in [counter for counter in self.counters if counter.signal.startswith("latency_")]:
            value = self.counters.pop(counter)
            if counter.signal == "latency_bucket" and counter.detail:
                counter = counter._replace(detail=repr(float(counter.detail) * source.factor))
            elif counter.signal == "latency_sum":
                value *= source.factor
            self.counters[counter] = value

    def _circuits(self) -> dict[Key, CircuitState]:
        circuits: dict[Key, CircuitState] = {}
        for key, number in self.numeric_states.items():
            if number in (0, 1, 2):
                circuits[key] = CircuitState(int(number))
            else:
                self.notices[f"circuit state of {key} is {number:g}, not 0, 1 or 2: not known"] = None
        for key, states in self.one_hot.items():
            current = [STATE_WORDS[word] for word, value in states.items() if value == 1 and word in STATE_WORDS]
            if len(current) != 1:
                said = f"says {len(current)} states at once" if current else "says no state it could be in"
                self.notices[f"circuit of {key} {said}"] = None
            if current:
                circuits[key] = max(current, key=lambda state: state.severity)
        return circuits


def _scrape_succeeded(recognised: Sequence[Dialect], exposition: Exposition) -> bool | None:
    families = {dialect.scrape_success for dialect in recognised if dialect.scrape_success}
    values = [value for series, value in exposition.samples.items() if series.name in families]
    return all(value == 1 for value in values) if values else None
