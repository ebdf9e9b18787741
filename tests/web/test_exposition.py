"""``GET /metrics``: everything known and nothing else, whatever the names are made of; and the bridge's own counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from bridge import create_app
from bridge.health.memory import Memory
from bridge.history.store import Latest, Store
from bridge.model import FLEET_METRICS, PROVIDER_METRICS, Circuit, CircuitState, Key, Poll, Snapshot, Status, Verdict
from bridge.queries.catalog import METRICS
from bridge.queries.view import View
from bridge.settings import Settings
from bridge.web.exposition import ALWAYS, Exposition, OwnMetrics

AT = 1_800_000_000.0
Labels = frozenset[tuple[str, str]]


def verdict(provider: str, **values: float | None) -> Verdict:
    unknown: dict[str, float | None] = dict.fromkeys(PROVIDER_METRICS)
    known = {f"provider_{name}": value for name, value in values.items()}
    return Verdict(provider, Status.HEALTHY, AT, unknown | {"provider_status": 1.0} | known)


def snapshot(*verdicts: Verdict, models: Mapping[Key, CircuitState | None] | None = None, **fleet: float) -> Snapshot:
    circuits = tuple(Circuit(*key, state, "gateway", AT, True, None, (), "") for key, state in (models or {}).items())
    rates = dict.fromkeys(models or {}, 0.25)
    return Snapshot(AT, verdicts, circuits, rates, dict.fromkeys(FLEET_METRICS) | fleet)


def view(snapshot: Snapshot | None, *, age: float = 2.0, poll_id: int = 1, outcome: str = "ok") -> View:
    poll = Poll(AT, 15.0, outcome, "", 0.025)
    latest = Latest(poll_id, poll, snapshot, None if snapshot is None else AT, None if outcome == "ok" else AT)
    return View(AT + age, latest, 45.0)


def read(text: bytes) -> dict[str, dict[Labels, float]]:
    """Every sample by its name and labels, as Prometheus would see it. Fails on a doubled one."""
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            series = found.setdefault(sample.name, {})
            labels = frozenset(sample.labels.items())
            assert labels not in series, f"{sample.name}{dict(labels)} is there twice"
            series[labels] = sample.value
    return found


def labelled(**labels: str) -> Labels:
    return frozenset(labels.items())


FULL = snapshot(
    verdict("openai", **{name.removeprefix("provider_"): 7.5 for name in PROVIDER_METRICS}),
    models={Key("openai", "gpt-4.1"): CircuitState.OPEN},
    **dict.fromkeys(FLEET_METRICS, 3.0),
)


class TestOfTheGateway:
    def test_every_metric_of_the_catalog_is_there_with_its_labels_and_its_meaning(self) -> None:
        families = {
            family.name: family for family in text_string_to_metric_families(Exposition().text(view(FULL)).decode())
        }
        assert families.keys() == METRICS.keys()
        for name, metric in METRICS.items():
            assert families[name].documentation == metric.meaning
            assert families[name].type == "gauge"
            assert all(sample.labels.keys() == set(metric.labels) for sample in families[name].samples)

    def test_what_is_not_known_is_absent(self) -> None:
        found = read(Exposition().text(view(snapshot(verdict("openai", health_score=98.5), verdict("groq")))))
        assert found["provider_health_score"] == {labelled(provider="openai"): 98.5}
        assert "provider_error_rate" not in found
        assert "fleet_cost_usd" not in found

    def test_a_circuit_whose_state_is_not_known_is_absent(self) -> None:
        models = {Key("groq", "a"): None, Key("groq", "b"): CircuitState.HALF_OPEN, Key("groq"): CircuitState.OPEN}
        found = read(Exposition().text(view(snapshot(verdict("groq"), models=models))))
        assert found["model_circuit_breaker_state"] == {labelled(provider="groq", model="b"): 2.0}

    @pytest.mark.parametrize("age", [46.0, 86_400.0])
    def test_while_the_data_is_stale_only_the_gateway_is_told_of(self, age: float) -> None:
        exposition = Exposition()
        assert len(read(exposition.text(view(FULL)))) == len(METRICS)
        stale = read(exposition.text(view(FULL, age=age)))
        assert stale.keys() <= set(ALWAYS)
        assert stale["gateway_data_age_seconds"] == {frozenset(): age}

    def test_when_nobody_polls_the_last_poll_is_not_passed_off_as_new(self) -> None:
        assert read(Exposition().text(view(FULL, age=86_400.0))).keys() == {"gateway_data_age_seconds"}

    def test_a_failed_poll_keeps_the_last_good_one_until_it_is_stale(self) -> None:
        found = read(Exposition().text(view(FULL, poll_id=2, outcome="timeout")))
        assert found["gateway_up"] == {frozenset(): 0.0}
        assert found["provider_health_score"] == {labelled(provider="openai"): 7.5}

    def test_before_the_first_poll_there_is_nothing(self) -> None:
        assert Exposition().text(View(AT, None, 45.0)) == b""

    def test_the_next_poll_is_seen_at_once(self) -> None:
        exposition = Exposition()
        exposition.text(view(snapshot(verdict("openai", health_score=98.0))))
        found = read(exposition.text(view(snapshot(verdict("openai", health_score=12.0)), poll_id=2)))
        assert found["provider_health_score"] == {labelled(provider="openai"): 12.0}

    @pytest.mark.parametrize(
        "name",
        [
            'a"b',
            "a\\b",
            "a\nb",
            "a\\nb",
            "\\",
            '"} 1\nprovider_status{provider="x',
            "a\rb",
            "  ",
            "zażółć 🦊",
            "\x00\u2028",
        ],
    )
    def test_a_hostile_name_comes_back_as_it_was(self, name: str) -> None:
        found = read(Exposition().text(view(snapshot(verdict(name), models={Key(name, name): CircuitState.CLOSED}))))
        assert found["provider_status"] == {labelled(provider=name): 1.0}
        assert found["model_circuit_breaker_state"] == {labelled(provider=name, model=name): 0.0}

    @settings(max_examples=200, deadline=None)
    @given(st.sets(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=5))
    def test_any_names_come_back_as_they_were(self, names: set[str]) -> None:
        found = read(Exposition().text(view(snapshot(*map(verdict, names)))))
        assert found["provider_status"] == {labelled(provider=name): 1.0 for name in names}

    def test_ten_thousand_circuits_are_written_once_a_poll(self) -> None:
        models = {Key(f"provider-{n % 30}", f"model-{n}"): CircuitState.CLOSED for n in range(10_000)}
        exposition, large = Exposition(), view(snapshot(verdict("provider-0"), models=models))
        exposition.text(large)
        began = time.perf_counter()
        assert len(exposition.text(large)) > 1_000_000
        assert time.perf_counter() - began < 0.1


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    """A bridge over one good poll of openai."""
    app = create_app(Settings(gateway_url="http://gateway.test", data_dir=tmp_path), clock=lambda: AT + 2.0)
    store: Store = app.extensions["bridge"].store
    store.append(Poll(AT, 15.0, "ok", "", 0.025), failing_since=None, snapshot=FULL, memory=Memory(at=AT))
    yield app
    store.close()


def scraped(app: Flask, path: str = "/metrics") -> dict[str, dict[Labels, float]]:
    return read(app.test_client().get(path).data)


class TestRoute:
    @pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/api/metrics"])
    def test_it_is_prometheus_text(self, app: Flask, path: str) -> None:
        response = app.test_client().get(path)
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert read(response.data)["provider_health_score"] == {labelled(provider="openai"): 7.5}

    def test_it_is_not_open_to_everybody(self, tmp_path: Path) -> None:
        app = create_app(Settings(gateway_url="http://gateway.test", data_dir=tmp_path, bridge_token="hush"))
        client = app.test_client()
        assert client.get("/metrics").status_code == 403
        assert client.get("/metrics", headers={"Authorization": "Bearer hush"}).status_code == 200
        app.extensions["bridge"].store.close()


class TestOfItself:
    def test_requests_are_counted_by_route_template_and_status(self, app: Flask) -> None:
        client = app.test_client()
        for path in ("/providers/openai", "/providers/nobody", "/providers/a%22b", "/no/such/route"):
            client.get(path)
        client.post("/query", data="{")
        assert scraped(app)["bridge_http_requests_total"] == {
            labelled(route="/providers/<name:name>", method="GET", status="200"): 1.0,
            labelled(route="/providers/<name:name>", method="GET", status="404"): 2.0,
            labelled(route="none", method="GET", status="404"): 1.0,
            labelled(route="/query", method="POST", status="400"): 1.0,
        }

    def test_refused_requests_are_counted_too(self, tmp_path: Path) -> None:
        app = create_app(Settings(gateway_url="http://gateway.test", data_dir=tmp_path, bridge_token="hush"))
        app.test_client().get("/providers")
        counted = read(app.extensions["bridge"].metrics.text())["bridge_http_requests_total"]
        assert counted == {labelled(route="/providers", method="GET", status="403"): 1.0}
        app.extensions["bridge"].store.close()

    def test_methods_that_clients_make_up_are_one(self, app: Flask) -> None:
        for method in ("MAKE", "BREW", "X" * 100):
            app.test_client().open("/health", method=method)
        counted = scraped(app)["bridge_http_requests_total"]
        assert counted == {labelled(route="none", method="other", status="405"): 3.0}

    def test_how_long_they_took_is_a_histogram(self, app: Flask) -> None:
        app.test_client().get("/health")
        found = scraped(app)
        assert found["bridge_http_request_seconds_count"] == {labelled(route="/health"): 1.0}
        assert 0 < found["bridge_http_request_seconds_sum"][labelled(route="/health")] < 1
        assert found["bridge_http_request_seconds_bucket"][labelled(route="/health", le="+Inf")] == 1.0

    def test_polls_are_counted_by_outcome(self) -> None:
        metrics = OwnMetrics()
        for outcome, seconds in (("ok", 0.03), ("ok", 0.2), ("timeout", 10.0)):
            metrics.poll(Poll(AT, 15.0, outcome, "", seconds))
        found = read(metrics.text())
        assert found["bridge_polls_total"] == {labelled(outcome="ok"): 2.0, labelled(outcome="timeout"): 1.0}
        assert found["bridge_poll_seconds_count"] == {frozenset(): 3.0}
        assert found["bridge_poll_seconds_sum"] == {frozenset(): pytest.approx(10.23)}

    def test_a_poll_of_the_applications_own_poller_is_counted(self, app: Flask) -> None:
        app.extensions["bridge"].poller.poll_once()
        [(labels, count)] = scraped(app)["bridge_polls_total"].items()
        assert dict(labels)["outcome"] != "ok"
        assert count == 1.0

    def test_looks_into_the_answer_cache_are_counted(self, app: Flask) -> None:
        body: dict[str, Any] = {"targets": [{"target": "provider_health_score"}]}
        for _ in range(3):
            app.test_client().post("/query", json=body)
        found = scraped(app)
        assert found["bridge_answer_cache_hits_total"] == {frozenset(): 2.0}
        assert found["bridge_answer_cache_misses_total"][frozenset()] >= 1.0

    def test_no_label_of_its_own_holds_a_name_from_outside(self, app: Flask) -> None:
        client = app.test_client()
        client.get("/providers/a-person")
        client.get("/query?target=provider_status%7Bprovider%3D%22a-person%22%7D")
        assert b"a-person" not in app.extensions["bridge"].metrics.text()


def best_of(times: int, work: Callable[[], object]) -> float:
    """The shortest time, in seconds."""

    def once() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return min(once() for _ in range(times))


def test_counting_a_request_costs_little() -> None:
    metrics = OwnMetrics()

    def a_thousand() -> None:
        for _ in range(1_000):
            metrics.request("/query", "POST", 200, 0.001)

    assert best_of(20, a_thousand) / 1_000 < 30e-6
