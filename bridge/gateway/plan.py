"""What the series of one exposition mean: which signal each of them gives, and to whom.

That depends on the series' names and labels, and on names that were given before, so it is worked out once and holds
for as long as a gateway publishes the same series.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bridge.gateway import identities
from bridge.gateway.choice import Chosen, not_recognised, recognise
from bridge.gateway.dialect import Dialect
from bridge.gateway.identities import Claim, Names
from bridge.gateway.routes import MAX_NAME_LENGTH, Route, Routers
from bridge.gateway.series import Series
from bridge.model import CounterId, Floats, Key, Learnt, Named

MAX_PROVIDERS = 1_000
MAX_KEYS = 20_000
"""Providers and models together that are followed; what is over is left out, with a notice."""
MAX_SERIES = 100_000
"""Series that are followed, several of one provider or model included; what is over is left out, with a notice."""


@dataclass(slots=True)
class Plan:
    """The meaning of some series. They go by their places in the order they are published in."""

    recognised: tuple[Dialect, ...]
    chosen: tuple[Chosen, ...]
    """The sources that give something in this exposition, or say by their silence that there is nothing."""
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
    failures_told_apart_by: tuple[str, ...] = ()
    """See ``Signals``."""
    names: tuple[Named, ...] = ()
    """The names in use for identities, with this exposition's."""

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

    def hourly(self) -> frozenset[str]:
        """The signals whose counters start again with each hour."""
        return frozenset(one.source.signal for one in self.chosen if one.source.resets == "hourly")


def make(dialects: Sequence[Dialect], series: Sequence[Series], learnt: Learnt) -> Plan:
    """The meaning of these series, under the names that were in use before and those that are new."""
    recognised, chosen = recognise(dialects, series, learnt.dialects)
    plan = Plan(recognised, chosen)
    success = {dialect.scrape_success for dialect in recognised if dialect.scrape_success}
    plan.scrape_success += [place for place, one in enumerate(series) if one.name in success]
    if not recognised:
        plan.notices.append(not_recognised(dialects))
    routes = _routes(plan, series)
    claims = [Claim(it.identity, it.chosen.rank, it.key) for _, it in routes if it.identity is not None]
    literal = {route.key for _, route in routes if route.identity is None}
    plan.names = identities.after(learnt.names, claims, literal)
    admitted = _admitted(plan, routes)
    # Of a circuit a stand-in is looked at as well: what stands before it may say no state.
    contested = {one.source.signal for one in chosen if one.turn > 0} - {"circuit_state"}
    first_turns = _first_turns([route for _, route in admitted if route.source.signal in contested])
    counters: dict[CounterId, tuple[int, float]] = {}
    giving: set[int] = set()
    for place, route in admitted:
        if route.source.signal in contested and route.chosen.turn > first_turns[_whose(route)]:
            continue
        giving.add(id(route.chosen))
        if route.counter is not None:
            counters[route.counter] = place, route.factor
        else:
            plan.others.append((place, route))
    plan.failures_told_apart_by = _told_apart_by(plan.chosen, admitted)
    shown = [one for one in chosen if one.turn == 0 or id(one) in giving]
    plan.chosen = tuple(sorted(shown, key=lambda one: id(one) not in giving))
    plan.counter_ids = tuple(counters)
    plan.counter_places = np.array([place for place, _ in counters.values()], dtype=np.intp)
    plan.counter_factors = np.array([factor for _, factor in counters.values()], dtype=np.float64)
    return plan


def _told_apart_by(chosen: Sequence[Chosen], routes: Sequence[tuple[int, Route]]) -> tuple[str, ...]:
    """The labels that tell failures apart: none where there are failures, and none of them is told what it is."""
    labels = (label for one in chosen if one.source.signal == "failures" for label in one.source.failure_classes)
    classes = [route.failure_class for _, route in routes if route.source.signal == "failures"]
    return tuple(dict.fromkeys(labels)) if any(classes) or not classes else ()


def _first_turns(routes: Sequence[Route]) -> dict[tuple[str, str | Key], int]:
    """The turn that gives each signal of each provider or model."""
    turns: dict[tuple[str, str | Key], int] = {}
    for route in routes:
        whose = _whose(route)
        turns[whose] = min(turns.get(whose, route.chosen.turn), route.chosen.turn)
    return turns


def _whose(route: Route) -> tuple[str, str | Key]:
    """For whom one family is to give a signal: costs of a provider and of its models would count twice."""
    return route.source.signal, route.key.provider if route.source.signal == "cost" else route.key


def _routes(plan: Plan, series: Sequence[Series]) -> list[tuple[int, Route]]:
    """What each series means. Those that mean nothing are left out."""
    routers = Routers(plan.chosen)
    routes: list[tuple[int, Route]] = []
    too_long = 0
    for place, one in enumerate(series):
        if len(routes) >= MAX_SERIES:
            plan.notices.append(f"more than {MAX_SERIES} series of providers: the rest is left out")
            break
        of_one = routers.of(one.shape)
        found = [route for router in of_one if (route := router.route(one)) is not None]
        routes += [(place, route) for route in found]
        if of_one and len(found) < len(of_one):
            too_long += any(router.is_too_long(one) for router in of_one)
    if too_long:
        told = f"a provider's or model's name is longer than {MAX_NAME_LENGTH} characters"
        plan.notices.append(f"{too_long} series are left out: {told}")
    return routes


def _admitted(plan: Plan, routes: Sequence[tuple[int, Route]]) -> list[tuple[int, Route]]:
    """The routes under the names that are shown, as many as are followed. Notes whom their families name."""
    names, admission = Names(plan.names), _Admission()
    admitted: list[tuple[int, Route]] = []
    unnamed = 0
    for place, route in routes:
        resolved = _resolved(route, names)
        if resolved is None:
            unnamed += route.identity is not None and bool(route.key.provider) and names.shown(route.identity) is None
            continue
        if not admission.admits(resolved.key):
            continue
        plan.families.setdefault(resolved.source.family, set()).add(resolved.key.provider)
        if resolved.source.kind:
            plan.kinds[resolved.key.provider] = resolved.source.kind
        admitted.append((place, resolved))
    if admission.refused or unnamed:
        plan.notices.append(f"more than {MAX_PROVIDERS} providers or {MAX_KEYS} models: the rest is left out")
    return admitted


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


def _resolved(route: Route, names: Names) -> Route | None:
    """A route under the name that is shown; None for a series that is nobody's, or goes by another's name."""
    if route.identity is None:
        return route if route.key.provider else None
    shown = names.shown(route.identity)
    if shown is None or (route.source.own_name_only and names.own_name(route.identity) != route.key):
        return None
    if shown == route.key:
        return route
    if not route.source.model:
        shown = Key(shown.provider)
    counter = route.counter
    if counter is not None:
        counter = counter._replace(provider=shown.provider, model=shown.model)
    return route._replace(key=shown, counter=counter)
