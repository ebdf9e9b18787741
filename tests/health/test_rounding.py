"""Numbers are rounded to what they mean, and never to what they are not."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.health.rounding import rounded
from bridge.model import FLEET_METRICS, PROVIDER_METRICS


@pytest.mark.parametrize(
    ("metric", "value", "shown"),
    [
        ("provider_availability", 90.00000000000001, 90.0),
        ("provider_health_score", 61.249, 61.2),
        ("provider_health_score", 99.97, 99.9),
        ("provider_health_score", 100.0, 100.0),
        ("provider_error_rate", 1 / 3, 0.3333),
        ("provider_error_rate", 0.99999, 0.9999),
        ("provider_error_rate", 0.0000123, 0.000012),
        ("provider_error_rate", 0.0, 0.0),
        ("provider_latency_p95_seconds", 6.90049, 6.9),
        ("provider_latency_p95_seconds", 12.349, 12.3),
        ("provider_latency_seconds", 0.00001234, 0.000012),
        ("provider_request_rate", 80 / 300, 0.267),
        ("provider_cost_usd", 0.1 + 0.2, 0.3),
        ("provider_reported_health_score", 97.123456789, 97.123456789),
        ("provider_open_circuits", 3.0, 3.0),
        ("provider_health_score", None, None),
    ],
)
def test_each_metric_has_its_decimals(metric: str, value: float | None, shown: float | None) -> None:
    assert rounded(metric, value) == shown


@given(st.sampled_from([*PROVIDER_METRICS, *FLEET_METRICS]), st.floats(0, 1e9))
def test_what_is_shown_is_near_keeps_two_digits_and_rounding_it_again_changes_nothing(
    metric: str, value: float
) -> None:
    shown = rounded(metric, value)
    assert shown == rounded(metric, shown)
    assert math.isclose(shown, value, rel_tol=0.06, abs_tol=5e-324)
    assert (shown == 0) == (value == 0)
    for whole in (1.0, 100.0):
        if "rate" in metric and "request" not in metric and whole == 1.0:
            assert (shown >= whole) == (value >= whole)
