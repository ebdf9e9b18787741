"""What one request may cost, whatever it asks for and by which face; and what the others are spared."""

from __future__ import annotations

import json
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from werkzeug.test import TestResponse

from bridge.bridge import Bridge
from bridge.model import CircuitState, Event, Key, Status
from bridge.queries import answer as answers
from bridge.queries.admission import MOST_WAITING
from bridge.queries.answer import Answer, Ask, SeriesAnswer
from bridge.queries.budget import LIMITS, Budget, Limits
from bridge.queries.catalog import METRICS
from bridge.queries.series import Series
from bridge.web.items import items
from tests.history.snapshots import T0, circuit, snapshot, verdict
from tests.web.conftest import Site

MIB = 2**20
RANGE = {"from": int(T0 * 1000), "to": "now"}
PROVIDERS = [f"provider-{number:03d}" for number in range(300)]
KEYS = [Key(provider, f"{provider}/model-{number}") for provider in PROVIDERS for number in range(10)]
LONG = "x" * 940
RANGE_BODY = {"targets": [{"target": "provider_health_score"}], "range": RANGE}


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """300 providers with 3,000 circuits over four polls, all of which changed at each: 12,000 events and more."""
    site = Site(tmp_path_factory.mktemp("crowd"), log_level="CRITICAL")
    for number in range(4):
        at, opened = T0 + 15.0 * number, bool(number % 2)
        state, before = (CircuitState.OPEN, "CLOSED") if opened else (CircuitState.CLOSED, "OPEN")
        poll = snapshot(
            at,
            [
                verdict(name, Status.DOWN if opened else Status.HEALTHY, health_score=50.0 + number)
                for name in PROVIDERS
            ],
            [circuit(*key, state) for key in KEYS],
            model_error_rates=dict.fromkeys(KEYS, 0.2),
        )
        site.log.good(poll, *(Event(at, "circuit", *key, before, state.name, "reported " * 9) for key in KEYS))
    site.now = T0 + 46.0
    yield site
    site.close()


def bridge_of(site: Site) -> Bridge:
    bridge: Bridge = site.app.extensions["bridge"]
    return bridge


def timed(ask: Callable[[], TestResponse]) -> tuple[TestResponse, float]:
    """A response, and the processor time it took: the client runs the application in this very thread."""
    began = time.thread_time()
    response = ask()
    return response, time.thread_time() - began


def told(answer: list[dict[str, Any]]) -> str:
    return " | ".join(notice["text"] for one in answer for notice in one.get("meta", {}).get("notices", []))


