"""Our ratios, rates and quantiles against a real Prometheus that holds the same samples at the same times."""

from __future__ import annotations

import json
import math
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from bridge.gateway.exposition import ExpositionReader
from bridge.health.rounding import rounded
from bridge.model import CircuitState
from tests.captures import Polled, replay
from tests.services import free_port, require

pytestmark = pytest.mark.service

CAPTURED = {
    "gatewayz-metrics": ("model_inference_requests_total", "model_inference_duration_seconds_bucket"),
    "gatewayz-data": ("total_requests",),
    "litellm-1109": ("litellm_deployment_total_requests_total", "litellm_deployment_failure_responses_total"),
}
"""The families of each capture that our numbers are made from."""
START_SECONDS = 20.0
WINDOW_SECONDS = 300.0

Answer = dict[str, float]


class Prometheus:
    """A Prometheus that holds some captures, asked over its HTTP API."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def query(self, promql: str, at: float) -> Answer:
        """An instant query's answer by provider, without those that are NaN."""
        parameters = urlencode({"query": promql, "time": f"{at:.3f}"})
        with urlopen(f"{self.url}/api/v1/query?{parameters}", timeout=10) as response:
            result = json.load(response)["data"]["result"]
        values = {one["metric"]["provider"]: float(one["value"][1]) for one in result}
        return {provider: value for provider, value in values.items() if not math.isnan(value)}

    def wait(self, process: subprocess.Popen[bytes], log: Path) -> None:
        """Return once it is ready to answer."""
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            try:
                with urlopen(f"{self.url}/-/ready", timeout=1):
                    return
            except (URLError, ConnectionError, TimeoutError):
                time.sleep(0.05)
        pytest.fail(f"Prometheus did not start:\n{log.read_text()[-2000:]}")


def openmetrics(polls: tuple[Polled, ...], families: tuple[str, ...], gateway: str) -> Iterator[str]:
    """The samples of these families with their times, each marked with the capture it is of."""
    reader = ExpositionReader()
    for poll in polls:
        for series, value in reader.read(poll.scrape.body).samples.items():
            if series.name in families:
                yield f'{series.text[:-1]},capture="{gateway}"}} {value!r} {poll.at:.3f}\n'


