"""The thresholds by which providers are judged: frozen values, read from the environment elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

RATE_WINDOW_SECONDS = 300.0
RATE_WINDOW_POLLS = 4
GAP_INTERVALS = 1.75
"""Two polls further apart than this many intervals have a missed one between them; no closer ones have, by jitter."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When the derived circuit breaker opens, tries again and closes."""

    failure_threshold: int = 5
    """Failures within the window that open a circuit, when not one request succeeded."""
    success_threshold: int = 2
    """Successes in HALF_OPEN that close it."""
    timeout_seconds: float = 60.0
    """How long it stays OPEN before it is tried again."""
    window_seconds: float = 60.0
    """How far back requests count."""
    failure_rate: float = 0.5
    """Share of failures (0-1) that opens a circuit, given enough requests."""
    min_requests: int = 10
    """Requests within the window below which the failure rate says nothing."""
    half_open_max_failures: int = 2
    """Failures in HALF_OPEN that open it again."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything a verdict on a provider is measured against."""

    breaker: BreakerPolicy = BreakerPolicy()
    latency_good_seconds: float = 2.0
    """A 95th percentile at or below this scores 1."""
    latency_bad_seconds: float = 10.0
    """A 95th percentile at or above this scores 0."""
    poll_interval_seconds: float = 15.0

    @property
    def rate_window_seconds(self) -> float:
        """How far back rates look: five minutes, or four polls where these are further apart."""
        return max(RATE_WINDOW_SECONDS, RATE_WINDOW_POLLS * self.poll_interval_seconds)
