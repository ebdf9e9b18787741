"""What the counters say of each provider over the window of rates: requests, failures, latency."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from bridge.health.memory import RATE_WINDOW_SECONDS, Memory
from bridge.health.windows import Group, by_signal, histogram_quantile, sums
from bridge.model import CounterId, Key


@dataclass(frozen=True, slots=True)
class Traffic:
    """Per provider, over the last five minutes unless the name says otherwise. Absent: not known."""

    requests: Mapping[str, float] = field(default_factory=dict)
    failures: Mapping[str, float] = field(default_factory=dict)
    failures_counted: bool = False
    """True when the gateway counts failures at all, so that a provider with requests alone had none."""
    counted: frozenset[str] = frozenset()
    """Providers with request counters, known over the window or not."""
    error_rate_hour: Mapping[str, float] = field(default_factory=dict)
    model_error_rates: Mapping[Key, float] = field(default_factory=dict)
    latency_seconds: Mapping[str, float] = field(default_factory=dict)
    latency_p95_seconds: Mapping[str, float] = field(default_factory=dict)
    requests_total: Mapping[str, float] = field(default_factory=dict)
    """The gateway's own counters as they stand."""

    def error_rate(self, provider: str) -> float | None:
        """Failures among requests, 0-1; None without requests or without counting failures."""
        requests = self.requests.get(provider, 0.0)
        if not self.failures_counted or requests <= 0:
            return None
        return min(1.0, self.failures.get(provider, 0.0) / requests)

    def request_rate(self, provider: str) -> float | None:
        """Requests per second."""
        requests = self.requests.get(provider)
        return None if requests is None else requests / RATE_WINDOW_SECONDS


def measure(memory: Memory, given: Collection[str]) -> Traffic:
    """Everything the windows give at the last poll. Ratios and quantiles are PromQL's on the same samples.

    ``given`` are the signals the last poll gave: one it did not give is not known, whatever the window still holds.
    """
    recent = by_signal(memory.recent.increases())
    counters = [counter for counter in memory.counters if counter.signal == "requests"]
    counted = "requests" in given
    failures_counted = counted and "failures" in given
    histogram = "latency_histogram" in given
    model_rates = _ratios(recent, _key) if failures_counted else {}
    return Traffic(
        requests=sums(recent["requests"], _provider) if counted else {},
        failures=sums(recent["failures"], _provider) if failures_counted else {},
        failures_counted=failures_counted,
        counted=frozenset(counter.provider for counter in counters),
        error_rate_hour=_ratios(by_signal(memory.hour.increases()), _provider) if failures_counted else {},
        model_error_rates={key: rate for key, rate in model_rates.items() if key.model},
        latency_seconds=_averages(recent) if histogram else {},
        latency_p95_seconds=_quantiles(recent, 0.95) if histogram else {},
        requests_total=sums({counter: memory.counters[counter] for counter in counters}, _provider),
    )


def _provider(counter: CounterId) -> str:
    return counter.provider


def _bucket(counter: CounterId) -> tuple[str, str]:
    return counter.provider, counter.detail


def _key(counter: CounterId) -> Key:
    return counter.key


Rises = Mapping[str, Mapping[CounterId, float]]


def _ratios(rises: Rises, group: Callable[[CounterId], Group]) -> dict[Group, float]:
    requests, failures = sums(rises["requests"], group), sums(rises["failures"], group)
    return {name: min(1.0, failures.get(name, 0.0) / count) for name, count in requests.items() if count > 0}


def _averages(rises: Rises) -> dict[str, float]:
    seconds, counts = sums(rises["latency_sum"], _provider), sums(rises["latency_count"], _provider)
    return {name: seconds[name] / count for name, count in counts.items() if count > 0 and name in seconds}


def _quantiles(rises: Rises, quantile: float) -> dict[str, float]:
    buckets: dict[str, dict[float, float]] = {}
    for (provider, bound), rise in sums(rises["latency_bucket"], _bucket).items():
        buckets.setdefault(provider, {})[float(bound)] = rise
    values = {name: histogram_quantile(quantile, by_bound.items()) for name, by_bound in buckets.items()}
    return {name: value for name, value in values.items() if value is not None}
