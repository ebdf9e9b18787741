"""A broken gateway is a fact to show: stale, since when and why; and the first good poll brings everything back."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.service.harness import Gateway, Service, wait_until

pytestmark = pytest.mark.service

STALE_AFTER = 3.0
"""Three intervals of a second, the default."""
SCORES = {"openai": 98.2, "openrouter": 100.0}


def ready(service: Service) -> bool:
    return service.get("/ready").status == 200


@pytest.fixture
def started(service: Callable[..., Service]) -> Service:
    """A service that has polled and knows its two providers."""
    running = service()
    wait_until(lambda: ready(running), "there is a first poll")
    assert latest(running, "provider_health_score") == SCORES
    return running


def latest(service: Service, metric: str) -> dict[str, float | None]:
    values = service.values(metric)
    return {provider: value if value is None else round(value, 6) for provider, [value] in values.items()}


def of_fleet(service: Service, metric: str) -> float | None:
    [series] = service.query(metric)
    value: float | None = series["datapoints"][-1][0]
    return value


@pytest.mark.parametrize(
    ("fault", "outcome", "said"),
    [
        ("error", "server_error", "500"),
        ("close", "reset", "clos"),
        ("hang", "timeout", "1 s"),
    ],
)
def test_an_outage_turns_values_into_unknown_never_into_zero_and_ends_with_the_first_good_poll(
    started: Service, gateway: Gateway, fault: str, outcome: str, said: str
) -> None:
    good = gateway.answer
    last_good = started.summary()["snapshot_time"] / 1000
    gateway.answer = fault
    broken_at = time.time()

    seen = []
    while (now := time.time()) < broken_at + STALE_AFTER + 4 and ready(started):
        seen.append(latest(started, "provider_health_score"))
        time.sleep(0.1)
    assert not ready(started)
    assert now >= last_good + STALE_AFTER - 0.001, "values were given up before STALE_AFTER had passed"
    assert all(values in (SCORES, dict.fromkeys(SCORES)) for values in seen)
    assert SCORES in seen

    for metric in ("provider_health_score", "provider_reported_health_score", "provider_circuit_breaker_state"):
        assert latest(started, metric) == dict.fromkeys(SCORES), metric
    assert latest(started, "provider_status") == dict.fromkeys(SCORES, 0.0)
    assert {row["Status"] for row in started.rows("providers")} == {"unknown"}
    assert {row["State"] for row in started.rows("circuits")} == {"unknown"}
    assert of_fleet(started, "fleet_health_score") is None
    assert of_fleet(started, "fleet_open_circuits") is None
    assert of_fleet(started, "gateway_up") == 0
    assert started.get("/health").status == 200

    refusal = started.get("/ready")
    assert refusal.status == 503
    summary = started.summary()
    assert (summary["status"], summary["gateway"]["outcome"]) == ("stale", outcome)
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(summary["gateway"]["failing_since"]))
    board = started.get("/")
    assert board.status == 200
    [line] = [line for line in board.text.splitlines() if since in line]
    assert said in line
    for said_so in (summary["message"], refusal.text):
        assert since in said_so
        assert said in said_so
    [notice] = started.query("provider_health_score")[0]["meta"]["notices"]
    assert since in notice["text"]

    gateway.answer = good
    wait_until(lambda: ready(started), "the first good poll", 5)
    assert latest(started, "provider_health_score") == SCORES
    assert latest(started, "provider_status") == dict.fromkeys(SCORES, 1.0)
    assert of_fleet(started, "gateway_up") == 1
    assert since not in started.get("/").text
    assert "meta" not in started.query("provider_health_score")[0]

    span = {"range": {"from": f"{(broken_at - 30) * 1000:.0f}", "to": "now"}}
    for provider, values in started.values("provider_health_score", **span).items():
        known = {round(value, 6) for value in values if value is not None}
        assert known == {SCORES[provider]}, "a range over the outage holds a value nobody observed"
        assert values[0] is not None
        assert values[-1] is not None
        assert None in values, "the line does not break where the gateway was down"
    [up] = started.query("gateway_up", **span)
    assert {value for value, _ in up["datapoints"]} == {0.0, 1.0}
    outages = [row for row in started.rows("transitions", **span) if row["Kind"] == "gateway"]
    assert [(row["From"], row["To"]) for row in outages] == [("down", "up"), ("up", "down")]


def test_a_gateway_that_is_down_from_the_start_is_told_and_then_found(
    service: Callable[..., Service], gateway: Gateway
) -> None:
    good, gateway.answer = gateway.answer, "close"
    started = service()
    wait_until(lambda: started.summary()["gateway"]["outcome"], "the first poll has failed")
    assert started.get("/health").status == 200
    assert started.get("/ready").status == 503
    assert started.query("provider_health_score") == []
    assert started.rows("providers") == []
    assert "nothing was ever read" in started.get("/").text
    gateway.answer = good
    wait_until(lambda: ready(started), "the first good poll", 5)
    assert latest(started, "provider_health_score") == SCORES
