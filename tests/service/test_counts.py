"""``GET /metrics`` of several workers: the same sums from each of them, which never fall, whoever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bridge.web.counts import WRITE_EVERY_SECONDS
from tests.service.harness import Gateway, Service, ask, running, wait_until
from tests.services import require

pytestmark = pytest.mark.service

NAMES = (
    'a"b',
    "a\\b",
    "a\\nb",
    "a\nb",
    '"} 1\nprovider_status{provider="x',
    "<script>alert(1)</script>",
    "=HYPERLINK(1)",
    "{{ .Labels }}",
    "a/b:c@d",
    "\u202egnp.exe",
    "\x01\x7f",
    "zażółć 🦊",
)
Samples = dict[tuple[str, ...], float]


def samples(text: str) -> Samples:
    """Every sample by its name and its labels' values."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def counters(service: Service) -> Samples:
    """What the bridge counts of itself: that only ever rises. What it knows of others goes while it is stale."""
    reply = service.get("/metrics")
    assert reply.status == 200, reply.text
    found = samples(reply.text)
    ends = ("_total", "_count", "_sum", "_bucket")
    return {key: value for key, value in found.items() if key[0].startswith("bridge_") and key[0].endswith(ends)}


def count_of(found: Samples, route: str) -> float:
    return sum(value for key, value in found.items() if key[0] == "bridge_http_requests_total" and route in key)


def spread_over_workers(service: Service, requests: int, path: str) -> Counter[int]:
    """Ask so often, each time over a connection of its own; how many requests each worker got."""
    connections = [HTTPConnection("127.0.0.1", service.port, timeout=10) for _ in range(requests)]
    assert {ask(connection, "GET", path).status for connection in connections} == {200}
    workers = Counter(service.worker_of(connections).values())
    for connection in connections:
        connection.close()
    return workers


def test_every_worker_tells_the_sum_of_all(service: Callable[..., Service]) -> None:
    started = service(WEB_CONCURRENCY="4")
    workers: Counter[int] = Counter()
    while len(workers) < 3:  # some may still begin
        workers += spread_over_workers(started, 20, "/providers")
    time.sleep(4 * WRITE_EVERY_SECONDS)
    connections = [HTTPConnection("127.0.0.1", started.port, timeout=10) for _ in range(40)]
    told = {count_of(samples(ask(one, "GET", "/metrics").text), "/providers") for one in connections}
    asked = set(started.worker_of(connections).values())
    for connection in connections:
        connection.close()
    assert len(asked) > 1
    assert told == {float(workers.total())}


def test_no_sum_ever_falls_while_workers_are_killed_and_end_and_begin(service: Callable[..., Service]) -> None:
    started = service(WEB_CONCURRENCY="2", POLL_INTERVAL="1s")
    assert started.process is not None
    seen: list[Samples] = []
    over = threading.Event()

    def scrape() -> None:
        while not over.is_set():
            with suppress(OSError, HTTPException):  # the worker that answered was killed
                seen.append(counters(started))

    scraper = threading.Thread(target=scrape)
    scraper.start()
    counted = 0
    try:
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP):
            spread_over_workers(started, 10, "/providers")
            counted += 10
            time.sleep(4 * WRITE_EVERY_SECONDS)
            before = started.workers()
            os.kill(started.process.pid if number == signal.SIGHUP else started.leader(), number)
            gone = len(before) if number == signal.SIGHUP else 1
            wait_until(lambda: len({*before} - {*started.workers()}) == gone, "workers end")  # noqa: B023
            wait_until(lambda: len(started.workers()) == 2 and started.get("/ready").status == 200, "workers begin")
    finally:
        over.set()
        scraper.join()
    assert len(seen) > 20
    for earlier, later in pairwise(seen):
        fallen = {key: (value, later.get(key)) for key, value in earlier.items() if later.get(key, -1.0) < value}
        assert not fallen
    assert count_of(counters(started), "/providers") == counted
    # Of each of the two workers, of the polling process, and of all that have ended, a file of each kind.
    folder = next(started.log_file.parent.glob("bridge-metrics-*"))
    wait_until(lambda: len(list(folder.glob("*.db"))) <= 8, "the files of ended workers are folded")
    started.process.terminate()
    assert started.process.wait(10) == 0
    assert not folder.exists(), "it leaves rubbish behind"


@pytest.fixture
def hostile_gateway() -> Iterator[Gateway]:
    """Providers and models by names that would break a text that did not escape them."""
    escaped = [name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for name in NAMES]
    lines = [f'health_score{{provider="{name}"}} 97.0' for name in escaped]
    for name in escaped:
        labels = f'provider="{name}",model="{name}"'
        lines.append(f'circuit_breaker_state{{{labels},state="open"}} 1')
    with running(("\n".join([*lines, "gatewayz_data_scrape_success 1"]) + "\n").encode()) as gateway:
        yield gateway


def test_promtool_finds_nothing_wrong_whatever_providers_are_called(
    service: Callable[..., Service], hostile_gateway: Gateway
) -> None:
    promtool = require("promtool")
    started = service(GATEWAYZ_API_URL=hostile_gateway.url)
    wait_until(lambda: started.get("/ready").status == 200, "there is a first poll")
    started.get("/providers/" + "a%22b%0A")
    exposition = started.get("/metrics").body
    lint = subprocess.run([promtool, "check", "metrics"], input=exposition, capture_output=True, timeout=20)
    assert (lint.returncode, lint.stdout, lint.stderr) == (0, b"", b"")
    states = [key for key in samples(exposition.decode()) if key[0] == "model_circuit_breaker_state"]
    assert sorted(states) == sorted(("model_circuit_breaker_state", name, name) for name in NAMES)


def test_a_directory_of_ones_own_is_made_if_missing_and_left_there(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    folder = tmp_path / "of" / "ones own"
    started = service(PROMETHEUS_MULTIPROC_DIR=str(folder))
    assert started.process is not None
    wait_until(lambda: b"bridge_http_requests_total" in started.get("/metrics").body, "a request was counted")
    started.process.terminate()
    assert started.process.wait(10) == 0
    assert list(folder.glob("counter_*.db"))
