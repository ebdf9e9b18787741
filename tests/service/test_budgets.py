"""One request that asks for everything, many times over and by many at once: the service stays small, and answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.service.harness import Gateway, Service, running, wait_until

pytestmark = pytest.mark.service

MIB = 2**20
CIRCUITS = 3_000
MOST_RSS_KIB = 400 * 1024
"""Of a worker: without a budget it takes two gigabytes."""


def crowd() -> bytes:
    """A ``gatewayz-data`` exposition of 100 providers with 30 circuits each."""
    lines = []
    for number in range(CIRCUITS):
        provider = f"provider-{number // 30:02d}"
        if number % 30 == 0:
            lines.append(f'health_score{{provider="{provider}"}} 90.0')
        circuit = f'provider="{provider}",model="model-{number}"'
        lines += [
            f'circuit_breaker_state{{{circuit},state="{word}"}} {int(word == "open")}'
            for word in ("open", "closed", "half_open")
        ]
    return ("\n".join([*lines, "gatewayz_data_scrape_success 1"]) + "\n").encode()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with running(crowd()) as gateway:
        yield gateway


def test_eight_clients_that_ask_for_everything_take_nothing_from_the_others(service: Callable[..., Service]) -> None:
    one = service(WEB_CONCURRENCY="1", POLL_INTERVAL="5s", POLL_TIMEOUT="4s")
    wait_until(lambda: one.get("/ready").status == 200, "there is a first poll")
    targets = [{"target": f"model_circuit_breaker_state as {'x' * 950}{{{{model}}}}"} for _ in range(100)]
    attacks = []
    for number in range(8):  # each another one, so that none waits for the answer of another
        span = {"from": f"now-{number + 1}h", "to": "now"}
        attacks.append(json.dumps({"targets": targets, "range": span}).encode())
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(one.ask, "POST", "/query", body) for body in attacks]
        meanwhile = 0
        while not all(reply.done() for reply in asked):
            assert one.get("/health").status == 200
            assert one.query("gateway_up")
            meanwhile += 1
        replies = [reply.result() for reply in asked]
    assert meanwhile >= 3, "others were answered while these were at work"
    assert {reply.status for reply in replies} <= {200, 429}
    assert any(reply.status == 200 for reply in replies)
    for reply in replies:
        assert len(reply.body) <= 16 * MIB
        if reply.status == 429:
            assert int(reply.headers["Retry-After"]) > 0
    peaks = [peak_kib(pid) for pid in one.workers()]
    assert max(peaks) < MOST_RSS_KIB


def peak_kib(pid: int) -> int:
    """The most memory a process ever had at once."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
