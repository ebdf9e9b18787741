"""What the counters say: what one poll added, and requests, failures and latency over the window of rates."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from bridge.health.increase import histogram_quantile
from bridge.health.series_index import Buckets, SeriesIndex, sums
from bridge.health.windows import Rises, Window
from bridge.model import FAILURE_CLASSES, Counters, Floats, Key

Name = TypeVar("Name", str, Key)


@dataclass(frozen=True, slots=True)
class OfModels:
    """Per model, over the window of rates. Absent: not known."""

    requests: Mapping[Key, float] = field(default_factory=dict)
    request_rates: Mapping[Key, float] = field(default_factory=dict)
    """Per second."""
    error_rates: Mapping[Key, float] = field(default_factory=dict)
    latency_p95_seconds: Mapping[Key, float] = field(default_factory=dict)
    counted: Collection[Key] = ()
    """Models with request counters in the last poll."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Per provider, over the window of rates. Absent: not known."""

    window_seconds: float = 300.0
    requests: Mapping[str, float] = field(default_factory=dict)
    request_rates: Mapping[str, float] = field(default_factory=dict)
    """Per second of ``covered_seconds``."""
    covered_seconds: Mapping[str, float] = field(default_factory=dict)
    """How much of the window is known: less than all of it after a start, or an outage."""
    failures: Mapping[str, float] = field(default_factory=dict)
    rate_limited: Mapping[str, float] = field(default_factory=dict)
    """Requests answered by a rate limit, which are no failures; 0 where the gateway does not tell them apart."""
    caller_errors: Mapping[str, float] = field(default_factory=dict)
    """Requests that their callers got wrong, which are no failures either."""
    failures_counted: bool = False
    """True when the gateway counts failures at all, so that a provider with requests alone had none."""
    counted: frozenset[str] = frozenset()
    """Providers with request counters, known over the window or not."""
    latency_seconds: Mapping[str, float] = field(default_factory=dict)
    latency_p95_seconds: Mapping[str, float] = field(default_factory=dict)
    requests_total: Mapping[str, float] = field(default_factory=dict)
    """The gateway's own counters as they stand."""
    of_models: OfModels = OfModels()

    def error_rate(self, provider: str) -> float | None:
        """Failures among requests, 0-1; None without requests or without counting failures."""
        return self.share("failures", provider)

    def share(self, failure_class: str, provider: str) -> float | None:
        """The same of ``failures``, ``rate_limited`` or ``caller_errors``."""
        counts = {"failures": self.failures, "rate_limited": self.rate_limited, "caller_errors": self.caller_errors}
        requests = self.requests.get(provider, 0.0)
        if not self.failures_counted or requests <= 0:
            return None
        return min(1.0, counts[failure_class].get(provider, 0.0) / requests)

    def fleet_error_rate(self) -> float | None:
        """Failures among all requests, 0-1. No provider has more failures than requests, whatever rounding says."""
        requests = sum(self.requests.values())
        if not self.failures_counted or requests <= 0:
            return None
        failures = (min(count, self.failures.get(provider, 0.0)) for provider, count in self.requests.items())
        return sum(failures) / requests


def measure(window: Window, counters: Counters, given: Collection[str]) -> Traffic:
    """Everything the window gives at the last poll, whose counters these are. Ratios and quantiles are PromQL's.

    ``given`` are the signals the last poll gave: one it did not give is not known, whatever the window still holds.
    """
    index, since = window.index, window.since()
    rises = window.increases(since[index.provider_of])
    counted = "requests" in given
    failures_counted = counted and "failures" in given
    histogram = "latency_histogram" in given
    requests = index.by_provider("requests", rises)
    seconds = np.full(len(since), window.times[-1]) - since if window.times else since
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = requests / seconds
    return Traffic(
        window_seconds=window.seconds,
        requests=_known(index.providers, requests) if counted else {},
        request_rates=_known(index.providers, rates) if counted else {},
        covered_seconds=_known(index.providers, seconds),
        **{
            signal: _known(index.providers, index.by_provider(signal, rises)) if failures_counted else {}
            for signal in FAILURE_CLASSES.values()
        },
        failures_counted=failures_counted,
        counted=frozenset(key.provider for key in counted_keys(index, window, ("requests",))),
        latency_seconds=_averages(index, rises) if histogram else {},
        latency_p95_seconds=dict(_quantiles(index.buckets_by_provider, index.providers, rises)) if histogram else {},
        requests_total=_totals(index, counters),
        of_models=_of_models(window, rises, seconds, given),
    )


def counted_keys(index: SeriesIndex, window: Window, signals: Collection[str]) -> list[Key]:
    """The keys that the last poll gave counters of these signals for."""
    there = np.zeros(len(index.keys), dtype=bool)
    for signal in signals:
        series = index.of_signal(signal)
        there[index.key_of[series[series < len(window.given)]]] = True
    return [index.keys[place] for place in np.flatnonzero(there).tolist()]


def _known(names: Sequence[Name], numbers: Floats) -> dict[Name, float]:
    return {name: number for name, number in zip(names, numbers.tolist(), strict=True) if number == number}


