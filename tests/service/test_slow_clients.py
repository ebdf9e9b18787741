"""Slow clients of the deployed service: whatever they do, nobody else waits for them, and memory stays bounded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.harness import Gateway, Service, running, wait_until
from tests.service.slow_clients import Manner, crowd, longest_delays

pytestmark = pytest.mark.service

WATCHED_SECONDS = 2.0
DELAY_SECONDS = 0.5
MEMORY_MIB = 72.0
"""What unfinished requests and unsent answers may take, of all processes together, and half of it for the rest."""

PROVIDERS, MODELS = 100, 10
LARGE = json.dumps({"targets": [{"target": "model_status as {{provider}} {{model}}"}] * 20}).encode()
"""A question with an answer of 3.5 MB: more than the system takes for a client that does not read it."""
LATEST = {"targets": [{"target": "provider_health_score"}]}


def exposition() -> bytes:
    """A gateway of many models, all well."""
    lines = ["gatewayz_data_scrape_success 1"]
    for provider in (f"provider-{number}" for number in range(PROVIDERS)):
        lines += [f'health_score{{provider="{provider}"}} 97.0', f'total_requests{{provider="{provider}"}} 100']
        lines += [
            f'circuit_breaker_state{{provider="{provider}",model="model-{number}",state="closed"}} 1'
            for number in range(MODELS)
        ]
    return "\n".join([*lines, ""]).encode()


def head(length: int) -> bytes:
    return b"POST /query HTTP/1.1\r\nHost: bridge\r\nContent-Length: %d\r\n\r\n" % length


HALF_A_HEAD = Manner(b"POST /query HTTP/1.1\r\nHost: bridge\r\nContent-")
HALF_A_BODY = Manner(head(1000) + b'{"targets":')
A_HEAD_BY_THE_BYTE = Manner(b"GET /health HTTP/1.1\r\n", drip=b"X-Slow: yes\r\n")
A_BODY_BY_THE_BYTE = Manner(head(100_000), drip=b" ")
READS_BY_THE_BYTE = Manner(head(len(LARGE)) + LARGE, reads=True)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with running(exposition()) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def two_services(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Service]]:
    """Two like services: one for slow clients, and one that is left in peace on the same machine."""
    environment = {"GATEWAYZ_API_URL": gateway.url, "POLL_INTERVAL": "300s"}
    services = [Service(tmp_path_factory.mktemp(name), environment) for name in ("crowded", "quiet")]
    try:
        for service in services:
            service.launch()
        for service in services:
            service.wait()
            wait_until(lambda service=service: service.get("/ready").status == 200, "there is a first poll")
        for _ in range(8):  # until each worker has its answers ready
            services[0].ask("POST", "/query", LARGE)
            for service in services:
                ask_all(service)
        yield services[0], services[1]
    finally:
        for service in services:
            service.kill()


def ask_all(service: Service) -> None:
    """What must not wait: each on a connection of its own."""
    for path in ("/health", "/metrics"):
        assert service.get(path).status == 200
    assert len(service.ask("POST", "/query", LATEST).json) == PROVIDERS


def memory_mib(service: Service) -> float:
    """Of gunicorn and its workers, each page counted once."""
    assert service.process is not None
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in (service.process.pid, *service.workers())]
    return sum(int(text.partition("\nPss:")[2].split()[0]) for text in rollups) / 1024


@pytest.mark.parametrize(
    ("manner", "count"),
    [
        pytest.param(HALF_A_HEAD, 50, id="half a head"),
        pytest.param(HALF_A_BODY, 50, id="half a body"),
        pytest.param(A_HEAD_BY_THE_BYTE, 50, id="a head by the byte"),
        pytest.param(A_BODY_BY_THE_BYTE, 50, id="a body by the byte"),
        pytest.param(READS_BY_THE_BYTE, 50, id="an answer by the byte"),
        pytest.param(READS_BY_THE_BYTE, 300, id="300 answers by the byte"),
    ],
)
def test_nobody_waits_for_slow_clients(two_services: tuple[Service, Service], manner: Manner, count: int) -> None:
    crowded, quiet = two_services
    before = memory_mib(crowded)
    with crowd(crowded, manner, count):
        longest = longest_delays({crowded: ask_all, quiet: ask_all}, WATCHED_SECONDS)
        grown = memory_mib(crowded) - before
    assert longest[crowded] <= longest[quiet] + DELAY_SECONDS
    assert grown < MEMORY_MIB
