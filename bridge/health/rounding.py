"""Numbers rounded to what they mean, once, when a poll is assessed: every worker, restart and face then agrees."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import overload

import numpy as np
from numpy.typing import NDArray

Decimals = Callable[[float], int]


def _seconds(value: float) -> int:
    return 3 if abs(value) < 10 else 1


PERCENT, UPTIME, RATIO, RATE, COST = 1, 2, 4, 3, 6
_DECIMALS: Mapping[str, int | Decimals] = {
    "provider_health_score": PERCENT,
    "provider_availability": PERCENT,
    "provider_uptime": UPTIME,
    "provider_error_rate": RATIO,
    "provider_rate_limited_ratio": RATIO,
    "provider_caller_error_ratio": RATIO,
    "provider_latency_seconds": _seconds,
    "provider_latency_p95_seconds": _seconds,
    "provider_request_rate": RATE,
    "provider_cost_usd": COST,
    "model_error_rate": RATIO,
    "model_request_rate": RATE,
    "model_latency_p95_seconds": _seconds,
    "fleet_health_score": PERCENT,
    "fleet_error_rate": RATIO,
    "fleet_request_rate": RATE,
    "fleet_cost_usd": COST,
    "gateway_data_age_seconds": _seconds,
    "gateway_poll_seconds": _seconds,
}
"""Decimals that mean something, by metric; what is not named here is not rounded (the gateway's own score, counts)."""
_WHOLE = {PERCENT: 100.0, UPTIME: 100.0, RATIO: 1.0}
"""What is not quite all of it does not become all of it."""


def rounded_all(metric: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same of many values; NaN stays."""
    if metric not in _DECIMALS:
        return values
    distinct, places = np.unique(values, return_inverse=True)
    of_distinct = np.array([rounded(metric, value) for value in distinct.tolist()], dtype=np.float64)
    return of_distinct[places].reshape(values.shape)


@overload
def rounded(metric: str, value: float) -> float: ...
@overload
def rounded(metric: str, value: float | None) -> float | None: ...
def rounded(metric: str, value: float | None) -> float | None:
    """A metric's value as it is shown and kept; None stays None.

    Never to fewer than two significant digits, never to 0 unless it is 0, and never up to 100 % unless it is that.
    """
    decimals = _DECIMALS.get(metric)
    if value is None or decimals is None or value == 0 or not math.isfinite(value):
        return value
    wanted = decimals if isinstance(decimals, int) else decimals(value)
    digits = max(wanted, 1 - math.floor(math.log10(abs(value))))
    shown = round(value, digits)
    whole = None if callable(decimals) else _WHOLE.get(decimals)
    if whole is not None and shown == whole and value < whole:
        return round(whole - 10.0**-digits, digits)
    return shown


def rounded_seconds(value: float) -> float:
    """A length of time as it is shown, in seconds."""
    return rounded("gateway_data_age_seconds", value)
