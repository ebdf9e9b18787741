"""A disk without room: polls go on, current values stay right, everybody is told, and nothing is lost afterwards."""

from __future__ import annotations

import itertools
import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bridge.history.spare import in_memory
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


@pytest.fixture
def in_the_way(tmp_path: Path) -> Iterator[Path]:
    """A file stands where DATA_DIR is to be. What was kept in memory meanwhile is taken away afterwards."""
    data_dir = tmp_path / "data"
    data_dir.write_text("in the way")
    yield data_dir
    rest = in_memory(data_dir)
    rest.unlink(missing_ok=True)
    shutil.rmtree(rest.with_suffix(".history"), ignore_errors=True)


def test_a_start_without_its_folder_keeps_the_history_in_memory_and_goes_on_in_the_folder_afterwards(
    service: Callable[..., Service], gateway: Gateway, in_the_way: Path
) -> None:
    one = service()
    wait_until(lambda: one.get("/ready").status == 200, "the first poll")
    assert one.events("history_in_memory")
    wait_until(lambda: len(gateway.asked_at) >= 4, "polls go on")
    assert f"DATA_DIR={in_the_way} cannot be used" in one.get("/").text
    assert "\nbridge_history_writable 0.0\n" in one.get("/metrics").text
    series = one.ask("POST", "/query", QUERY).json
    assert series
    assert all("cannot be used" in its["meta"]["notices"][0]["text"] for its in series)
    values = one.get("/query?target=gateway_up&from=now-1m&to=now").json[0]["datapoints"]
    assert len(values) >= 3, "ranges are answered from memory"
    workers = set(one.workers())

    in_the_way.unlink()
    wait_until(lambda: (in_the_way / "history.sqlite").exists(), "the folder is tried again", seconds=90)
    wait_until(lambda: not workers & set(one.workers()) and len(one.workers()) == 2, "workers begin anew")
    wait_until(lambda: "\nbridge_history_writable 1.0\n" in one.get("/metrics").text, "it is told")
    again = len(gateway.asked_at)
    wait_until(lambda: len(gateway.asked_at) > again + 2, "polls go on")
    assert "cannot be used" not in one.get("/").text
    answer = one.get("/query?target=gateway_up&from=now-5m&to=now").json[0]["datapoints"]
    assert sum(value is not None for value, _ in answer) >= len(gateway.asked_at) - 4, "polls of the time in memory"


def test_a_start_on_a_locked_file_is_none_the_less_a_start(
    tmp_path: Path, gateway: Gateway, service: Callable[..., Service]
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "history.sqlite")) as other:  # SQLite meets a lock that stays as a full disk
        other.execute("BEGIN EXCLUSIVE")
        one = service(WEB_CONCURRENCY="1")
        wait_until(lambda: one.get("/ready").status == 200, "the first poll")
        assert "database is locked" in one.get("/").text
    rest = in_memory(folder)
    one.kill()
    shutil.rmtree(rest.with_suffix(".history"), ignore_errors=True)


def test_a_file_that_another_program_locks_stretches_no_poll(
    tmp_path: Path, gateway: Gateway, service: Callable[..., Service]
) -> None:
    one = service()
    wait_until(lambda: one.get("/ready").status == 200, "the first poll")
    with closing(sqlite3.connect(tmp_path / "data" / "history.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        asked = len(gateway.asked_at)
        wait_until(lambda: len(gateway.asked_at) >= asked + 6, "polls go on", seconds=30)
        assert "database is locked" in one.get("/").text
        other.execute("ROLLBACK")
    wait_until(lambda: one.events("log_written_again"), "the log has caught up")
    polls = gateway.asked_at[asked:]
    gaps = sorted(later - at for at, later in itertools.pairwise(polls))
    assert gaps[len(gaps) // 2] < 1.5, "the usual one: the machine may be busy"


def test_a_folder_that_is_removed_costs_three_intervals_at_most(
    tmp_path: Path, gateway: Gateway, service: Callable[..., Service]
) -> None:
    one = service(POLL_INTERVAL="2s")
    wait_until(lambda: len(gateway.asked_at) >= 2, "polls")
    shutil.rmtree(tmp_path / "data")
    asked = len(gateway.asked_at)
    wait_until(lambda: len(gateway.asked_at) >= asked + 3, "polls go on", seconds=30)
    polls = gateway.asked_at[asked - 1 :]
    assert max(later - at for at, later in itertools.pairwise(polls)) < 6.0
    assert one.get("/").status == 200
