"""What the series of one exposition mean: which dialects they are in, and which signal each of them gives.

That depends on the series' names and labels alone, so it is worked out once and holds for as long as a gateway
publishes the same series.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from bridge.gateway.dialect import COUNTERS, Dialect, SignalSource
from bridge.gateway.exposition import Series
from bridge.gateway.identities import Identities, Identity
from bridge.model import CircuitState, CounterId, Floats, Key

MAX_PROVIDERS = 1_000
MAX_KEYS = 20_000
"""Providers and models together that are followed; what is over is left out, with a notice."""
MAX_NAME_LENGTH = 256
STATE_WORDS = {
    "closed": CircuitState.CLOSED,
    "open": CircuitState.OPEN,
    "half_open": CircuitState.HALF_OPEN,
    "half-open": CircuitState.HALF_OPEN,
    "halfopen": CircuitState.HALF_OPEN,
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """A signal's source in this exposition, the dialect it is of, and where it stands in that dialect's file."""

    source: SignalSource
    dialect: str
    rank: int


@dataclass(frozen=True, slots=True)
class Route:
    """What one series gives: the counter ``counter``, or a gauge or state of ``key``."""

    source: SignalSource
    key: Key
    rank: int
    counter: CounterId | None = None
    factor: float = 1.0
    """Brings the counter's value into the bridge's unit."""
    state: str | None = None
    """The state a one-hot series stands for."""
    identity: Identity | None = None


@dataclass(slots=True)
class Plan:
    """The meaning of some series. They go by their places in the order they are published in."""

    recognised: tuple[Dialect, ...]
    chosen: tuple[Chosen, ...]
    counter_ids: tuple[CounterId, ...] = ()
    counter_places: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, dtype=np.intp))
    """Where each counter stands."""
    counter_factors: Floats = field(default_factory=lambda: np.empty(0))
    """What brings each counter into the bridge's unit."""
    others: list[tuple[int, Route]] = field(default_factory=list)
    scrape_success: list[int] = field(default_factory=list)
    """Series that say whether the gateway could read its own numbers."""
    families: dict[str, set[str]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    def sources(self) -> dict[str, tuple[str, str]]:
        """Each signal's family and dialect."""
        sources: dict[str, tuple[str, str]] = {}
        for one in self.chosen:
            sources.setdefault(one.source.signal, (one.source.family, one.dialect))
        return sources

    def ties(self) -> dict[str, tuple[str, ...]]:
        """The signals of each source inside the gateway."""
        ties: dict[str, tuple[str, ...]] = {}
        for one in self.chosen:
            if one.source.tied:
                tie = f"{one.dialect}: {one.source.tied}"
                ties[tie] = (*ties.get(tie, ()), one.source.signal)
        return ties


def make(dialects: Sequence[Dialect], series: Sequence[Series], identities: Identities) -> Plan:
    """The meaning of these series. ``identities`` remembers names from one set of series to the next."""
    recognised, chosen = recognise(dialects, series)
    plan = Plan(recognised, chosen)
    success = {dialect.scrape_success for dialect in recognised if dialect.scrape_success}
    plan.scrape_success += [place for place, one in enumerate(series) if one.name in success]
    if not recognised:
        plan.notices.append(not_recognised(dialects))
    by_name: dict[str, list[Chosen]] = {}
    for one in chosen:
        for name in one.source.sample_names():
            by_name.setdefault(name, []).append(one)
    routes = [
        (place, route)
        for place, one in enumerate(series)
        for candidate in by_name.get(one.name, ())
        if (route := _route(one, candidate)) is not None
    ]
    _name(identities, [route for _, route in routes])
    admitted = _Admission()
    counters: dict[CounterId, tuple[int, float]] = {}
    for place, route in routes:
        resolved = _resolved(route, identities)
        if resolved is None or not admitted.admits(resolved.key):
            continue
        plan.families.setdefault(resolved.source.family, set()).add(resolved.key.provider)
        if resolved.source.kind:
            plan.kinds[resolved.key.provider] = resolved.source.kind
        if resolved.counter is not None:
            counters[resolved.counter] = place, resolved.factor
        else:
            plan.others.append((place, resolved))
    plan.counter_ids = tuple(counters)
    plan.counter_places = np.array([place for place, _ in counters.values()], dtype=np.intp)
    plan.counter_factors = np.array([factor for _, factor in counters.values()], dtype=np.float64)
    if admitted.refused:
        plan.notices.append(f"more than {MAX_PROVIDERS} providers or {MAX_KEYS} models: the rest is left out")
    return plan


@dataclass(slots=True)
class _Admission:
    """Bounds what a gateway can make the bridge remember."""

    keys: set[Key] = field(default_factory=set)
    providers: set[str] = field(default_factory=set)
    refused: bool = False

    def admits(self, key: Key) -> bool:
        if key in self.keys:
            return True
        if len(self.keys) >= MAX_KEYS or (key.provider not in self.providers and len(self.providers) >= MAX_PROVIDERS):
            self.refused = True
            return False
        self.keys.add(key)
        self.providers.add(key.provider)
        return True


def _name(identities: Identities, routes: Sequence[Route]) -> None:
    identities.begin()
    for route in routes:
        if route.identity is not None:
            identities.saw(route.identity, route.rank, route.key)
    identities.end()


def _resolved(route: Route, identities: Identities) -> Route | None:
    """A route under the name that is shown; None for a series that is nobody's, or goes by another's name."""
    if route.identity is None:
        return route if route.key.provider else None
    shown = identities.shown(route.identity)
    if shown is None or (route.source.own_name_only and identities.own_name(route.identity) != route.key):
        return None
    if shown == route.key:
        return route
    if not route.source.model:
        shown = Key(shown.provider)
    counter = route.counter
    if counter is not None:
        counter = counter._replace(provider=shown.provider, model=shown.model)
    return replace(route, key=shown, counter=counter)


def recognise(
    dialects: Sequence[Dialect], all_series: Collection[Series]
) -> tuple[tuple[Dialect, ...], tuple[Chosen, ...]]:
    """The dialects an exposition is in, most specific first, and the source of each signal."""
    names: dict[str, set[str]] = {}
    for series in all_series:
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


def _route(series: Series, chosen: Chosen) -> Route | None:
    """What a series means to one signal; None when it is nobody's, or not one that counts."""
    source, labels = chosen.source, series.labels
    provider = source.provider.name(labels)
    model = labels.get(source.model, "") if source.model else ""
    identity = _identity(source, labels, chosen.dialect)
    nobody = not provider or (source.model in labels and not model)
    if (nobody and identity is None) or max(len(provider), len(model)) > MAX_NAME_LENGTH or not source.counts(labels):
        return None
    key = Key("") if nobody else Key(provider, model)

    def route(*, counter: str = "", detail: str = "", factor: float = 1.0, state: str | None = None) -> Route:
        id_ = CounterId(counter, provider, model, detail, _digest(series.identity)) if counter else None
        return Route(source, key, chosen.rank, id_, factor, state, identity)

    if source.signal == "latency_histogram":
        return _histogram_route(series, source, route)
    if source.signal == "transitions":
        return route(
            counter="transitions", detail=f"{_word(labels, source.from_state)}>{_word(labels, source.to_state)}"
        )
    if source.signal in COUNTERS:
        return route(counter=source.signal)
    if source.signal == "circuit_state" and source.state and source.state in labels:
        return route(state=source.state_word(labels[source.state]))
    return route()


def _digest(value: bytes) -> str:
    return hashlib.blake2b(value, digest_size=8).hexdigest()


def _identity(source: SignalSource, labels: Mapping[str, str], dialect: str) -> Identity | None:
    """What a series says of its identity, as a digest; None when it says nothing of it."""
    values = [labels.get(label, "") for label in source.identity]
    return (dialect, _digest("\0".join(values).encode())) if values and values[-1] else None


def _histogram_route(series: Series, source: SignalSource, route: Callable[..., Route]) -> Route | None:
    """A part of a histogram, its bounds and sums in seconds; None for a bucket whose bound is no number."""
    signal = "latency" + series.name.removeprefix(source.family)
    if signal == "latency_bucket":
        try:
            bound = float(series.labels.get("le", "nan")) * source.factor
        except ValueError:
            return None
        return None if math.isnan(bound) else route(counter=signal, detail=repr(bound))
    return route(counter=signal, factor=source.factor if signal == "latency_sum" else 1.0)


def _word(labels: Mapping[str, str], label: str | None) -> str:
    state = STATE_WORDS.get(labels.get(label or "", "").lower())
    return state.name if state is not None else ""
