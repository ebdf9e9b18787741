"""A real Prometheus scrapes the bridge; when the bridge has lost its own history, that is where it finds it again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bridge.history import promql
from bridge.queries.catalog import METRICS as CATALOG
from bridge.web.counts import WRITE_EVERY_SECONDS
from demo.gateway import serve
from tests.service.harness import Reply, Service, ask, wait_until
from tests.services import free_port, require

pytestmark = pytest.mark.service

WATCHED_SECONDS = 24.0
DOWN_SECONDS = 3.0
REQUESTS = 40
SCRAPE_SECONDS = 1.0
SLACK_SECONDS = 0.7
METRICS = (
    "provider_health_score",
    "provider_status",
    "provider_circuit_breaker_state",
    "provider_availability",
    "model_circuit_breaker_state",
    "fleet_open_circuits",
)
Points = list[tuple[float, float | None]]
"""Epoch seconds and value."""
Answer = dict[tuple[str, ...], Points]


def get(port: int, path: str) -> Reply:
    with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        return ask(connection, "GET", path)


def serves(port: int, path: str) -> bool:
    with suppress(OSError):
        return get(port, path).status == 200
    return False


@contextmanager
def process(command: Sequence[str], log: Path) -> Iterator[int]:
    """A process group for as long as the ``with`` block lasts; its number."""
    with log.open("ab") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield child.pid
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


class ScriptClock:
    """Holds the demo's script just before its first incident, and from ``play`` on plays it, faster than it is."""

    def __init__(self) -> None:
        self._start = time.time()
        self._asked = False
        self._playing_since: float | None = None

    def play(self) -> None:
        self._playing_since = time.time()

    def __call__(self) -> float:
        if not self._asked:
            self._asked = True
            return self._start
        played = 0.0 if self._playing_since is None else time.time() - self._playing_since
        return self._start + 48.0 + 3.5 * played


def range_of(service: Service, metric: str, start: float, end: float) -> tuple[Reply, list[dict[str, Any]]]:
    """The answer and the series of a range (epoch seconds), at full resolution."""
    span = {"from": round(start * 1000), "to": round(end * 1000)}
    body = {"targets": [{"target": metric}], "range": span, "maxDataPoints": 11_000}
    reply = service.ask("POST", "/query", body)
    assert reply.status == 200, reply.text
    return reply, reply.json


def points_of(service: Service, metric: str, start: float, end: float) -> Answer:
    reply, series = range_of(service, metric, start, end)
    assert "Warning" not in reply.headers
    assert not any("meta" in one for one in series)
    return by_labels(series)


def by_labels(series: list[dict[str, Any]]) -> Answer:
    return {tuple(one["tags"].values()): [(at / 1000, value) for value, at in one["datapoints"]] for one in series}


@dataclass
class Prometheus:
    port: int
    group: int

    def query(self, query: str, at: float) -> list[dict[str, Any]]:
        path = f"/api/v1/query?{urlencode({'query': query, 'time': f'{at:.3f}'})}"
        reply = get(self.port, path)
        assert reply.status == 200, reply.text
        result: list[dict[str, Any]] = reply.json["data"]["result"]
        return result


