"""What is known of each model: traffic and latency where they are counted by model, and the status that follows."""

from __future__ import annotations

import pytest

from bridge.health.score import model_status
from bridge.model import MODEL_METRICS, CircuitState, Key, Status
from bridge.policy import BreakerPolicy, Policy
from tests.health.polls import Bridge, says

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
UNKNOWN, HEALTHY, DEGRADED, DOWN = Status


def model(bridge: Bridge, name: str = "groq/a") -> dict[str, float | None]:
    """All metrics of a model."""
    provider, _, its = name.partition("/")
    return {metric: bridge.snapshot.models.of(metric).get(Key(provider, its)) for metric in MODEL_METRICS}


def test_traffic_and_latency_are_those_of_the_model_alone() -> None:
    bridge = Bridge()
    for n in range(41):
        fast = {"1": 100 + 4 * n, "2": 100 + 4 * n, "+Inf": 100 + 4 * n}
        slow = {"1": 50, "2": 50 + 2 * n, "+Inf": 50 + 2 * n}
        bridge.poll(
            says(
                requests={"groq/a": 100 + 4 * n, "groq/b": 50 + 2 * n},
                failures={"groq/a": 0, "groq/b": n},
                buckets={"groq/a": fast, "groq/b": slow},
            )
        )
    assert model(bridge, "groq/a") == {
        "model_status": HEALTHY,
        "model_circuit_breaker_state": CLOSED,
        "model_error_rate": 0,
        "model_request_rate": 0.267,
        "model_latency_p95_seconds": 0.95,
    }
    assert model(bridge, "groq/b") == {
        "model_status": DOWN,
        "model_circuit_breaker_state": CLOSED,
        "model_error_rate": 0.5,
        "model_request_rate": 0.133,
        "model_latency_p95_seconds": 1.95,
    }
    assert bridge.value("groq", "provider_request_rate") == 0.4, "and they add up"


def test_a_provider_counted_as_a_whole_has_no_models() -> None:
    bridge = Bridge()
    for n in (0, 10):
        bridge.poll(says(requests={"groq": n}, failures={"groq": 0}, buckets={"groq": {"1": n, "+Inf": n}}))
    assert bridge.snapshot.models.keys == ()


def test_what_the_last_poll_did_not_give_is_not_known() -> None:
    bridge = Bridge()
    for n in (0, 10, 20):
        bridge.poll(says(requests={"groq/a": n}, failures={"groq/a": 0}, buckets={"groq/a": {"1": n, "+Inf": n}}))
    bridge.poll(says(circuits={"groq/a": "CLOSED"}))
    known = {metric: value for metric, value in model(bridge).items() if value is not None}
    assert known == {"model_status": HEALTHY, "model_circuit_breaker_state": CLOSED}


@pytest.mark.parametrize(
    ("reported", "requests", "error_rate", "status"),
    [
        pytest.param([], 0, None, UNKNOWN, id="nothing is known"),
        pytest.param([], 100, None, UNKNOWN, id="requests alone say nothing"),
        pytest.param([], 100, 0.0, HEALTHY, id="no request failed"),
        pytest.param([], 1, 0.0, HEALTHY, id="not even the only one"),
        pytest.param([], 1, 1.0, UNKNOWN, id="the only one failed: too few to say"),
        pytest.param([], 9.9, 0.5, UNKNOWN, id="still too few"),
        pytest.param([], 10, 0.5, DOWN, id="enough of them"),
        pytest.param([], 100, 0.49, DEGRADED, id="many failed"),
        pytest.param([], 100, 0.1, DEGRADED, id="just many enough"),
        pytest.param([], 100, 0.09, HEALTHY, id="some always fail"),
        pytest.param([CLOSED], 0, None, HEALTHY, id="idle, and its circuit is closed"),
        pytest.param([CLOSED], 2, 1.0, HEALTHY, id="two requests do not speak against the gateway"),
        pytest.param([CLOSED], 50, 0.6, DOWN, id="fifty do"),
        pytest.param([OPEN], 50, 0.0, DOWN, id="an open circuit counts at once"),
        pytest.param([HALF_OPEN], 50, 0.0, DEGRADED, id="and one that is tried"),
        pytest.param([CLOSED, OPEN], 0, None, DOWN, id="that of its provider is open"),
    ],
)
def test_a_status_follows_from_reported_circuits_and_the_error_rate(
    reported: list[CircuitState], requests: float, error_rate: float | None, status: Status
) -> None:
    assert model_status(reported, requests, error_rate, BreakerPolicy()) is status


def test_a_derived_circuit_decides_no_status() -> None:
    bridge = Bridge(Policy(BreakerPolicy(failure_threshold=3)))
    for n in (0, 3):
        bridge.poll(says(requests={"groq/a": n}, failures={"groq/a": n}))
    assert bridge.states() == {"groq/a": "OPEN"}
    assert model(bridge)["model_status"] == UNKNOWN


def test_all_models_of_a_provider_whose_own_circuit_is_open_are_down() -> None:
    bridge = Bridge()
    for n in (0, 20):
        bridge.poll(
            says(circuits={"groq": "OPEN"}, requests={"groq/a": n, "xai/b": n}, failures={"groq/a": 0, "xai/b": 0})
        )
    assert (model(bridge, "groq/a")["model_status"], model(bridge, "xai/b")["model_status"]) == (DOWN, HEALTHY)


def test_a_line_that_is_missing_in_one_poll_makes_no_model_better_than_it_was() -> None:
    bridge = Bridge()
    for circuits in ({"groq/a": "OPEN", "xai/b": "CLOSED"}, {"xai/b": "CLOSED"}):
        bridge.poll(says(circuits=circuits))
        assert model(bridge)["model_status"] == DOWN


def test_the_models_of_a_provider_that_is_gone_are_gone_with_it() -> None:
    bridge = Bridge()
    for n in range(10):
        bridge.poll(says(requests={"groq/a": 100 + 4 * n, "openai/b": 4 * n}, failures={"groq/a": 0, "openai/b": 0}))
    for n in range(10, 14):
        bridge.poll(says(requests={"openai/b": 4 * n}, failures={"openai/b": 0}))
    assert "groq" not in [verdict.provider for verdict in bridge.snapshot.verdicts]
    assert set(model(bridge, "groq/a").values()) == {None}
    assert model(bridge, "openai/b")["model_request_rate"] is not None
