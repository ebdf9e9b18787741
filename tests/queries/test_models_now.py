"""What each model's metrics say now: the latest poll's values, and nothing that is too old to count as now."""

from __future__ import annotations

import math

import pytest

from bridge.history.store import Latest
from bridge.model import MODEL_METRICS, Key, ModelNumbers, Poll, Reading, Snapshot
from bridge.queries.catalog import METRICS
from bridge.queries.series import current
from bridge.queries.targets import Target
from bridge.queries.view import View

AT = 1_800_000_000.0
KEYS = (Key("groq", "a"), Key("xai", "b"))


def now(metric: str, age: float) -> dict[tuple[str, ...], float]:
    """A metric's values by labels, so long after the poll."""
    models = ModelNumbers.from_values({name: dict(zip(KEYS, (1.0, 3.0), strict=True)) for name in MODEL_METRICS})
    latest = Latest(1, Poll(AT, 15.0, "ok", "", 0.1), Snapshot(AT, (), (), models, {}), None, Reading(AT, 0.0, ""))
    series = current(View(AT + age, latest, 45.0), METRICS[metric], Target(metric, metric, (), None), ())
    return {tuple(one.labels.values()): float(one.values[-1]) for one in series}


@pytest.mark.parametrize("metric", [name for name in MODEL_METRICS if name != "model_circuit_breaker_state"])
def test_they_are_those_of_the_latest_poll(metric: str) -> None:
    assert now(metric, 2.0) == {("groq", "a"): 1.0, ("xai", "b"): 3.0}


def test_while_the_data_is_stale_a_status_is_unknown_and_the_rest_is_not_known() -> None:
    assert now("model_status", 60.0) == {("groq", "a"): 0.0, ("xai", "b"): 0.0}
    for metric in ("model_error_rate", "model_request_rate", "model_latency_p95_seconds"):
        assert all(math.isnan(value) for value in now(metric, 60.0).values())
