"""A bridge with a history that fills every panel, under names that are hard to write in a query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from bridge.model import CircuitState, Event, Evidence, Key, Status
from tests.history.snapshots import T0, Recorder, circuit, snapshot, verdict
from tests.web.conftest import Site

pytest.register_assert_rewrite("tests.grafana.reading", "tests.grafana.drawing")

DAY = 86_400.0
NOW = T0 + 8 * DAY
AWKWARD = "acme (eu) c++ a|b, {x} 'y' 100%&z"
MODELS = {
    "openai": ("gpt-4.1", "gpt-4o"),
    "fireworks": ("meta-llama/Llama-3.1-70B", "llama-v3p1-70b:free"),
    AWKWARD: ("m{1,2}",),
}
KEYS = [(provider, model) for provider, models in MODELS.items() for model in models]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Ten polls to now, and ten at the same time yesterday and 7 days before. One circuit of fireworks opens today."""
    one = Site(tmp_path_factory.mktemp("grafana"), history_retention_seconds=15 * DAY)
    one.now = NOW + 5.0
    for days in (7, 1, 0):
        for number in range(10):
            at = NOW - days * DAY - 15.0 * (9 - number)
            begins = [Event(at, "circuit", *key, "", "CLOSED", "reported by the gateway") for key in KEYS]
            tell(one.log, at, number, begins if (days, number) == (7, 0) else [], opens=days == 0 and number >= 5)
    yield one
    one.close()


def tell(log: Recorder, at: float, number: int, begins: Sequence[Event], *, opens: bool) -> None:
    opened = at - 15.0 * (number - 5) if opens else None
    happens = [
        Event(at, "circuit", "fireworks", MODELS["fireworks"][0], "CLOSED", "OPEN", "reported by the gateway"),
        Event(at, "status", "fireworks", "", "healthy", "degraded", "1 of 2 circuits OPEN"),
    ]
    log.good(
        snapshot(
            at,
            [_verdict(provider, opened) for provider in MODELS],
            [_circuit(provider, model, opened) for provider, model in KEYS],
            fleet={
                "fleet_health_score": 91.0,
                "fleet_open_circuits": float(opens),
                "fleet_error_rate": 0.01,
                "fleet_request_rate": 12.5,
            },
            model_error_rates={Key(*key): 0.01 for key in KEYS},
        ),
        *begins,
        *(happens if opens and number == 5 else ()),
    )


def _verdict(provider: str, opened: float | None) -> object:
    failing = opened is not None and provider == "fireworks"
    return verdict(
        provider,
        Status.DEGRADED if failing else Status.HEALTHY,
        health_score=72.0 if failing else 99.0,
        reported_health_score=97.0,
        circuit_breaker_state=float(failing),
        open_circuits=float(failing),
        circuits=float(len(MODELS[provider])),
        error_rate=0.3 if failing else 0.01,
        availability=50.0 if failing else 100.0,
        latency_seconds=0.8,
        latency_p95_seconds=1.9,
        request_rate=4.0,
        cost_usd=0.5,
        evidence=[Evidence("status", 2.0 if failing else 1.0, "status", "bridge", "as its circuits are")],
    )


def _circuit(provider: str, model: str, opened: float | None) -> object:
    if opened is None or model != MODELS["fireworks"][0]:
        return circuit(provider, model)
    return circuit(provider, model, CircuitState.OPEN, since=opened, first_opened=opened, opens=(opened,))
