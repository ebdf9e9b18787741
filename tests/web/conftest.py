"""The bridge's web side over a hand-made log, with a clock that the test sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from bridge.application import create_app
from bridge.model import CircuitState, Event, Evidence, Status
from bridge.settings import Settings
from tests.history.snapshots import T0, Recorder, circuit, snapshot, verdict
from tests.one_poller import reads

NOW = T0 + 65.0
"""Five seconds after the last of five polls."""
OPEN, CLOSED, HALF_OPEN = CircuitState.OPEN, CircuitState.CLOSED, CircuitState.HALF_OPEN


class Site:
    """One bridge under test: ``now`` is its clock, ``log`` writes its history, the rest asks."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.now = NOW
        given = {"gateway_url": "http://gateway.test", "data_dir": folder / "data", **settings}
        self.app = create_app(Settings(**given), clock=reads(lambda: self.now))
        self.log = Recorder(self.app.extensions["bridge"].store)
        self.client: FlaskClient = self.app.test_client()

    def close(self) -> None:
        self.log.store.close()
        self.app.extensions["bridge"].store.close()

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.client.get(path, headers=headers, buffered=True)  # read to its end and closed, as servers do

    def post(self, path: str, body: object = None, **more: Any) -> TestResponse:
        if isinstance(body, str | bytes):
            return self.client.post(path, data=body, buffered=True, **more)
        return self.client.post(path, json=body, buffered=True, **more)

    def query(self, *targets: str | Mapping[str, Any], **more: Any) -> list[dict[str, Any]]:
        """The answer to a Simple JSON query."""
        asked = [{"target": target} if isinstance(target, str) else target for target in targets]
        response = self.post("/query", {"targets": asked, **more})
        assert response.status_code == 200, response.get_data(as_text=True)
        answer: list[dict[str, Any]] = response.get_json()
        return answer

    def names(self, target: str, **more: Any) -> list[str]:
        """What the series of a target are called."""
        return [series["target"] for series in self.query(target, **more)]


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Makes a site with the given settings: ``sites(bridge_token="…")``."""
    made: list[Site] = []

    def make(**settings: Any) -> Site:
        made.append(Site(tmp_path, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def empty(sites: Callable[..., Site]) -> Site:
    """A bridge that has not polled yet."""
    return sites()


@pytest.fixture
def site(empty: Site) -> Site:
    """A bridge over five polls, from T0 on, of three providers.

    openai is well; one of openrouter's four circuits opened at the fourth poll, so it is degraded; groq is down since
    the third, all its circuits open. The second poll failed.
    """
    tell_the_incident(empty.log)
    return empty


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The history of ``site``, shared by tests that only ask, as no request changes anything."""
    site = Site(tmp_path_factory.mktemp("lasting"))
    tell_the_incident(site.log)
    yield site
    site.close()


def tell_the_incident(log: Recorder) -> None:
    """Write the history of ``site`` down."""
    for number in range(5):
        at = T0 + 15.0 * number
        if number == 1:
            log.failed(at, Event(at, "gateway", "", "", "up", "down", "connection refused"))
            continue
        log.good(fleet(at, number), *events(at, number))


def events(at: float, number: int) -> list[Event]:
    """What changed with the poll of this number."""
    if number == 2:
        return [
            Event(at, "gateway", "", "", "down", "up", "polls succeed again"),
            Event(at, "circuit", "groq", "llama-3.1-8b", "CLOSED", "OPEN", "reported by the gateway"),
            Event(at, "status", "groq", "", "healthy", "down", "its circuit is OPEN"),
        ]
    if number == 3:
        return [
            Event(at, "circuit", "openrouter", "openai/gpt-4o", "CLOSED", "OPEN", "reported by the gateway"),
            Event(at, "status", "openrouter", "", "healthy", "degraded", "1 of 4 circuits OPEN"),
        ]
    if number == 0:
        keys = [("openai", "gpt-4.1"), ("groq", "llama-3.1-8b"), *(("openrouter", model) for model in ROUTED)]
        return [Event(at, "circuit", *key, "", "CLOSED", "reported by the gateway") for key in keys]
    return []


ROUTED = ("openai/gpt-4o", "anthropic/claude", "deepseek/r1", "meta/llama")


def fleet(at: float, number: int) -> Any:
    """The snapshot of the poll of this number."""
    groq_opened = T0 + 30.0 if number >= 2 else None
    routed_opened = T0 + 45.0 if number >= 3 else None
    groq_down, routed_down = groq_opened is not None, routed_opened is not None
    why = f"{'down: its circuit is OPEN' if groq_down else 'healthy: no circuit OPEN'}"
    return snapshot(
        at,
        [
            verdict(
                "openai",
                health_score=98.5 + number / 10,
                reported_health_score=97.0,
                circuit_breaker_state=0.0,
                open_circuits=0.0,
                circuits=1.0,
                error_rate=0.01,
                availability=100.0,
                latency_seconds=0.8,
                latency_p95_seconds=1.9,
                request_rate=12.5,
                evidence=[
                    Evidence("status", 1.0, "status", "bridge", "healthy: no circuit OPEN"),
                    Evidence("error rate", 0.01, "ratio", "bridge, from requests", "over 5 minutes"),
                ],
            ),
            verdict(
                "openrouter",
                Status.DEGRADED if routed_down else Status.HEALTHY,
                since=routed_opened or T0,
                health_score=90.0 - number,
                circuit_breaker_state=1.0 if routed_down else 0.0,
                open_circuits=1.0 if routed_down else 0.0,
                circuits=4.0,
                availability=75.0 if routed_down else 100.0,
                evidence=[
                    Evidence("status", 2.0, "status", "bridge", "degraded: 1 of 4 circuits OPEN")
                    if routed_down
                    else Evidence("status", 1.0, "status", "bridge", "healthy: no circuit OPEN"),
                ],
            ),
            verdict(
                "groq",
                Status.DOWN if groq_down else Status.HEALTHY,
                since=groq_opened or T0,
                health_score=25.0 if groq_down else 99.0,
                reported_health_score=25.0 if groq_down else 99.0,
                circuit_breaker_state=1.0 if groq_down else 0.0,
                open_circuits=1.0 if groq_down else 0.0,
                circuits=1.0,
                availability=0.0 if groq_down else 100.0,
                evidence=[
                    Evidence("status", 3.0 if groq_down else 1.0, "status", "bridge", why),
                    Evidence("error rate", None, "ratio", "error_rate", "set aside: contradicted", 0.0),
                ],
            ),
        ],
        [
            circuit("groq", "llama-3.1-8b", OPEN, since=groq_opened, first_opened=groq_opened, opens=(groq_opened,))
            if groq_opened is not None
            else circuit("groq", "llama-3.1-8b"),
            circuit("openai", "gpt-4.1"),
            *(
                circuit("openrouter", model, OPEN, since=routed_opened, first_opened=routed_opened, opens=(at,))
                if routed_opened is not None and model == ROUTED[0]
                else circuit("openrouter", model)
                for model in ROUTED
            ),
        ],
        fleet={
            "fleet_health_score": 70.0,
            "fleet_open_circuits": float(groq_down + routed_down),
            "fleet_error_rate": 0.01,
            "fleet_request_rate": 12.5,
            "fleet_requests": 4000.0 + number,
            "fleet_cost_usd": 1.25,
        },
    )