class TestOneRequest:
    def test_a_hundred_targets_of_long_names_are_one_answer_of_bounded_size(self, crowd: Site) -> None:
        legend = LONG + "{{provider}} {{model}}"
        body = {"targets": [{"target": f"model_error_rate as {legend}", "refId": f"R{n}"} for n in range(100)]}
        tracemalloc.start()
        try:
            response = crowd.post("/query", {**body, "range": RANGE})
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert response.status_code == 200
        assert len(response.get_data()) <= LIMITS.answer_bytes
        assert peak < 80 * MIB
        answer = response.get_json()
        assert len({one["refId"] for one in answer}) == 100, "each target has something"
        assert "of 3,000 series are shown" in told(answer)
        assert "selector" in told(answer)

    @pytest.mark.parametrize("wanted", ["json", "rows", "csv", "text"])
    def test_no_format_is_larger_than_an_answer_may_be(self, crowd: Site, wanted: str) -> None:
        target = f"model_error_rate as {LONG[:900]}{{{{model}}}}"
        query = "&".join([f"target={target}"] * 5)
        response, took = timed(lambda: crowd.get(f"/query?{query}&from=now-1h&format={wanted}"))
        assert response.status_code == 200
        assert MIB < len(response.get_data()) <= LIMITS.answer_bytes
        assert took < 2 * LIMITS.seconds

    @pytest.mark.parametrize("wanted", ["json", "rows", "csv", "text"])
    def test_a_hundred_tables_have_as_many_rows_as_one(self, crowd: Site, wanted: str) -> None:
        query = "&".join(["target=transitions"] * 100)
        response, took = timed(lambda: crowd.get(f"/query?{query}&from=now-1h&format={wanted}"))
        assert response.status_code == 200
        assert took < 2 * LIMITS.seconds
        shown = response.text.count("reported " * 9) if wanted != "text" else response.text.count("OPEN")
        assert 0 < shown <= LIMITS.rows * (1 if wanted != "text" else 2), (
            "in text each row names OPEN or CLOSED, and OPEN"
        )
        said = response.text if wanted in ("json", "text") else response.headers["Warning"]
        assert "12,000 rows are shown" in " ".join(said.split())

    def test_writing_counts_like_computing(self, crowd: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """The clock jumps behind the computing: what is written then is cut, and says so."""
        for wanted in ("json", "text"):
            times = iter([0.0] * 8)
            monkeypatch.setattr(time, "thread_time", lambda times=times: next(times, 9.0))
            response = crowd.get(f"/query?target=transitions&from=now-1h&format={wanted}")
            monkeypatch.undo()
            if response.status_code == 200:
                assert "rows are shown" in response.text
                assert len(response.get_data()) < MIB
            else:
                assert response.status_code == 422
                assert "longer than 2 s" in response.text

    def test_where_nothing_sensible_would_be_left_it_is_refused(
        self, crowd: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(time, "thread_time", iter([0.0, *[9.0] * 99]).__next__)
        response = crowd.post("/query", {"targets": [{"target": "provider_status"}], "range": RANGE})
        assert response.status_code == 422
        assert "fewer" in response.get_json()["hint"]

    def test_an_answer_takes_little_more_memory_than_it_is_long(self) -> None:
        points = np.arange(1000) + 0.123
        one = SeriesAnswer("name", Series({"provider": "name"}, T0 + points, points), METRICS["provider_health_score"])
        tracemalloc.start()
        try:
            found = items([Answer(Ask("provider_health_score"), [one] * 300)], Budget())
            taken, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        written = sum(len(item.json) for item in found)
        assert written > 5 * MIB
        assert taken < 1.2 * written
        assert peak < 1.5 * written

    def test_fewer_points_than_were_asked_for_are_told(self, crowd: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        targets = [{"target": "model_error_rate"}, {"target": "gateway_up"}]
        monkeypatch.setattr("bridge.queries.budget.LIMITS", _limits(points=12_000))
        answer = crowd.query(*targets, range=RANGE, maxDataPoints=1000)
        assert sum(len(one["datapoints"]) for one in answer) <= 12_000
        assert "at most 2 points of each series" in told(answer[:1])
        assert not told(answer[-1:])

    def test_a_completion_does_not_multiply_what_was_typed(self, crowd: Site) -> None:
        typed = "model_error_rate{provider!~'" + "y" * 900 + "'" + ", provider!='z'" * 20 + ',model="'
        response, _ = timed(lambda: crowd.post("/search", {"target": typed}))
        assert 0 < len(response.get_data()) < 6 * MIB

    @pytest.mark.parametrize(
        ("route", "body"), [("/search", {"target": "models"}), ("/variable", {"payload": "models"})]
    )
    def test_lists_of_names_are_cut_and_say_so(
        self, crowd: Site, monkeypatch: pytest.MonkeyPatch, route: str, body: dict[str, str]
    ) -> None:
        monkeypatch.setattr("bridge.queries.budget.LIMITS", _limits(rows=1000))
        response = crowd.post(route, body)
        assert len(response.get_json()) == 1000
        assert "the first 1,000 of 3,000 names" in response.headers["Warning"]

    def test_of_more_events_than_are_read_the_newest_are_drawn(
        self, crowd: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("bridge.queries.budget.LIMITS", _limits(events=3_000))
        asked = {"annotation": {"query": "circuit"}, "range": RANGE}
        found = crowd.post("/annotations", asked).get_json()
        assert any("earlier events" in one["title"] for one in found)
        table = crowd.get("/query?target=transitions&from=now-1h&format=text").text
        assert table.startswith("! only the newest 3,000 events are looked at")
        assert table.count("reported") <= 3_000 * 9


def test_every_route_keeps_to_the_budget(crowd: Site) -> None:
    """Whatever there is to ask, of 300 providers and 3,000 models: at most 16 MiB, in the time a request may take."""
    asked = 0
    for rule in crowd.app.url_map.iter_rules():
        path = rule.rule.replace("<name:name>", PROVIDERS[0]).replace("<name>", "status.css")
        body = {"targets": [{"target": "model_error_rate"}, {"target": "explain", "type": "table"}], "range": RANGE}
        asks: list[Callable[[], TestResponse]] = []
        if "POST" in (rule.methods or ()):
            asks.append(partial(crowd.post, path, body))
        if "GET" in (rule.methods or ()):
            for accept in ("text/html", "application/json", "*/*"):
                query = "?target=explain&target=explain" if path.endswith("/query") else ""
                asks.append(partial(crowd.get, path + query, Accept=accept))
        for ask in asks:
            response, took = timed(ask)
            asked += 1
            assert response.status_code < 500, rule
            assert len(response.get_data()) <= LIMITS.answer_bytes, rule
            assert took < 2 * LIMITS.seconds, rule
    assert asked > 40
    assert bridge_of(crowd).admission.held_bytes == 0, "what was sent is in hand no more"


def _limits(**changed: int) -> Limits:
    return replace(LIMITS, **changed)


def test_metrics_that_would_be_too_large_are_left_out_whole_and_counted(
    empty: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.web.exposition.MAX_BYTES", 6_000)
    scores = [verdict(f"provider-{number:03d}", health_score=50.0, error_rate=0.5) for number in range(60)]
    empty.log.good(snapshot(T0, scores))
    empty.now = T0 + 1
    text = empty.get("/metrics").text
    samples = text.count("provider_health_score{"), text.count("provider_error_rate{")
    assert set(samples) <= {0, 60}, "half a metric would be a wrong sum"
    assert "\nbridge_exposition_left_out " in text
    assert "gateway_up 1.0" in text


class TestTurns:
    """One expensive computation at a time; what is cheap never waits for it."""

    def test_what_is_expensive_waits_for_its_turn_and_is_then_told_to_come_again(self, site: Site) -> None:
        admission = bridge_of(site).admission
        admission.begin()
        try:
            for path in ("/query?target=provider_health_score&from=now-1m", "/annotations", "/providers/groq"):
                began = time.monotonic()
                response = site.get(path, Accept="text/html" if path == "/providers/groq" else "*/*")
                assert response.status_code == 429, path
                assert time.monotonic() - began >= 1.9
                assert int(response.headers["Retry-After"]) > 0
                assert b"shorter range" in response.get_data()
        finally:
            admission.end()
        assert site.post("/query", RANGE_BODY).status_code == 200

    def test_what_is_cheap_never_waits(self, site: Site) -> None:
        warm = site.post("/query", RANGE_BODY)
        assert warm.status_code == 200
        admission = bridge_of(site).admission
        admission.begin()
        try:
            began = time.monotonic()
            table = {"targets": [{"target": "providers", "type": "table"}], "range": RANGE}
            assert site.post("/query", RANGE_BODY).get_data() == warm.get_data()
            assert site.post("/query", table).status_code == 200, "a table of now, though the panel sends a range"
            for path in ("/health", "/metrics", "/", "/providers", "/ready", "/query?target=provider_status"):
                assert site.get(path).status_code == 200, path
            assert time.monotonic() - began < 1.9
        finally:
            admission.end()

    def test_no_more_wait_than_leave_threads_for_what_is_cheap(self, site: Site) -> None:
        """The last one is sent away at once."""
        admission = bridge_of(site).admission
        admission.begin()
        try:
            with ThreadPoolExecutor(MOST_WAITING + 4) as pool:
                asked = [
                    pool.submit(site.app.test_client().get, f"/annotations?query=circuit&from=now-{number + 1}m")
                    for number in range(MOST_WAITING + 4)
                ]
                responses = [one.result() for one in asked]
        finally:
            admission.end()
        said = [one.text for one in responses if one.status_code == 429]
        assert len(said) == MOST_WAITING + 4
        assert sum("wait already" in one for one in said) == 4

    def test_the_server_has_more_threads_than_wait(self) -> None:
        conf = Path(__file__).parents[2].joinpath("gunicorn.conf.py").read_text()
        threads = int(conf.split("\nthreads = ")[1].split()[0])
        assert threads >= MOST_WAITING + 1 + 7

    def test_a_turn_ends_with_its_request_whatever_becomes_of_it(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> None:
            raise RuntimeError("a mistake")

        with monkeypatch.context() as patched:
            patched.setattr("bridge.web.items.datapoints", broken)
            assert site.post("/query", RANGE_BODY).status_code == 500
        assert site.post("/query", RANGE_BODY).status_code == 200
        assert bridge_of(site).admission.held_bytes == 0

    def test_answers_in_hand_are_bounded(self, crowd: Site) -> None:
        """While others' bytes fill the room a large answer waits, and is then told to come again; /health is not."""
        admission = bridge_of(crowd).admission
        held = admission.max_bytes - 1000
        admission.hold(held)
        try:
            assert crowd.get("/query?target=model_error_rate").status_code == 429
            assert crowd.get("/health").status_code == 200
            assert crowd.get("/metrics").status_code == 200
        finally:
            admission.release(held)
        response = crowd.get("/query?target=model_error_rate")
        assert response.status_code == 200
        assert admission.held_bytes == 0


class TestOneComputation:
    def test_who_asks_for_the_same_at_once_waits_for_one_answer(
        self, crowd: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        body = json.dumps({"targets": [{"target": "provider_health_score"}], "range": RANGE, "maxDataPoints": 777})
        computed, others_wait = [], threading.Event()
        admission = bridge_of(crowd).admission
        real = answers.answer

        def slowly(*given: Any) -> Any:
            computed.append(1)
            others_wait.wait(10)
            return real(*given)

        monkeypatch.setattr(answers, "answer", slowly)
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(crowd.app.test_client().post, "/query", data=body) for _ in range(8)]
            deadline = time.monotonic() + 4
            while admission.waiting < 7 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert admission.waiting == 7
            others_wait.set()
            bodies = {one.result().get_data() for one in asked}
        assert len(computed) == 1
        assert len(bodies) == 1
