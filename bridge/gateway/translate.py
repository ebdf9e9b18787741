"""Samples → signals, by dialect.

For each signal the most specific dialect that is recognised in the exposition, and that has samples for it, wins; in
one dialect the entries stand in order of preference. What a series means is worked out when it is first seen and
remembered for as long as the gateway keeps publishing it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bridge.gateway.dialect import COUNTERS, Dialect, SignalSource
from bridge.gateway.exposition import Exposition, Series
from bridge.gateway.identities import Identities, Identity
from bridge.model import CircuitState, CounterId, Key, Signals

MAX_PROVIDERS = 1_000
MAX_KEYS = 20_000
"""Providers and models together that are followed; what is over is left out, with a notice."""
MAX_NAME_LENGTH = 256
RANGES = {"reported_score": (0.0, 100.0), "availability": (0.0, 100.0), "error_rate": (0.0, 1.0)}
_COMBINE: Mapping[str | None, Callable[[Sequence[float]], float]] = {
    None: lambda values: values[-1],
    "sum": sum,
    "mean": lambda values: sum(values) / len(values),
    "lowest": min,
    "highest": max,
}
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
        self._plan: tuple[Chosen, ...] = ()
        self._routes: dict[Series, tuple[_Route, ...]] = {}
        self._identities = Identities()

    def translate(self, exposition: Exposition) -> Signals:
        """What the exposition says. Nothing in it makes this raise; what is contradictory gets a notice."""
        recognised, plan = recognise(self._dialects, exposition)
        if plan != self._plan:
            self._plan, self._routes = plan, {}
        by_name: dict[str, list[Chosen]] = {}
        for chosen in plan:
            for name in chosen.source.sample_names():
                by_name.setdefault(name, []).append(chosen)

        known, kept = self._routes, {}
        for series in exposition.samples:
            if series.name in by_name:
                routes = known.get(series)
                kept[series] = tuple(_routes(series, by_name[series.name])) if routes is None else routes
        self._routes = kept
        self._name_identities(kept)
        reading = _Reading()
        for series, routes in kept.items():
            for route in routes:
                resolved = self._resolved(route)
                if resolved is not None:
                    reading.take(resolved, exposition.samples[series])
        if not recognised:
            reading.notices[not_recognised(self._dialects)] = None
        return reading.signals(plan, recognised, exposition)

    def _name_identities(self, kept: Mapping[Series, tuple[_Route, ...]]) -> None:
        self._identities.begin()
        for routes in kept.values():
            for route in routes:
                if route.identity is not None:
                    self._identities.saw(route.identity, route.rank, route.key)
        self._identities.end()

    def _resolved(self, route: _Route) -> _Route | None:
        """A route under the name that is shown; None for a series that is nobody's, or goes by another's name."""
        if route.identity is None:
            return route if route.key.provider else None
        shown = self._identities.shown(route.identity)
        if shown is None or (route.source.own_name_only and self._identities.own_name(route.identity) != route.key):
            return None
        if shown == route.key:
            return route
        if not route.source.model:
            shown = Key(shown.provider)
        counter = route.counter
        if counter is not None:
            counter = counter._replace(provider=shown.provider, model=shown.model)
        return replace(route, key=shown, counter=counter)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A signal's source in this exposition, the dialect it is of, and where it stands in that dialect's file."""

    source: SignalSource
    dialect: str
    rank: int


@dataclass(frozen=True, slots=True)
class _Route:
    """What one series gives: a gauge or a one-hot state of ``key``, or the counter ``counter``."""

    source: SignalSource
    key: Key
    rank: int
    counter: CounterId | None = None
    state: str | None = None
    identity: Identity | None = None


def recognise(dialects: Sequence[Dialect], exposition: Exposition) -> tuple[tuple[Dialect, ...], tuple[Chosen, ...]]:
    """The dialects an exposition is in, most specific first, and the source of each signal."""
    names: dict[str, set[str]] = {}
    for series in exposition.samples:
        names.setdefault(series.name, set()).update(series.labels)
    recognised = tuple(
        dialect
        for dialect in sorted(dialects, key=lambda dialect: -dialect.specificity)
        if any(sign.seen_in(names) for sign in dialect.recognised_by)
    )
    return recognised, tuple(_choose(recognised, names))


def not_recognised(dialects: Sequence[Dialect]) -> str:
    """What to say of an exposition in no dialect: what was looked for."""
    looked_for = "; ".join(
        f"{' or '.join(str(sign) for sign in dialect.recognised_by)} ({dialect.name})" for dialect in dialects
    )
    return f"no dialect fits this exposition; looked for {looked_for}"


COUNTED_TOGETHER = frozenset({"requests", "successes", "failures", "outages"})
"""Signals that come from one dialect, or their ratios mean nothing.

Of these a family without samples says that there were none: clients show a failure counter at the first failure.
"""


