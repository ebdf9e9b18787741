"""What the bridge counts of itself: everything, once, under labels that hold nothing from outside."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from bridge.application import create_app
from bridge.model import Poll
from bridge.settings import Settings
from bridge.web.counts import OwnMetrics
from tests.one_poller import polled, poller_in
from tests.web.test_exposition import AT, app, best_of, labelled, read, scraped

__all__ = ["app"]


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

    def test_answers_that_broke_are_counted_too(self, app: Flask) -> None:
        app.add_url_rule("/break", view_func=lambda: 1 / 0)
        assert app.test_client().get("/break").status_code == 500
        assert scraped(app)["bridge_http_requests_total"] == {labelled(route="/break", method="GET", status="500"): 1.0}

    def test_refused_requests_are_counted_too(self, tmp_path: Path) -> None:
        app = create_app(Settings(gateway_url="http://gateway.test", data_dir=tmp_path, bridge_token="hush"))
        app.test_client().get("/providers")
        counted = read(app.extensions["bridge"].metrics.text())["bridge_http_requests_total"]
        assert counted == {labelled(route="/providers", method="GET", status="401"): 1.0}
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
        polled(poller_in(app))
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


def test_counting_a_request_costs_little() -> None:
    metrics = OwnMetrics()

    def a_thousand() -> None:
        for _ in range(1_000):
            metrics.request("/query", "POST", 200, 0.001)

    assert best_of(20, a_thousand) / 1_000 < 5e-6


def test_what_many_threads_count_at_once_is_all_counted() -> None:
    metrics = OwnMetrics()
    metrics.start()

    def count(_: int) -> None:
        for number in range(2_000):
            metrics.request("/query", "POST", 200, 0.001)
            metrics.lookup(hit=number % 2 == 0)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(count, range(8)))
    found = read(metrics.text())
    metrics.stop()
    assert found["bridge_http_requests_total"] == {labelled(route="/query", method="POST", status="200"): 16_000.0}
    assert found["bridge_http_request_seconds_count"] == {labelled(route="/query"): 16_000.0}
    assert found["bridge_http_request_seconds_sum"] == {labelled(route="/query"): pytest.approx(16.0)}
    assert found["bridge_answer_cache_hits_total"] == {frozenset(): 8_000.0}
    assert found["bridge_answer_cache_misses_total"] == {frozenset(): 8_000.0}


def test_each_request_is_in_the_bucket_of_its_time() -> None:
    metrics = OwnMetrics()
    for seconds in (0.0001, 0.0005, 0.02, 99.0):
        metrics.request("/query", "POST", 200, seconds)
    buckets = {
        dict(labels)["le"]: count
        for labels, count in read(metrics.text())["bridge_http_request_seconds_bucket"].items()
    }
    assert (buckets["0.0005"], buckets["0.01"], buckets["0.025"], buckets["10.0"], buckets["+Inf"]) == (2, 2, 3, 3, 4)


def test_reading_an_exposition_is_timed_apart_from_the_poll() -> None:
    metrics = OwnMetrics()
    metrics.parsed(0.003)
    found = read(metrics.text())
    assert found["bridge_parse_seconds_sum"] == {frozenset(): 0.003}
    assert found["bridge_poll_seconds_count"] == {frozenset(): 0.0}