@contextmanager
def scraping(folder: Path, target: int) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the bridge, under labels such as scrapes have."""
    port, configuration = free_port(), folder / "prometheus.yml"
    configuration.write_text(
        "scrape_configs:\n"
        "  - job_name: bridge\n"
        f"    scrape_interval: {SCRAPE_SECONDS:g}s\n"
        f"    scrape_timeout: {SCRAPE_SECONDS:g}s\n"
        "    static_configs:\n"
        f"      - targets: ['127.0.0.1:{target}']\n"
        "        labels: {env: test}\n"
    )
    command = [
        require("prometheus"),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with process(command, folder / "prometheus.log") as group:
        wait_until(lambda: serves(port, "/-/ready"), "Prometheus is ready")
        yield Prometheus(port, group)


@dataclass
class Past:
    """A stretch of time, what the bridge said of it while it remembered it, and a bridge that does not."""

    service: Service
    prometheus: Prometheus
    start: float
    end: float
    remembered: Mapping[str, Answer]
    restarted_at: float
    exposition: bytes
    lint: subprocess.CompletedProcess[bytes]


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    promtool = require("promtool")
    folder = tmp_path_factory.mktemp("past")
    with ExitStack() as stack:
        clock = ScriptClock()
        environment = {"GATEWAYZ_API_URL": stack.enter_context(serve(clock=clock)).url}
        service = Service(folder, environment)
        stack.callback(service.kill)
        prometheus = stack.enter_context(scraping(folder, service.port))
        service.start()
        wait_until(lambda: prometheus.query("provider_status", time.time()), "Prometheus has scraped the bridge")
        clock.play()
        start = time.time()
        time.sleep(WATCHED_SECONDS)
        end = time.time()
        remembered = {metric: points_of(service, metric, start, end) for metric in METRICS}
        for _ in range(REQUESTS):
            service.ask("POST", "/tag-keys")
        time.sleep(4 * WRITE_EVERY_SECONDS)
        exposition = service.get("/metrics").body
        lint = subprocess.run([promtool, "check", "metrics"], input=exposition, capture_output=True, timeout=20)
        service.kill()
        shutil.rmtree(folder / "data")

        time.sleep(DOWN_SECONDS)
        restarted_at = time.time()
        history = {"HISTORY_URL": f"http://127.0.0.1:{prometheus.port}", "HISTORY_TENANT": "anonymous"}
        again = Service(folder, {**environment, **history, "WEB_CONCURRENCY": "1", "PORT": str(service.port)})
        again.port = service.port
        stack.callback(again.kill)
        again.start()
        wait_until(lambda: again.get("/ready").status == 200, "there is a first poll")
        yield Past(again, prometheus, start, end, remembered, restarted_at, exposition, lint)


def changes(points: Points) -> Points:
    """The first point of each run of equal known values."""
    known = [point for point in points if point[1] is not None]
    return [next(run) for _, run in groupby(known, key=lambda point: point[1])]


def test_promtool_finds_nothing_wrong_with_the_exposition(past: Past) -> None:
    assert (past.lint.returncode, past.lint.stdout, past.lint.stderr) == (0, b"", b"")


def test_what_two_workers_count_is_added_up(past: Past) -> None:
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(past.exposition.decode())
        for sample in family.samples
    }
    assert (
        sum(value for key, value in samples.items() if key[0] == "bridge_http_requests_total" and "/tag-keys" in key)
        == REQUESTS
    )
    polls = samples["bridge_polls_total", "ok"]
    assert polls == samples["bridge_poll_seconds_count",]
    assert polls <= samples["bridge_parse_seconds_count",] <= polls + 1
    assert WATCHED_SECONDS - 2 <= polls <= WATCHED_SECONDS + 20


@pytest.mark.parametrize("metric", METRICS)
def test_what_the_bridge_has_forgotten_is_still_answered_and_equal(past: Past, metric: str) -> None:
    before, now = past.remembered[metric], points_of(past.service, metric, past.start, past.end)
    assert now.keys() == before.keys()
    for labels, points in before.items():
        was, found = changes(points), changes(now[labels])
        # What changed with the last poll may or may not have been scraped before the end.
        both = list(zip(was, found, strict=False))
        assert [value for _, value in was][: len(both)] == [value for _, value in found][: len(both)], labels
        assert abs(len(was) - len(found)) <= (1 if past.end - max(was, found, key=len)[-1][0] < 2.5 else 0), labels
        for (polled, _), (scraped, _) in both[1:]:
            assert 0 <= scraped - polled <= SCRAPE_SECONDS + SLACK_SECONDS, labels


def test_something_had_happened(past: Past) -> None:
    states = past.remembered["provider_circuit_breaker_state"]
    assert [value for _, value in changes(states["openrouter",])] == [0.0, 1.0, 2.0]
    assert len(changes(past.remembered["provider_health_score"]["openrouter",])) >= 2


@pytest.mark.parametrize("metric", METRICS)
def test_at_the_seam_no_point_is_doubled_or_missing(past: Past, metric: str) -> None:
    end = time.time()
    answer = points_of(past.service, metric, past.start, end)
    for labels, points in answer.items():
        times = [at for at, _ in points]
        assert all(earlier < later for earlier, later in pairwise(times)), labels
        assert any(value is not None for at, value in points if at > past.restarted_at), labels
    milliseconds = round((end - past.start) * 1000)
    for series in past.prometheus.query(f"{metric}[{milliseconds}ms]", end):
        labels = tuple(series["metric"][name] for name in ("provider", "model") if name in series["metric"])
        old = [(at, float(value)) for at, value in series["values"] if past.start <= at < past.restarted_at]
        known = [(at, value) for at, value in answer[labels] if value is not None and at < past.restarted_at]
        assert known == old, labels


def test_the_time_in_which_nobody_polled_is_a_gap(past: Past) -> None:
    points = points_of(past.service, "provider_status", past.start, time.time())["openai",]
    around = [value for at, value in points if abs(at - past.restarted_at) < 2 * DOWN_SECONDS]
    assert None in around
    assert around[0] is not None
    assert around[-1] is not None


@pytest.mark.parametrize(
    ("samples", "worst", "metric"),
    [
        ([0, 0, 2, 0], 2, "provider_circuit_breaker_state"),
        ([0, 2, 1, 2, 0, 0], 1, "provider_circuit_breaker_state"),
        ([2, 2, 2], 2, "provider_circuit_breaker_state"),
        ([1, 1, 1], 1, "provider_circuit_breaker_state"),
        ([0, 0], 0, "provider_circuit_breaker_state"),
        ([1, 0, 1], 0, "provider_status"),
        ([1, 0, 3, 2], 3, "provider_status"),
        ([2, 1], 2, "provider_status"),
        ([1, 1], 1, "provider_status"),
        ([99.5, 12.25, 100], 12.25, "provider_health_score"),
        ([0.5, 0.75, 0], 0.75, "provider_error_rate"),
    ],
)
def test_the_worst_of_a_step_is_what_prometheus_says_is_the_worst(
    past: Past, samples: list[float], worst: float, metric: str
) -> None:
    # The samples as a subquery: the nth comes at the nth second before now.
    cases = " or ".join(f"vector({value}) and on () (vector(time()) % 100 == {n})" for n, value in enumerate(samples))
    query = promql.WORST[CATALOG[metric].worst].format(f"({cases})[{len(samples)}s:1s]")
    [found] = past.prometheus.query(query, past.start // 100 * 100 + len(samples) - 1)
    assert float(found["value"][1]) == worst


def test_a_remote_that_hangs_and_then_dies_costs_its_part_and_little_time(past: Past) -> None:
    def asked(metric: str) -> tuple[float, Reply, list[dict[str, Any]]]:
        began = time.monotonic()
        reply, series = range_of(past.service, metric, past.start - 300, time.time())
        return time.monotonic() - began, reply, series

    def check(reply: Reply, series: list[dict[str, Any]]) -> None:
        assert reply.headers["Warning"].startswith('199 - "remote history is not available: ')
        for one in series:
            [notice] = one["meta"]["notices"]
            assert notice["severity"] == "warning"
            assert notice["text"].startswith("remote history is not available: ")
            assert any(value is not None for value, _ in one["datapoints"])
            assert min(at for _, at in one["datapoints"]) >= past.restarted_at * 1000
        assert len(series) >= 29

    os.killpg(past.prometheus.group, signal.SIGSTOP)
    seconds, reply, series = asked("provider_open_circuits")
    assert seconds < 7.0
    check(reply, series)
    seconds, reply, series = asked("provider_circuits")
    assert seconds < 1.0, "a remote that hangs is asked again at once"
    check(reply, series)
    os.killpg(past.prometheus.group, signal.SIGKILL)
    seconds, reply, series = asked("provider_availability")
    assert seconds < 7.0
    check(reply, series)
    assert past.service.get("/ready").status == 200
