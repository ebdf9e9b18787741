"""``GET /metrics``: everything known and nothing else, whatever names are made of; and how the bridge stands."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from bridge.application import create_app
from bridge.health.memory import Memory
from bridge.history.store import Latest, Store
from bridge.model import (
    FLEET_METRICS,
    MODEL_METRICS,
    PROVIDER_METRICS,
    Circuit,
    CircuitState,
    Incident,
    Key,
    ModelNumbers,
    Moment,
    Poll,
    Reading,
    Snapshot,
    Status,
    Verdict,
)
from bridge.queries.catalog import METRICS
from bridge.queries.view import View
from bridge.settings import Settings
from bridge.web.exposition import ALWAYS, Exposition, state
from tests.history.snapshots import incident
from tests.one_poller import reads

AT = 1_800_000_000.0
Labels = frozenset[tuple[str, str]]


def verdict(provider: str, **values: float | None) -> Verdict:
    unknown: dict[str, float | None] = dict.fromkeys(PROVIDER_METRICS)
    known = {f"provider_{name}": value for name, value in values.items()}
    return Verdict(provider, Status.HEALTHY, AT, unknown | {"provider_status": 1.0} | known)


def snapshot(*verdicts: Verdict, models: Mapping[Key, CircuitState | None] | None = None, **fleet: float) -> Snapshot:
    circuits = tuple(Circuit(*key, state, "gateway", AT, True, None, (), "") for key, state in (models or {}).items())
    columns = {metric: dict.fromkeys(models or {}, 0.25) for metric in MODEL_METRICS}
    columns["model_circuit_breaker_state"] = {}  # circuits themselves say it
    return Snapshot(
        AT,
        verdicts,
        circuits,
        ModelNumbers.from_values(columns),
        dict.fromkeys(FLEET_METRICS) | fleet,
    )


def view(snapshot: Snapshot | None, *, age: float = 2.0, poll_id: int = 1, outcome: str = "ok") -> View:
    poll = Poll(AT, 15.0, outcome, "", 0.025)
    reading = None if outcome == "ok" else Reading(AT, 0.0, "")
    latest = Latest(poll_id, poll, snapshot, None if snapshot is None else AT, reading)
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
        of_circuits = {"model_circuit_opens", "model_circuit_reported", "provider_circuit_opens"}
        assert families.keys() == METRICS.keys() | of_circuits
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

    def test_openings_are_counters_of_providers_and_of_models_and_say_whose_they_are(self) -> None:
        its = Circuit("groq", "", CircuitState.OPEN, "gateway", AT, True, AT, (AT,), "", openings=7)
        circuits = (
            its,
            replace(its, model="a", openings=0),
            replace(its, provider="xai", model="b", source="bridge", state=None, openings=2),
        )
        text = Exposition().text(view(replace(snapshot(verdict("groq")), circuits=circuits)))
        assert b"# TYPE provider_circuit_opens_total counter" in text
        found = read(text)
        assert found["provider_circuit_opens_total"] == {
            labelled(provider="groq", source="gateway"): 7.0,
            labelled(provider="groq", source="derived"): 0.0,
        }
        assert found["model_circuit_opens_total"] == {
            labelled(provider="groq", model="a", source="gateway"): 0.0,
            labelled(provider="groq", model="a", source="derived"): 0.0,
            labelled(provider="xai", model="b", source="gateway"): 0.0,
            labelled(provider="xai", model="b", source="derived"): 2.0,
        }
        assert found["provider_circuit_reported"] == {labelled(provider="groq"): 1.0}
        assert found["model_circuit_reported"] == {
            labelled(provider="groq", model="a"): 1.0,
            labelled(provider="xai", model="b"): 0.0,
        }

    def test_the_first_opening_that_a_gateway_tells_of_is_a_rise(self) -> None:
        """Its line is not there until the breaker first moves: a series born at 1 has no increase."""
        one = snapshot(verdict("groq"), models={Key("groq", "a"): CircuitState.CLOSED})
        found = read(Exposition().text(view(one)))
        assert found["provider_circuit_opens_total"][labelled(provider="groq", source="gateway")] == 0
        assert "provider_circuit_reported" not in found

    @pytest.mark.parametrize("age", [46.0, 86_400.0])
    def test_while_the_data_is_stale_only_the_gateway_is_told_of(self, age: float) -> None:
        exposition = Exposition()
        assert len(read(exposition.text(view(FULL)))) == len(METRICS) + 3
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
        began = time.thread_time()
        assert len(exposition.text(large)) > 1_000_000
        assert time.thread_time() - began < 0.1


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    """A bridge over one good poll of openai."""
    app = create_app(Settings(gateway_url="http://gateway.test", data_dir=tmp_path), clock=reads(lambda: AT + 2.0))
    store: Store = app.extensions["bridge"].store
    store.append(
        Poll(AT, 15.0, "ok", "", 0.025), failing_since=None, snapshot=FULL, memory=Memory(moment=Moment(AT, AT))
    )
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
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers={"Authorization": "Bearer hush"}).status_code == 200
        app.extensions["bridge"].store.close()


class TestStateOfItself:
    def test_how_much_was_read_is_told_while_it_is_now(self) -> None:
        seen = view(replace(FULL, samples=420, rejected_lines=3))
        found = read(state(seen, None))
        assert found["bridge_exposition_samples"] == {frozenset(): 420.0}
        assert found["bridge_exposition_rejected_lines"] == {frozenset(): 3.0}
        assert read(state(view(FULL, age=46.0), None)).keys() == {
            "bridge_stale_after_seconds",
            "bridge_history_writable",
        }

    def test_the_age_at_which_data_is_stale_is_always_told(self) -> None:
        assert read(state(View(AT, None, 45.0), None)) == {"bridge_stale_after_seconds": {frozenset(): 45.0}}

    def test_the_size_of_the_history_is_told(self, app: Flask) -> None:
        found = scraped(app)
        assert found["bridge_history_rows"] == {frozenset(): 1.0}
        assert found["bridge_history_events_total"] == {frozenset(): 0.0}
        assert found["bridge_history_bytes"][frozenset()] > 10_000


def best_of(times: int, work: Callable[[], object]) -> float:
    """The shortest time of this thread, in seconds."""

    def once() -> float:
        began = time.thread_time()
        work()
        return time.thread_time() - began

    return min(once() for _ in range(times))


def test_a_scrape_of_thirty_providers_is_cheap_even_just_after_a_poll(app: Flask) -> None:
    models = {Key(f"p{n % 30}", f"m{n}"): CircuitState.CLOSED for n in range(300)}
    fleet = [verdict(f"p{n}", **{name.removeprefix("provider_"): 7.5 for name in PROVIDER_METRICS}) for n in range(30)]
    store: Store = app.extensions["bridge"].store

    def polled_and_scraped() -> float:
        nonlocal at
        at += 0.01
        poll = Poll(at, 15.0, "ok", "", 0.025)
        new = replace(snapshot(*fleet, models=models), at=at)
        store.append(poll, failing_since=None, snapshot=new, memory=Memory(moment=Moment(at, at)))
        return best_of(1, lambda: app.test_client().get("/metrics"))

    at = AT + 1
    assert min(polled_and_scraped() for _ in range(15)) < 0.05


class TestIncidents:
    def told(self, *incidents: Incident) -> dict[str, dict[Labels, float]]:
        seen = replace(snapshot(verdict("groq")), incidents=incidents)
        found = read(Exposition().text(view(seen)))
        return {name: series for name, series in found.items() if "_incident" in name}

    def test_one_that_is_not_over_has_a_series_that_alerts_can_go_by(self) -> None:
        one = incident("groq", AT - 600, 420, lasts=True, cause="all failed", requests=50.0, failed=41.0, number=3)
        provider = ("provider", "groq")
        which = {provider, ("status", "down"), ("kind", "regression"), ("phase", "ongoing"), ("pages", "yes")}
        alone = frozenset({provider})
        assert self.told(one) == {
            "provider_incident": {frozenset(which): 1.0},
            "provider_incident_cause": {frozenset({provider, ("cause", "all failed")}): 1.0},
            "provider_incident_bad_seconds": {alone: 420.0},
            "provider_incident_requests": {alone: 50.0},
            "provider_incident_failed_requests": {alone: 41.0},
            "provider_incident_number": {alone: 3.0},
        }

    def test_what_is_not_counted_has_none(self) -> None:
        found = self.told(incident("groq", AT - 600, 20, lasts=True))
        assert {"provider_incident_requests", "provider_incident_failed_requests"}.isdisjoint(found)

    def test_the_fleets_is_one_of_its_own_and_its_parts_do_not_page(self) -> None:
        fleet = incident("", AT - 20, 20, lasts=True, affected=("groq", "x", "y", "z"), reached=4, among=6)
        found = self.told(fleet, incident("groq", AT - 20, 20, lasts=True, fleet=AT - 20, pages=False))
        told = {("status", "down"), ("kind", "too early to say"), ("phase", "ongoing")}
        assert found["fleet_incident"] == {frozenset(told): 1.0}
        assert found["fleet_incident_providers"] == {frozenset(): 4.0}
        assert found["provider_incident"] == {frozenset({*told, ("provider", "groq"), ("pages", "no")}): 1.0}

    def test_without_any_there_is_no_series_and_none_while_the_data_is_stale(self) -> None:
        assert self.told() == {}
        seen = replace(snapshot(verdict("groq")), incidents=(incident("groq", AT - 60, 60, lasts=True),))
        assert b"_incident" not in Exposition().text(view(seen, age=50.0))
