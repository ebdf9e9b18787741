"""A disk without room: polls go on, current values stay right, everybody is told, and nothing is lost afterwards."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.service.harness import Gateway, Service, fleet_exposition, wait_until

pytestmark = pytest.mark.service

QUERY = {"targets": [{"target": "provider_reported_health_score"}]}

LOG_NEVER_REACHES = 32 * 1024
"""Bytes: the history's file is larger after one poll, what the service logs here is not."""


def fill_up(pid: int, *, free: bool = False) -> None:
    """No file of this process may grow any more; ``free``: it may again."""
    limit = resource.RLIM_INFINITY if free else LOG_NEVER_REACHES
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def test_a_full_disk_is_survived_and_told_of(service: Callable[..., Service], gateway: Gateway) -> None:
    one = service()
    wait_until(lambda: one.get("/ready").status == 200, "the first poll")
    polling = one.events("polling")[0]["pid"]
    fill_up(polling)
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
    assert "\nbridge_history_writable 0.0\n" in one.get("/metrics").text

    fill_up(polling, free=True)
    wait_until(lambda: one.events("log_written_again"), "the log has caught up")
    wait_until(lambda: "not being written" not in one.get("/").text, "the board says no more of it")
    assert one.events("polling")[0]["pid"] == polling, "nothing had to be started again"
    assert "\nbridge_history_writable 1.0\n" in one.get("/metrics").text
    answer = one.get("/query?target=gateway_up&from=now-5m&to=now").json
    values = [value for value, _ in answer[0]["datapoints"]]
    assert None not in values[:-1], "polls of the time without room are there afterwards"
    assert len(values) >= 5


def test_a_start_without_room_is_refused_in_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with sqlite3.connect(folder / "history.sqlite") as other:  # SQLite meets a lock that stays as it meets a full disk
        other.execute("BEGIN EXCLUSIVE")
        one = Service(tmp_path, {"GATEWAYZ_API_URL": "http://127.0.0.1:1", "WEB_CONCURRENCY": "1"})
        try:
            assert one.launch().wait(20) == 3
        finally:
            one.kill()
    said = one.error_file.read_text()
    assert said == f"The bridge cannot start: no history can be kept in DATA_DIR={folder}: database is locked\n"
    assert "Traceback" not in one.log_file.read_text()
