"""Slow clients of the deployed service: whatever they do, nobody else waits for them, and memory stays bounded."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.service.harness import Gateway, Service, running, wait_until
from tests.service.slow_clients import Manner, crowd, hung_up_on, longest_delays

pytestmark = pytest.mark.service

WATCHED_SECONDS = 1.5
DELAY_SECONDS = 0.5
MEMORY_MIB = 72.0
"""What unfinished requests and unsent answers may take, of all processes together, and half of it for the rest."""

PROVIDERS, MODELS = 100, 10
LARGE = json.dumps({"targets": [{"target": "model_status as {{provider}} {{model}}"}] * 20}).encode()
"""A question with an answer of 3.5 MB: more than the system takes for a client that does not read it."""
LATEST = {"targets": [{"target": "provider_health_score"}]}
RANGE = {**LATEST, "range": {"from": "now-5m", "to": "now"}}


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
                for question in QUESTIONS:
                    question(service)
        yield services[0], services[1]
    finally:
        for service in services:
            service.kill()


def ask_health(service: Service) -> None:
    assert service.get("/health").status == 200


def ask_metrics(service: Service) -> None:
    assert service.get("/metrics").status == 200


def ask_latest(service: Service) -> None:
    assert len(service.ask("POST", "/query", LATEST).json) == PROVIDERS


def ask_warm(service: Service) -> None:
    assert service.ask("POST", "/query", RANGE).status == 200


QUESTIONS = (ask_health, ask_metrics, ask_latest, ask_warm)
"""What must not wait; each is asked on a connection of its own."""


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
        delayed, at_rest = longest_delays((crowded, quiet), QUESTIONS, WATCHED_SECONDS)
        grown = memory_mib(crowded) - before
    assert delayed <= at_rest + DELAY_SECONDS
    assert grown < MEMORY_MIB


MOST = 500
"""Connections of a worker."""
MOST_BYTES = 48 * 2**20
NEARLY_A_MEGABYTE = b" " * 1_000_000


@pytest.fixture
def alone(gateway: Gateway, tmp_path: Path) -> Iterator[Service]:
    """A service of one worker."""
    service = Service(tmp_path, {"GATEWAYZ_API_URL": gateway.url, "POLL_INTERVAL": "300s", "WEB_CONCURRENCY": "1"})
    try:
        yield service.start()
    finally:
        service.kill()


def how_many_were_hung_up_on(clients: Sequence[socket.socket]) -> int:
    """Fails the test where one that had waited longer than another was kept instead."""
    gone = [hung_up_on(client) for client in clients]
    assert gone == sorted(gone, reverse=True)
    return sum(gone)


def test_of_too_much_that_is_unfinished_the_oldest_goes(alone: Service) -> None:
    """In number first, then in bytes: the newest is answered, and so is everybody else."""
    with ExitStack() as connections:

        def connect(sent: bytes) -> socket.socket:
            client = connections.enter_context(socket.create_connection(("127.0.0.1", alone.port), timeout=10))
            client.sendall(sent)
            return client

        many = [connect(HALF_A_HEAD.at_once) for _ in range(MOST + 20)]
        assert alone.get("/health").status == 200
        wait_until(lambda: hung_up_on(many[0]), "the oldest is closed")
        assert 20 <= how_many_were_hung_up_on(many) <= 40

        large = [connect(head(len(NEARLY_A_MEGABYTE) + len(LARGE)) + NEARLY_A_MEGABYTE) for _ in range(60)]
        over = len(large) - MOST_BYTES // len(NEARLY_A_MEGABYTE)
        wait_until(lambda: how_many_were_hung_up_on(large) >= over, "so many are closed that the others have room")
        assert how_many_were_hung_up_on(large) <= over + 5
        large[-1].sendall(LARGE)
        assert large[-1].recv(100).startswith(b"HTTP/1.1 200 ")
        assert alone.get("/health").status == 200
    wait_until(lambda: "to make room for others" in alone.log_file.read_text(), "the log says so")
