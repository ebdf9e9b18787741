"""One good poll, assessed: memory and signals in; memory, snapshot and events out. Pure, and the same every time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from bridge.health import circuits, evidence, incidents, models, roster, traffic, verdict
from bridge.health.circuits import Arrived
from bridge.health.memory import Memory
from bridge.health.observed import observe
from bridge.health.rounding import rounded
from bridge.health.series_index import Ints
from bridge.health.traffic import Arrivals, Traffic
from bridge.health.windows import Rises
from bridge.model import FAILURE_CLASSES, Circuit, CircuitState, Event, Key, Moment, Signals, Snapshot, Verdict
from bridge.policy import Policy

STEPPING_SIGNALS = ("requests", "successes", *FAILURE_CLASSES.values(), "rejected", "transitions", "outages")
"""Counters whose steps from poll to poll matter; histograms are only looked at over windows."""
CLOCK_TOLD_SECONDS = 3600.0
"""For so long it is told that the clock was set."""
FALLEN_SHARE = 0.1
"""So many of the counters that can be compared are lower than at the poll before: of one process they never are.
Where one URL stands for several replicas some are higher, and some lower, each time another one answers."""
OFTEN_FALLEN = 3
"""So many polls of a window with counters that fell are no single restart."""


def assess(memory: Memory, signals: Signals, moment: Moment, policy: Policy) -> tuple[Memory, Snapshot, list[Event]]:
    """Assess the signals of the good poll at ``moment``, later (steady) than ``memory.moment``."""
    at, steady = moment
    window_seconds = policy.rate_window_seconds
    lost = roster.lost_families(memory, signals, steady, window_seconds)
    present, came_and_went = roster.update(memory, signals, lost, at)
    window, rises = replace(memory.window, seconds=window_seconds).append(steady, signals.counters)
    arrivals = Arrivals(rises)
    reach = policy.breaker.window_seconds + policy.poll_interval_seconds
    recent = memory.recent.append(arrivals, steady, reach)
    comparable = _comparable(rises, signals)
    restarted = _restarts(rises, comparable)
    counted = traffic.counted_keys(window.index, window, ("requests", *FAILURE_CLASSES.values()))
    arrived = Arrived(moment, memory, signals, present, arrivals, recent, counted, restarted)
    breakers = circuits.update(arrived, policy)
    measured = traffic.measure(window, signals.counters, given=signals.sources.keys())
    after = replace(
        memory,
        moment=moment,
        counters=signals.counters,
        window=window,
        recent=recent,
        falls=_falls(memory, steady, window_seconds, fell=_many_fell(rises, comparable)),
        circuits=breakers.circuits,
        reported=breakers.reported,
        derivations=breakers.derivations,
        unreported=breakers.unreported,
        absences=present,
        families=signals.families,
        learnt=signals.learnt,
        lost_families=lost,
        disbelieved=evidence.disbelieved_ties(memory, signals, measured.requests_total),
    )
    last_seen = ((key, breakers.circuits[key].state) for key in breakers.unreported)
    unseen = {key: state for key, state in last_seen if state is not None}
    case = verdict.Case(signals, measured, after.disbelieved, lost, policy, unseen)
    shown = breakers.shown()
    by_provider: dict[str, list[Circuit]] = {provider: [] for provider in present}
    for circuit in shown:
        by_provider[circuit.provider].append(circuit)
    undated = [verdict.find(case, provider, of_it, at) for provider, of_it in sorted(by_provider.items())]
    verdicts, status_changes = _dated(undated, memory, at)
    verdicts = [_of_this_poll(found, arrivals, measured, memory, at) for found in verdicts]
    of_models = models.numbers(present, shown, unseen, measured.of_models, policy)
    watch = incidents.update(memory.watch, observe(verdicts, of_models), moment, policy.poll_interval_seconds)
    after = replace(
        after,
        statuses={found.provider: (found.status, found.status_since) for found in verdicts},
        last_success={it.provider: it.last_success for it in verdicts if it.last_success is not None},
        watch=watch,
    )
    snapshot = Snapshot(
        at=at,
        verdicts=tuple(verdicts),
        circuits=shown,
        models=of_models,
        fleet=_fleet(verdicts, shown, measured),
        dialects=signals.dialects,
        samples=signals.samples,
        rejected_lines=signals.rejected_lines,
        notices=(*signals.notices, *_notices(after)),
        incidents=watch.lasting,
    )
    return after, snapshot, [*came_and_went, *breakers.events, *status_changes]


def _restarts(rises: Rises, places: Ints) -> Callable[[str], bool]:
    """Says of a provider whether its counters began again: most of those that can be compared are lower than before.

    Where it has none, and for the empty name, all providers' counters say it. Counters that start again with each hour
    of the clock do not count.
    """
    index = rises.index
    fell, comparable = rises.resets[places], index.provider_of[places] if len(places) else places
    count = len(index.providers)
    total, lower = np.bincount(comparable, minlength=count), np.bincount(comparable[fell], minlength=count)
    overall = bool(2 * lower.sum() > total.sum())

    def restarted(provider: str) -> bool:
        place = index.place_of_provider.get(provider)
        if place is None or not total[place]:
            return overall
        return bool(2 * lower[place] > total[place])

    return restarted


def _comparable(rises: Rises, signals: Signals) -> Ints:
    """The places of counters of which it can be said whether they began again."""
    series = [rises.index.of_signal(one) for one in STEPPING_SIGNALS if one not in signals.hourly]
    places = np.concatenate(series) if series else np.empty(0, dtype=np.int64)
    return places[(rises.before[places] > 0) & ~np.isnan(rises.amounts[places])]


def _many_fell(rises: Rises, places: Ints) -> bool:
    return bool(len(places) and rises.resets[places].mean() >= FALLEN_SHARE)


def _falls(memory: Memory, steady: float, seconds: float, *, fell: bool) -> tuple[float, ...]:
    recent = tuple(at for at in memory.falls if at >= steady - seconds)
    return (*recent, steady) if fell else recent


def _notices(after: Memory) -> list[str]:
    """What is to be known of the poll, beside what the reading of it says."""
    notices = [f"the gateway has stopped giving {family}" for family in sorted(after.lost_families)]
    if after.window.forgotten:
        gone = f"{after.window.forgotten} that are gone were forgotten before their time"
        notices.append(f"the gateway keeps naming its series anew: {gone}")
    if after.clock_set and after.moment and after.moment.steady - after.clock_set[0] < CLOCK_TOLD_SECONDS:
        notices.append(after.clock_set[1])
    if len(after.falls) >= OFTEN_FALLEN:
        notices.append(
            f"counters fell {len(after.falls)} times within {verdict.span_words(after.window.seconds)}: does one URL"
            " stand for several replicas, or does the gateway restart again and again? Rates are too high then"
        )
    return notices


def _dated(found: Sequence[Verdict], memory: Memory, at: float) -> tuple[list[Verdict], list[Event]]:
    """The verdicts with the time since when they stand, and the changes of status. A first verdict changes nothing."""
    dated, changes = [], []
    for one in found:
        before, since = memory.statuses.get(one.provider, (one.status, at))
        if before is not one.status:
            since = at
            changes.append(Event(at, "status", one.provider, "", before.word, one.status.word, one.reason))
        dated.append(replace(one, status_since=since))
    return dated, changes


def _of_this_poll(found: Verdict, arrivals: Arrivals, measured: Traffic, memory: Memory, at: float) -> Verdict:
    """The verdict with what the poll alone brought its provider."""
    last = memory.last_success.get(found.provider)
    if memory.moment is None or found.provider not in measured.counted:
        return replace(found, last_success=last)
    added = arrivals.of(Key(found.provider))
    return replace(
        found,
        requests=added.successes + added.failures,
        failed=added.failures if measured.failures_counted else None,
        last_success=at if measured.failures_counted and added.successes > 0 else last,
    )


def _fleet(verdicts: Sequence[Verdict], shown: Sequence[Circuit], measured: Traffic) -> dict[str, float | None]:
    """The fleet's numbers; None where no provider has the one they are made of."""
    known = [circuit.state for circuit in shown if circuit.state is not None]
    error_rate = measured.fleet_error_rate() if measured.failures_counted else _mean(verdicts, "provider_error_rate")
    exact = {
        "fleet_health_score": _mean(verdicts, "provider_health_score"),
        "fleet_open_circuits": float(known.count(CircuitState.OPEN)) if known else None,
        "fleet_error_rate": error_rate,
        "fleet_request_rate": _total(verdicts, "provider_request_rate"),
        "fleet_requests": sum(measured.requests_total.values()) if measured.requests_total else None,
        "fleet_cost_usd": _total(verdicts, "provider_cost_usd"),
    }
    return {metric: rounded(metric, value) for metric, value in exact.items()}


def _known(verdicts: Sequence[Verdict], metric: str) -> list[float]:
    return [value for found in verdicts if (value := found.values[metric]) is not None]


def _mean(verdicts: Sequence[Verdict], metric: str) -> float | None:
    values = _known(verdicts, metric)
    return sum(values) / len(values) if values else None


def _total(verdicts: Sequence[Verdict], metric: str) -> float | None:
    values = _known(verdicts, metric)
    return sum(values) if values else None