def _choose(recognised: Sequence[Dialect], names: Mapping[str, set[str]]) -> list[Chosen]:
    """Each signal's source: one entry, and those of the same dialect that are to be added to it."""
    declared = [
        Chosen(source, dialect.name, rank) for dialect in recognised for rank, source in enumerate(dialect.signals)
    ]
    present = [chosen for chosen in declared if any(name in names for name in chosen.source.sample_names())]
    counts_failures = {chosen.dialect for chosen in declared if chosen.source.signal == "failures"}
    requests = [chosen.dialect for chosen in present if chosen.source.signal == "requests"]
    counting = next((dialect for dialect in requests if dialect in counts_failures), None)
    first: dict[str, Chosen] = {}
    added: list[Chosen] = []
    for chosen in declared:
        signal = chosen.source.signal
        if signal in COUNTED_TOGETHER and counting:
            if chosen.dialect != counting:
                continue
        elif chosen not in present:
            continue
        winner = first.setdefault(signal, chosen)
        if chosen is not winner and chosen.source.adds and chosen.dialect == winner.dialect:
            added.append(chosen)
    return [*first.values(), *added]


def _routes(series: Series, candidates: Sequence[Chosen]) -> list[_Route]:
    return [route for chosen in candidates if (route := _route(series, chosen)) is not None]


def _route(series: Series, chosen: Chosen) -> _Route | None:
    """What a series means to one signal; None when it is nobody's, or not one that counts."""
    source, labels = chosen.source, series.labels
    provider = source.provider.name(labels)
    model = labels.get(source.model, "") if source.model else ""
    value = labels.get(source.identity, "") if source.identity else ""
    identity = (chosen.dialect, value) if value else None
    nobody = not provider or (source.model in labels and not model)
    if (nobody and identity is None) or max(len(provider), len(model)) > MAX_NAME_LENGTH or not source.counts(labels):
        return None
    key = Key(provider, model) if provider else Key("")

    def route(*, counter: str = "", detail: str = "", state: str | None = None) -> _Route:
        digest = hashlib.blake2b(series.text.encode(), digest_size=8).hexdigest()
        id_ = CounterId(counter, provider, model, detail, digest) if counter else None
        return _Route(source, key, chosen.rank, id_, state, identity)

    if source.signal == "latency_histogram":
        signal = "latency" + series.name.removeprefix(source.family)
        bound = labels.get("le", "") if signal == "latency_bucket" else ""
        return None if bound and not _is_bound(bound) else route(counter=signal, detail=bound)
    if source.signal == "transitions":
        return route(
            counter="transitions", detail=f"{_word(labels, source.from_state)}>{_word(labels, source.to_state)}"
        )
    if source.signal in COUNTERS:
        return route(counter=source.signal)
    if source.signal == "circuit_state" and source.state and source.state in labels:
        return route(state=labels[source.state].lower())
    return route()


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

    gauges: dict[str, dict[Key, list[float]]] = field(default_factory=dict)
    counters: dict[CounterId, float] = field(default_factory=dict)
    numeric_states: dict[Key, float] = field(default_factory=dict)
    one_hot: dict[Key, dict[str, float]] = field(default_factory=dict)
    families: dict[str, set[str]] = field(default_factory=dict)
    keys: set[Key] = field(default_factory=set)
    notices: dict[str, None] = field(default_factory=dict)
    providers: set[str] = field(default_factory=set)
    kinds: dict[str, str] = field(default_factory=dict)

    def take(self, route: _Route, value: float) -> None:
        """Note one series' value. NaN and infinities mean that the provider is there and the value is not known."""
        key = route.key
        if key not in self.keys and not self._admit(key):
            return
        self.families.setdefault(route.source.family, set()).add(key.provider)
        if route.source.kind:
            self.kinds[key.provider] = route.source.kind
        if not math.isfinite(value):
            return
        if route.counter is not None:
            if value >= 0:
                self.counters[route.counter] = value
        elif route.state is not None:
            self.one_hot.setdefault(key, {})[route.state] = value
        elif route.source.signal == "circuit_state":
            above = route.source.open_above
            self.numeric_states[key] = value if above is None else float(value > above)
        else:
            self.gauges.setdefault(route.source.signal, {}).setdefault(key, []).append(value)

    def _admit(self, key: Key) -> bool:
        """Bounds what a gateway can make the bridge remember."""
        if len(self.keys) >= MAX_KEYS or (key.provider not in self.providers and len(self.providers) >= MAX_PROVIDERS):
            self.notices[f"more than {MAX_PROVIDERS} providers or {MAX_KEYS} models: the rest is left out"] = None
            return False
        self.keys.add(key)
        self.providers.add(key.provider)
        return True

    def signals(self, plan: Sequence[Chosen], recognised: Sequence[Dialect], exposition: Exposition) -> Signals:
        """All of it, in the bridge's units."""
        gauges: dict[str, dict[Key, float]] = {}
        for chosen in plan:
            if chosen.source.signal in self.gauges:
                gauges[chosen.source.signal] = self._in_our_unit(chosen.source)
        self._scale_latency(plan)
        circuits = self._circuits()
        sources: dict[str, tuple[str, str]] = {}
        for chosen in plan:
            sources.setdefault(chosen.source.signal, (chosen.source.family, chosen.dialect))
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
            first_rejected=tuple(str(rejected) for rejected in exposition.first_rejected),
            kinds=self.kinds,
            notices=tuple(self.notices),
        )

    def _in_our_unit(self, source: SignalSource) -> dict[Key, float]:
        combine = _COMBINE[source.combine]
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

    def _scale_latency(self, plan: Sequence[Chosen]) -> None:
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
