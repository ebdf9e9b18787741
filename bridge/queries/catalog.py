"""Every metric that can be asked for, declared once: level, unit, what is worst, and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bridge.health.score import DEGRADED_BELOW, DOWN_BELOW
from bridge.policy import Policy
from bridge.queries.targets import TargetError, nearest

CIRCUIT_WORDS = {0: "CLOSED", 1: "OPEN", 2: "HALF_OPEN"}
STATUS_WORDS = {0: "unknown", 1: "healthy", 2: "degraded", 3: "down"}
LABELS = {"provider": ("provider",), "model": ("provider", "model"), "status": ("status",), "fleet": ()}
"""Each level's labels."""
_POLICY = Policy()
_SCORE_LEVELS = (DEGRADED_BELOW, DOWN_BELOW)
_ERROR_RATE_LEVELS = (0.05, _POLICY.breaker.failure_rate)
_LATENCY_LEVELS = (_POLICY.latency_good_seconds, _POLICY.latency_bad_seconds)
LEVELS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "provider_health_score": _SCORE_LEVELS,
        "provider_reported_health_score": _SCORE_LEVELS,
        "fleet_health_score": _SCORE_LEVELS,
        "provider_availability": (99.0, 50.0),
        "provider_error_rate": _ERROR_RATE_LEVELS,
        "model_error_rate": _ERROR_RATE_LEVELS,
        "fleet_error_rate": _ERROR_RATE_LEVELS,
        "provider_latency_seconds": _LATENCY_LEVELS,
        "provider_latency_p95_seconds": _LATENCY_LEVELS,
        "model_latency_p95_seconds": _LATENCY_LEVELS,
    }
)
"""From where on a dashboard draws a metric's values as degraded, and as down; others are not good or bad in themselves.

Only for the eye: what a status is made of is decided in ``bridge.health.score``.
"""
WITHOUT_WORST = frozenset(
    {
        "provider_request_rate",
        "provider_cost_usd",
        "provider_circuits",
        "model_request_rate",
        "fleet_request_rate",
        "fleet_requests",
        "fleet_cost_usd",
        "fleet_providers",
    }
)
"""Metrics of which more is neither better nor worse."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``level`` is ``provider``, ``model``, ``status`` or ``fleet`` (a key of ``LABELS``).

    ``unit`` is Grafana's unit id. ``worst`` says which of several values a step shows: ``low``, ``high``, or the
    severity of a ``circuit`` or a ``status``.
    """

    name: str
    level: str
    unit: str
    worst: str
    meaning: str

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels its series carry."""
        return LABELS[self.level]

    @property
    def words(self) -> Mapping[int, str]:
        """What its numbers are called, for states; empty for quantities."""
        return {"circuit": CIRCUIT_WORDS, "status": STATUS_WORDS}.get(self.worst, {})

    @property
    def has_worst(self) -> bool:
        """Whether its values are good or bad in themselves."""
        return self.name not in WITHOUT_WORST

    @property
    def levels(self) -> tuple[float, float] | None:
        """Its entry in ``LEVELS``: where it looks degraded, and where down."""
        return LEVELS.get(self.name)


_METRICS = (
    Metric("provider_health_score", "provider", "percent", "low", "health score, 0-100, by the bridge"),
    Metric("provider_reported_health_score", "provider", "percent", "low", "the gateway's own score, untouched"),
    Metric("provider_status", "provider", "none", "status", "0 unknown, 1 healthy, 2 degraded, 3 down"),
    Metric(
        "provider_circuit_breaker_state", "provider", "none", "circuit", "worst circuit: 0 CLOSED, 1 OPEN, 2 HALF_OPEN"
    ),
    Metric("provider_open_circuits", "provider", "none", "high", "how many of its circuits are OPEN"),
    Metric("provider_circuits", "provider", "none", "low", "how many circuits it has"),
    Metric("provider_error_rate", "provider", "percentunit", "high", "failures among requests, 0-1, over 5 minutes"),
    Metric("provider_rate_limited_ratio", "provider", "percentunit", "high", "requests that met a rate limit, 0-1"),
    Metric("provider_caller_error_ratio", "provider", "percentunit", "high", "requests their callers got wrong, 0-1"),
    Metric("provider_availability", "provider", "percent", "low", "availability, 0-100"),
    Metric("provider_latency_seconds", "provider", "s", "high", "average latency"),
    Metric("provider_latency_p95_seconds", "provider", "s", "high", "95th percentile of latency, over 5 minutes"),
    Metric("provider_request_rate", "provider", "reqps", "high", "requests per second, over 5 minutes"),
    Metric("provider_cost_usd", "provider", "currencyUSD", "high", "cost, as the gateway counts it"),
    Metric("model_status", "model", "none", "status", "0 unknown, 1 healthy, 2 degraded, 3 down"),
    Metric("model_circuit_breaker_state", "model", "none", "circuit", "0 CLOSED, 1 OPEN, 2 HALF_OPEN"),
    Metric("model_error_rate", "model", "percentunit", "high", "failures among requests, 0-1, over 5 minutes"),
    Metric("model_request_rate", "model", "reqps", "high", "requests per second, over 5 minutes"),
    Metric("model_latency_p95_seconds", "model", "s", "high", "95th percentile of latency, over 5 minutes"),
    Metric("fleet_health_score", "fleet", "percent", "low", "mean of the providers' health scores"),
    Metric("fleet_open_circuits", "fleet", "none", "high", "how many circuits are OPEN"),
    Metric("fleet_providers", "status", "none", "high", "how many providers have each status"),
    Metric("fleet_error_rate", "fleet", "percentunit", "high", "failures among all requests, 0-1, over 5 minutes"),
    Metric("fleet_request_rate", "fleet", "reqps", "high", "requests per second, over 5 minutes"),
    Metric("fleet_requests", "fleet", "none", "high", "requests, as the gateway's own counters stand"),
    Metric("fleet_cost_usd", "fleet", "currencyUSD", "high", "cost, as the gateway counts it"),
    Metric("gateway_up", "fleet", "none", "low", "1 when the last poll succeeded, 0 when it failed"),
    Metric("gateway_data_age_seconds", "fleet", "s", "high", "age of the last good poll"),
    Metric("gateway_poll_seconds", "fleet", "s", "high", "how long the poll took"),
)
METRICS: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in _METRICS})
OLD_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "avg_health_score": "fleet_health_score",
        "total_requests": "fleet_requests",
        "total_cost": "fleet_cost_usd",
        "error_rate": "fleet_error_rate",
    }
)
"""Names of the service this one replaces, and the metrics they mean."""
TABLES: Mapping[str, str] = MappingProxyType(
    {
        "providers": "a row a provider, worst first",
        "circuits": "a row a circuit, worst first",
        "transitions": "what changed in the range, newest first",
        "incidents": "the incidents of the range, newest first; those of one provider under the fleet's",
        "uptime": "for how long each provider had which status, over 24 hours, 7 and 30 days",
        "explain": 'each number behind a verdict, as explain{provider="openai"}',
        "freshness": "one row that says whether the data is fresh, stale (since when, why) or never read",
        "annotations": "what happened in the range, drawn over a panel of series; listed as a table",
    }
)
TABLE_LABELS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "providers": ("provider", "status"),
        "circuits": ("provider", "model", "state"),
        "transitions": ("provider", "model", "kind"),
        "incidents": ("provider", "status", "phase"),
        "uptime": ("provider",),
        "explain": ("provider",),
        "freshness": (),
        "annotations": ("provider", "model", "kind"),
    }
)
"""What each table's rows can be chosen by."""


def labels_of(name: str) -> tuple[str, ...]:
    """The labels that a metric's series, or a table's rows, can be chosen by. Raises TargetError as ``metric`` does."""
    return TABLE_LABELS[name] if name in TABLE_LABELS else metric(name).labels


def metric(name: str) -> Metric:
    """The metric of this name, or old name. Raises TargetError with the nearest one when there is none."""
    found = METRICS.get(OLD_NAMES.get(name, name))
    if found is None:
        close = nearest(name, [*METRICS, *OLD_NAMES, *TABLES])
        raise TargetError(
            f"unknown metric {name[:80]!r}" + (f"; did you mean {close!r}?" if close else ""),
            "POST /search lists every metric and table",
        )
    return found
