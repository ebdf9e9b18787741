"""What a provider's requests came to beside success and failure, for ``explain``: rate limits and callers' mistakes."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.health.rounding import rounded
from bridge.health.traffic import Traffic
from bridge.model import Evidence, Signals

METRICS: Mapping[str, str] = {
    "rate_limited": "provider_rate_limited_ratio",
    "caller_errors": "provider_caller_error_ratio",
}
"""The metric that each class is shown as."""
_TOLD = {
    "rate_limited": ("rate limited", "429 and 408: counted apart, neither failures nor successes"),
    "caller_errors": ("callers' mistakes", "400, 404, 413, 422 and their like: finished, not failed"),
}


def ratios(signals: Signals, traffic: Traffic, provider: str) -> dict[str, float | None]:
    """Each class's share of the requests over the window of rates, 0-1, by metric; None where it is not known."""
    known = bool(signals.failures_told_apart_by)
    return {
        metric: rounded(metric, traffic.share(classed, provider)) if known else None
        for classed, metric in METRICS.items()
    }


def evidence(signals: Signals, traffic: Traffic, provider: str, span: str) -> list[Evidence]:
    """The classes as they stand over ``span``; or that the gateway does not tell them apart, so that all are failures.

    Nothing of a provider whose failures are not counted.
    """
    if not traffic.failures_counted or provider not in traffic.counted:
        return []
    family, dialect = signals.sources["failures"]
    source = f"{family} ({dialect})"
    if not signals.failures_told_apart_by:
        told = (
            "the gateway does not tell rate limits and callers' mistakes from failures: all of them count as failures"
        )
        return [Evidence("failure classes", None, "", source, told)]
    source = f"bridge, from {source} by {', '.join(signals.failures_told_apart_by)}"
    shares = ratios(signals, traffic, provider)
    return [
        Evidence(name, shares[METRICS[classed]], "ratio", source, f"{span}; {meaning}")
        for classed, (name, meaning) in _TOLD.items()
    ]