@contextmanager
def served(blocks: Path, scratch: Path) -> Iterator[Prometheus]:
    """A child process that serves these blocks."""
    config, log, port = scratch / "prometheus.yml", scratch / "log", free_port()
    config.touch()
    command = [
        require("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={blocks}",
        "--storage.tsdb.retention.time=100y",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        prometheus = Prometheus(port)
        prometheus.wait(process, log)
        yield prometheus
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    promtool = require("promtool")
    version = subprocess.run([require("prometheus"), "--version"], capture_output=True, text=True, check=True).stdout
    if "version 2." not in version:
        pytest.skip(f"a range is closed at both ends, as here, in Prometheus 2; this is {version.splitlines()[0]}")
    scratch = tmp_path_factory.mktemp("prometheus")
    text, blocks = scratch / "samples.om", scratch / "blocks"
    with text.open("w", encoding="utf-8") as out:
        for gateway, families in CAPTURED.items():
            out.writelines(openmetrics(replay(gateway), families, gateway))
        out.write("# EOF\n")
    subprocess.run(
        [promtool, "tsdb", "create-blocks-from", "openmetrics", text, blocks],
        check=True,
        capture_output=True,
        timeout=60,
    )
    with served(blocks, scratch) as running:
        yield running


@pytest.fixture(scope="module")
def polls() -> tuple[Polled, ...]:
    return replay("gatewayz-metrics")


def known(values: Mapping[str, float | None]) -> Answer:
    return {provider: value for provider, value in values.items() if value is not None}


def full(polls: Sequence[Polled]) -> list[Polled]:
    """Those whose window of rates is full, for all providers."""
    found = [poll for poll in polls if set(poll.measured.covered_seconds.values()) == {WINDOW_SECONDS}]
    assert len(found) > 20
    return found


def of_what_is_known(prometheus: Prometheus, poll: Polled, promql: str) -> Answer:
    """The answer over 5 minutes; of a provider of which less is known, over that. ``{range}`` stands for it."""
    spans: dict[float, list[str]] = {}
    for provider, seconds in poll.measured.covered_seconds.items():
        spans.setdefault(round(seconds, 3), []).append(provider)
    found: Answer = {}
    for seconds, providers in spans.items():
        if seconds > 0:
            answer = prometheus.query(promql.replace("{range}", f"{round(seconds * 1000)}ms"), poll.at)
            found |= {name: value for name, value in answer.items() if name.split("/")[0] in providers}
    return found


def before_rounding(poll: Polled, metric: str) -> Answer:
    """What was measured; what is shown is that, rounded."""
    measured = {
        "provider_request_rate": poll.measured.request_rates.get,
        "provider_error_rate": poll.measured.error_rate,
        "provider_rate_limited_ratio": partial(poll.measured.share, "rate_limited"),
        "provider_caller_error_ratio": partial(poll.measured.share, "caller_errors"),
        "provider_latency_p95_seconds": poll.measured.latency_p95_seconds.get,
    }[metric]
    exact = known({provider: measured(provider) for provider in poll.verdicts})
    assert known(poll.values(metric)) == {provider: rounded(metric, value) for provider, value in exact.items()}
    return exact


def same(answer: Answer) -> object:
    return pytest.approx(answer, rel=1e-9, abs=0)


REQUESTS = 'model_inference_requests_total{capture="gatewayz-metrics"}'
FAILURES = 'model_inference_requests_total{capture="gatewayz-metrics",status!="success"}'
BUCKETS = 'model_inference_duration_seconds_bucket{capture="gatewayz-metrics"}'


def test_prometheus_holds_every_scrape(prometheus: Prometheus, polls: tuple[Polled, ...]) -> None:
    for poll in polls:
        stands = prometheus.query(f"sum by (provider) (last_over_time({REQUESTS}[1s]))", poll.at)
        counted: Answer = {}
        for counter, value in poll.signals.counters.items():
            if counter.signal == "requests":
                counted[counter.provider] = counted.get(counter.provider, 0) + value
        assert stands == counted, poll.scrape.name


def test_request_rates_are_promqls_over_five_minutes(prometheus: Prometheus, polls: tuple[Polled, ...]) -> None:
    for poll in full(polls):
        rates = prometheus.query(f"sum by (provider) (rate({REQUESTS}[5m]))", poll.at)
        assert before_rounding(poll, "provider_request_rate") == same(rates), poll.scrape.name


def test_and_over_what_is_known_before_those_are_over(prometheus: Prometheus, polls: tuple[Polled, ...]) -> None:
    for poll in polls:
        rates = of_what_is_known(prometheus, poll, f"sum by (provider) (rate({REQUESTS}[{{range}}]))")
        assert before_rounding(poll, "provider_request_rate") == same(rates), poll.scrape.name


def test_error_rates_are_promqls_at_every_scrape(prometheus: Prometheus, polls: tuple[Polled, ...]) -> None:
    for poll in polls:
        requests = of_what_is_known(prometheus, poll, f"sum by (provider) (increase({REQUESTS}[{{range}}]))")
        failures = of_what_is_known(prometheus, poll, f"sum by (provider) (increase({FAILURES}[{{range}}]))")
        ratios = {name: failures.get(name, 0.0) / count for name, count in requests.items() if count > 0}
        shown = before_rounding(poll, "provider_error_rate")
        # A ratio of 0 beside an OPEN circuit is contradicted by it; not showing it is no disagreement.
        open_circuits = {circuit.provider for circuit in poll.circuits.values() if circuit.state is CircuitState.OPEN}
        contradicted = {name for name in ratios.keys() - shown if ratios[name] == 0 and name in open_circuits}
        assert shown == same({name: ratio for name, ratio in ratios.items() if name not in contradicted})


def test_95th_percentiles_are_promqls_at_every_scrape(prometheus: Prometheus, polls: tuple[Polled, ...]) -> None:
    promql = f"histogram_quantile(0.95, sum by (provider, le) (rate({BUCKETS}[{{range}}])))"
    for poll in polls:
        percentiles = of_what_is_known(prometheus, poll, promql)
        assert before_rounding(poll, "provider_latency_p95_seconds") == same(percentiles), poll.scrape.name


@pytest.mark.parametrize(
    ("metric", "promql"),
    [
        ("model_request_rate", f"rate({REQUESTS}[{{range}}])"),
        ("model_error_rate", f"increase({FAILURES}[{{range}}])"),
        ("model_latency_p95_seconds", f"rate({BUCKETS}[{{range}}])"),
    ],
)
def test_each_models_numbers_are_promqls_at_every_scrape(
    metric: str, promql: str, prometheus: Prometheus, polls: tuple[Polled, ...]
) -> None:
    def by_model(of: str, also: str = "") -> str:
        return f'sum by (provider{also}) (label_join({of}, "provider", "/", "provider", "model"))'

    for poll in polls:
        of_models, said = poll.measured.of_models, by_model(promql)
        if metric == "model_latency_p95_seconds":
            said = f"histogram_quantile(0.95, {by_model(promql, ', le')})"
        expected = of_what_is_known(prometheus, poll, said)
        if metric == "model_error_rate":
            requests = of_what_is_known(prometheus, poll, by_model(f"increase({REQUESTS}[{{range}}])"))
            expected = {name: expected.get(name, 0.0) / count for name, count in requests.items() if count > 0}
        exact = {
            "model_request_rate": of_models.request_rates,
            "model_error_rate": of_models.error_rates,
            "model_latency_p95_seconds": of_models.latency_p95_seconds,
        }[metric]
        assert {f"{key.provider}/{key.model}": value for key, value in exact.items()} == same(expected)
        assert poll.snapshot.models.of(metric) == {key: rounded(metric, value) for key, value in exact.items()}


RATE_LIMITED = (
    'exception_class=~".*RateLimit.*"',
    'exception_class!~".*(RateLimit|Timeout).*",exception_status=~"408|429"',
)
WRONG = ('exception_class!~".*(RateLimit|Timeout).*",exception_status=~"400|404|413|422"',)
FAILED = (
    'exception_class=~".*Timeout.*"',
    'exception_class!~".*(RateLimit|Timeout).*",exception_status!~"400|404|408|413|422|429"',
)


@pytest.mark.parametrize(
    ("metric", "classed", "concerned"),
    [
        ("provider_error_rate", FAILED, {"groq", "openai", "deepinfra"}),
        ("provider_rate_limited_ratio", RATE_LIMITED, {"mistral"}),
        ("provider_caller_error_ratio", WRONG, set()),
    ],
)
def test_where_classes_are_known_each_is_promqls_without_the_others(
    metric: str, classed: tuple[str, ...], concerned: set[str], prometheus: Prometheus
) -> None:
    def by_provider(family: str, labels: str = "") -> str:
        selector = f'{family}{{capture="litellm-1109",api_provider!="",{labels}}}'
        renamed = f'label_replace(increase({selector}[{{range}}]), "provider", "$1", "api_provider", "(.*)")'
        return f"sum by (provider) ({renamed})"

    above_zero = set()
    for poll in replay("litellm-1109"):
        requests = of_what_is_known(prometheus, poll, by_provider("litellm_deployment_total_requests_total"))
        counts = dict.fromkeys(requests, 0.0)
        for labels in classed:
            promql = by_provider("litellm_deployment_failure_responses_total", labels)
            for name, count in of_what_is_known(prometheus, poll, promql).items():
                counts[name] += count
        ratios = {name: min(1.0, counts[name] / requests[name]) for name in requests if requests[name] > 0}
        exact = before_rounding(poll, metric)
        assert exact == same(ratios), poll.scrape.name
        above_zero |= {name for name, ratio in exact.items() if ratio}
    assert above_zero == concerned


def test_a_gauge_of_the_hour_read_as_a_counter_is_promqls_through_a_hole_and_a_reset(
    prometheus: Prometheus,
) -> None:
    for poll in replay("gatewayz-data"):
        if poll.scrape.phase == "redisdown":
            continue  # Prometheus goes on for five minutes; we say that the rate is not known
        promql = 'sum by (provider) (rate(total_requests{capture="gatewayz-data"}[{range}]))'
        rates = of_what_is_known(prometheus, poll, promql)
        assert before_rounding(poll, "provider_request_rate") == same(rates), poll.scrape.name
