"""Several workers, one bridge: the same answer from each, one poll an interval, whoever leads."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from itertools import pairwise

import pytest

from tests.service.harness import Gateway, Reply, Service, as_rows, ask, fleet_exposition, running, wait_until

pytestmark = pytest.mark.service

INTERVAL = 3.0
SLACK = 1.0
"""How late a busy machine may be."""
QUERY = {"targets": [{"target": "provider_health_score"}, {"target": "circuits"}]}


@pytest.fixture(scope="module")
def its_gateway() -> Iterator[Gateway]:
    """The gateway of the service with four workers, and of no other."""
    with running(fleet_exposition()) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def four_workers(its_gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with four workers, polling every ``INTERVAL`` seconds."""
    environment = {"GATEWAYZ_API_URL": its_gateway.url, "WEB_CONCURRENCY": "4", "POLL_INTERVAL": f"{INTERVAL:g}s"}
    service = Service(tmp_path_factory.mktemp("workers"), environment)
    try:
        service.start()
        wait_until(lambda: service.get("/ready").status == 200, "there is a first poll")
        yield service
    finally:
        service.kill()


def wait_for_poll(gateway: Gateway) -> None:
    """Until just after the next poll."""
    polls = len(gateway.asked_at)
    wait_until(lambda: len(gateway.asked_at) > polls, "the next poll", INTERVAL + 2)
    time.sleep(0.2)


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times)]


def ask_all_between_two_polls(service: Service, gateway: Gateway, connections: list[HTTPConnection]) -> list[Reply]:
    """One query over each connection, and no poll in between (a busy machine may need more than one try)."""
    for _ in range(3):
        wait_for_poll(gateway)
        polls = len(gateway.asked_at)
        with ThreadPoolExecutor(20) as threads:
            replies = list(threads.map(lambda connection: ask(connection, "POST", "/query", QUERY), connections))
        if len(gateway.asked_at) == polls:
            return replies
    pytest.fail("200 requests take longer than an interval")


def test_between_two_polls_every_worker_answers_from_the_same_snapshot(
    four_workers: Service, its_gateway: Gateway
) -> None:
    connections = [HTTPConnection("127.0.0.1", four_workers.port, timeout=10) for _ in range(200)]
    replies = ask_all_between_two_polls(four_workers, its_gateway, connections)
    workers = four_workers.worker_of(connections)
    for connection in connections:
        connection.close()

    assert {reply.status for reply in replies} == {200}
    times = {at for reply in replies for series in reply.json[:-1] for _, at in series["datapoints"]}
    assert len(times) == 1
    circuits = [[{**row, "For": None} for row in as_rows(reply.json[-1])] for reply in replies]
    assert all(table == circuits[0] for table in circuits)
    assert len(workers) == 200, "not every connection could be told to a worker"
    assert set(workers.values()) == set(four_workers.workers())


def test_under_load_the_gateway_sees_exactly_one_request_an_interval(
    four_workers: Service, its_gateway: Gateway
) -> None:
    wait_for_poll(its_gateway)
    began = its_gateway.asked_at[-1]
    end = time.time() + 3 * INTERVAL
    answered = 0
    with ThreadPoolExecutor(4) as threads:
        while time.time() < end:
            answered += sum(threads.map(lambda _: four_workers.get("/providers").status == 200, range(20)))
    polls = its_gateway.asked_since(began)
    assert answered > 100
    assert len(polls) == 4
    assert all(abs(gap - INTERVAL) < SLACK for gap in gaps(polls)), gaps(polls)


def test_killing_the_leading_worker_costs_at_most_two_intervals_and_no_double_poll(
    four_workers: Service, its_gateway: Gateway
) -> None:
    wait_for_poll(its_gateway)
    before = its_gateway.asked_at[-1]
    leader = four_workers.leader()
    os.kill(leader, signal.SIGKILL)
    wait_until(lambda: len(its_gateway.asked_since(before)) >= 3, "two polls by another worker", 4 * INTERVAL)
    polls = its_gateway.asked_since(before)
    assert max(gaps(polls)) <= 2 * INTERVAL
    assert min(gaps(polls)) > INTERVAL - SLACK, "the gateway was asked twice in an interval"
    assert four_workers.leader() != leader
    assert leader not in four_workers.workers()
    wait_until(lambda: len(four_workers.workers()) == 4, "the killed worker is replaced")
    assert four_workers.summary()["status"] == "ok"


def test_a_leader_killed_in_the_middle_of_a_poll_does_not_make_the_gateway_see_two_in_one_interval(
    service: Callable[..., Service], gateway: Gateway
) -> None:
    interval = 3.0
    gateway.answer = "hang"
    two_workers = service(POLL_INTERVAL=f"{interval:g}s", POLL_TIMEOUT=f"{interval:g}s")
    wait_until(lambda: gateway.asked_at, "the first poll")
    os.kill(two_workers.leader(), signal.SIGKILL)
    gateway.answer = fleet_exposition()
    wait_until(lambda: gateway.asked_at[1:], "the next leader's poll", 3 * interval)
    assert interval - SLACK < gaps(gateway.asked_at)[0] <= 2 * interval


def test_a_service_started_anew_within_an_interval_waits_for_its_turn(
    service: Callable[..., Service], gateway: Gateway
) -> None:
    first = service(POLL_INTERVAL="3s")
    wait_until(lambda: gateway.asked_at, "the first poll")
    first.kill()
    service(POLL_INTERVAL="3s")
    wait_until(lambda: gateway.asked_at[1:], "the second poll", 8)
    assert gaps(gateway.asked_at)[0] > 3.0 - SLACK
