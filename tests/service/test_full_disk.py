"""A disk without room: polls go on, current values stay right, everybody is told, and nothing is lost afterwards."""

from __future__ import annotations

import resource
from collections.abc import Callable

import pytest

from tests.service.harness import Gateway, Service, fleet_exposition, wait_until

pytestmark = pytest.mark.service

QUERY = {"targets": [{"target": "provider_reported_health_score"}]}


def limit(pid: int, most_bytes: int) -> None:
    """No file of this process may grow beyond that."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))


def test_a_full_disk_is_survived_and_told_of(service: Callable[..., Service], gateway: Gateway) -> None:
    one = service()
    wait_until(lambda: one.get("/ready").status == 200, "the first poll")
    polling = one.events("polling")[0]["pid"]
    log = one.log_file.parent / "data" / "history.sqlite-wal"
    limit(polling, log.stat().st_size)  # more than its standard output, a file too, comes to
    wait_until(lambda: one.events("log_not_written"), "a poll that cannot be written")
    asked = len(gateway.asked_at)
    gateway.answer = fleet_exposition()
    wait_until(lambda: len(gateway.asked_at) > asked + 3, "polls go on")

    def told() -> bool:
        series = one.ask("POST", "/query", QUERY).json
        return all(
            "not being written" in its["meta"]["notices"][0]["text"] and its["datapoints"][0][0] is not None
            for its in series
        ) and bool(series)

    wait_until(lambda: "history is not being written" in one.get("/").text, "the board says so")
    wait_until(told, "panels have current values, and say so")
    assert one.get("/ready").status == 200
    assert one.summary()["data_age_seconds"] < 3

    limit(polling, resource.RLIM_INFINITY)
    wait_until(lambda: one.events("log_written_again"), "the log has caught up")
    wait_until(lambda: "not being written" not in one.get("/").text, "the board says no more of it")
    assert one.events("polling")[0]["pid"] == polling, "nothing had to be started again"
    answer = one.get("/query?target=gateway_up&from=now-5m&to=now").json
    values = [value for value, _ in answer[0]["datapoints"]]
    assert None not in values[:-1], "polls of the time without room are there afterwards"
    assert len(values) >= 5