def _of_models(window: Window, rises: Floats, seconds: Floats, given: Collection[str]) -> OfModels:
    """``seconds`` are those that the rises of each provider's counters took."""
    index, counted = window.index, "requests" in given
    requests, failures = index.by_key("requests", rises), np.nan_to_num(index.by_key("failures", rises))
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = requests / seconds[index.provider_of_key]
        error_rates = np.where(requests > 0, np.minimum(1.0, failures / requests), np.nan)
    quantiles = _quantiles(index.buckets_by_key, index.keys, rises) if "latency_histogram" in given else ()
    return OfModels(
        requests=_of_named_models(index, requests) if counted else {},
        request_rates=_of_named_models(index, rates) if counted else {},
        error_rates=_of_named_models(index, error_rates) if counted and "failures" in given else {},
        latency_p95_seconds={key: value for key, value in quantiles if key.model},
        counted=[key for key in counted_keys(index, window, ("requests",)) if key.model],
    )


def _of_named_models(index: SeriesIndex, numbers: Floats) -> dict[Key, float]:
    return {key: number for key, number in _known(index.keys, numbers).items() if key.model}


def _averages(index: SeriesIndex, rises: Floats) -> dict[str, float]:
    seconds, counts = index.by_provider("latency_sum", rises), index.by_provider("latency_count", rises)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _known(index.providers, np.where(counts > 0, seconds / counts, np.nan))


def _quantiles(buckets: Buckets, owners: Sequence[Name], rises: Floats) -> Iterator[tuple[Name, float]]:
    """The 95th percentile of each histogram that has observations."""
    counts = sums(rises[buckets.series], buckets.group_of, len(buckets.bounds))
    pairs = list(zip(buckets.bounds.tolist(), counts.tolist(), strict=True))
    starts = buckets.starts.tolist()
    for place, owner in enumerate(buckets.owners.tolist()):
        its = pairs[starts[place] : starts[place + 1]]
        value = histogram_quantile(0.95, [(bound, count) for bound, count in its if count == count])
        if value is not None:
            yield owners[owner], value


def _totals(index: SeriesIndex, counters: Counters) -> dict[str, float]:
    series = index.of_signal("requests")
    series = series[series < len(counters.numbers)]
    return _known(index.providers, sums(counters.numbers[series], index.provider_of[series], len(index.providers)))


@dataclass(frozen=True, slots=True)
class Added:
    """What one poll added to a circuit: a model's counters, or a provider's as the sum of its models."""

    successes: float = 0.0
    failures: float = 0.0
    rejected: float = 0.0


class Arrivals:
    """What one poll added, by key and by provider.

    ``requests``, ``failures``, ``rate_limited``, ``caller_errors``, ``rejected`` and ``successes`` are arrays, by key.
    What was rate limited neither failed nor succeeded; a caller's mistake was finished, so it is a success.
    """

    def __init__(self, rises: Rises) -> None:
        self.index = rises.index
        self._amounts, self._present = rises.amounts, rises.present
        self.requests, self.failures = self.by_key("requests"), self.by_key("failures")
        self.rate_limited, self.caller_errors = self.by_key("rate_limited"), self.by_key("caller_errors")
        self.successes = np.maximum(0.0, self.requests - self.failures - self.rate_limited)
        self.rejected = self.by_key("rejected")
        self.begins = self._begins(rises)

    def by_key(self, signal: str) -> Floats:
        """A signal's rises by key; 0 where nothing is known."""
        return np.nan_to_num(self.index.by_key(signal, self._amounts))

    def counted(self, signal: str) -> dict[Key, float]:
        """The same for the keys that have such a counter in this poll."""
        series = self.index.of_signal(signal)
        places = np.unique(self.index.key_of[series[self._present[series]]])
        return dict(zip([self.index.keys[it] for it in places], self.by_key(signal)[places].tolist(), strict=True))

    def of(self, key: Key) -> Added:
        """What was added to a circuit."""
        if key.model:
            place = self.index.place_of_key.get(key)
            places = slice(0, 0) if place is None else slice(place, place + 1)
        else:
            places = self._places_of(key.provider)
        requests, failures = float(self.requests[places].sum()), float(self.failures[places].sum())
        rate_limited = float(self.rate_limited[places].sum())
        return Added(max(0.0, requests - failures - rate_limited), failures, float(self.rejected[places].sum()))

    def with_rejections(self) -> list[str]:
        """Providers some of whose requests were rejected."""
        places = np.unique(self.index.provider_of_key[self.rejected > 0])
        return [self.index.providers[place] for place in places.tolist()]

    def moves(self) -> dict[Key, dict[tuple[str, str], float]]:
        """How often each circuit made each transition, as far as that is counted."""
        series = self.index.of_signal("transitions")
        moved: dict[Key, dict[tuple[str, str], float]] = {}
        for place in series[self._amounts[series] > 0].tolist():
            counter = self.index.ids[place]
            before, _, now = counter.detail.partition(">")
            edges = moved.setdefault(counter.key, {})
            edges[before, now] = edges.get((before, now), 0.0) + float(self._amounts[place])
        return moved

    def _places_of(self, provider: str) -> slice:
        """Where a provider's keys stand: together, as keys are sorted."""
        place = self.index.place_of_provider.get(provider)
        if place is None:
            return slice(0, 0)
        first, last = np.searchsorted(self.index.provider_of_key, (place, place + 1))
        return slice(int(first), int(last))

    def _begins(self, rises: Rises) -> Floats:
        """From when on each key's requests and failures came, that did."""
        begins = np.full(len(self.index.keys), np.inf)
        for signal in ("requests", *FAILURE_CLASSES.values()):
            series = self.index.of_signal(signal)
            series = series[rises.amounts[series] > 0]
            np.minimum.at(begins, self.index.key_of[series], rises.begins[series])
        return begins
